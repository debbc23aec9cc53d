"""How far back each kind looks, by hand; and how far before `--since` a backtest therefore reads."""

import pytest

from flowgauge.processors.backtest import LEAD_MS_MIN, lead_ms
from flowgauge.processors.detector import AHEAD_MAX_MS
from flowgauge.processors.kinds import KINDS
from flowgauge.processors.ruleset import CompiledRule, parse_rules

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
THREE_DAYS = "{when: {failure_rate: {above: 20%, within: 3d}}}, {when: {event: {times: 3, within: 3d}}}"
WAITING = "{when: {absence: {after: 2d}}, for: 2h, keep_firing_for: 1h}, {when: {event: {times: 3, within: 1h}}}"
PANES_OF_3D_MS = 3 * DAY_MS // 120  # a part is read at its own pane ends

CASES = [
    ("event", "{}", 0),
    ("event", "{times: 3, within: 4d}", 4 * DAY_MS),
    ("failure_rate", "{above: 20%, within: 2d}", 2 * DAY_MS),
    ("burn_rate", "{objective: 99%, pairs: [{above: 6, within: 6h, short: 30m}]}", 6 * HOUR_MS + 3 * MINUTE_MS),
    ("consecutive_failures", "{times: 3}", 0),
    ("consecutive_failures", "{times: 3, within: 2d}", 2 * DAY_MS),
    ("late", "{after: 5m, within: 1h}", 2 * HOUR_MS + 5 * MINUTE_MS + DAY_MS),
    ("late", "{after: 5m, within: 3d}", 9 * DAY_MS + 5 * MINUTE_MS),
    ("missed", "{every: 7d, grace: 1h}", 14 * DAY_MS + HOUR_MS + 10 * SECOND_MS),
    ("missed", "{every: 7d, grace: 1h, completes_within: 5h}", 14 * DAY_MS + 5 * HOUR_MS + 10 * SECOND_MS),
    ("missed", "{cron: '0 6 * * 1', dialect: prefect, grace: 1h}", 14 * DAY_MS + HOUR_MS + 10 * SECOND_MS),
    ("missed", "{cron: '0 6 1 * *', dialect: prefect, grace: 1h}", 62 * DAY_MS + HOUR_MS + 10 * SECOND_MS),
    ("absence", "{after: 3d}", 6 * DAY_MS),
    ("duration", "{above: 3d}", 3 * DAY_MS),
    ("duration", "{above: 3d, quantile: 95%, within: 1d}", 4 * DAY_MS),
    ("change", "{of: events, within: 1d}", 58 * DAY_MS),
    ("change", "{of: events, within: 1h, trailing: 30h}", 62 * HOUR_MS),
    ("sequence", "{steps: [{state: running}, {state: failed}], within: 2d}", 4 * DAY_MS),
    (
        "sequence",
        "{steps: [{state: running}, {state: failed}], within: 2d, fires_when: incomplete}",
        2 * DAY_MS,
    ),
    ("all_of", f"{{within: 1h, conditions: [{THREE_DAYS}]}}", 73 * HOUR_MS + PANES_OF_3D_MS),
    ("any_of", f"{{conditions: [{WAITING}]}}", 4 * DAY_MS + 3 * HOUR_MS + 2 * DAY_MS // 120),
    ("prefect", "{posture: Reactive, expect: [a], after: [b, c], threshold: 2, within: 2d}", 2 * DAY_MS),
    ("prefect", "{posture: Proactive, expect: [a], after: [b]}", 10 * SECOND_MS),
]


def compiled(kind: str, fields: str, life: str = "") -> CompiledRule:
    each = "" if kind == "prefect" else "for_each: [flow], "
    (rule,) = parse_rules("r.yaml", f"rules:\n  - {{name: r, {each}{life}when: {{{kind}: {fields}}}}}\n").rules
    return rule


def test_every_kind_is_looked_at() -> None:
    assert list(dict.fromkeys(kind for kind, *_ in CASES)) == list(KINDS)


@pytest.mark.parametrize(("kind", "fields", "look_back_ms"), CASES)
def test_a_kind_looks_as_far_back_as_what_it_says_hangs_on(kind: str, fields: str, look_back_ms: int) -> None:
    assert compiled(kind, fields).kind.look_back_ms == look_back_ms


@pytest.mark.parametrize(("kind", "fields", "look_back_ms"), CASES)
def test_a_backtest_reads_that_before_it_begins_and_a_day_at_least(kind: str, fields: str, look_back_ms: int) -> None:
    rule = compiled(kind, fields)

    assert lead_ms([rule]) == max(LEAD_MS_MIN, look_back_ms + rule.pane_ms + rule.lateness_ms + AHEAD_MAX_MS)
    assert lead_ms([rule]) >= rule.window_ms


def test_the_alert_and_the_lateness_of_a_rule_are_read_too() -> None:
    plain = compiled("event", "{times: 3, within: 4d}", "allowed_lateness: 0s, ")
    waits = compiled("event", "{times: 3, within: 4d}", "for: 1h, keep_firing_for: 2h, allowed_lateness: 5s, ")

    assert lead_ms([plain, waits]) == lead_ms([waits]) == lead_ms([plain]) + 3 * HOUR_MS + 5 * SECOND_MS


@pytest.mark.parametrize(
    ("cron", "days"),
    [("* * * * *", 1), ("*/5 9-17 * * 1-5", 2.65), ("0 0 29 2 *", 8 * 365 + 1), ("0 0 1 1 *", 366)],
)
def test_slots_lie_apart_as_far_as_they_ever_do_within_a_day(cron: str, days: float) -> None:
    rule = compiled("missed", f"{{cron: '{cron}', dialect: prefect, grace: 0s}}")

    over_ms = rule.kind.look_back_ms - 2 * days * DAY_MS
    assert 0 <= over_ms <= 2 * DAY_MS + 10 * SECOND_MS
