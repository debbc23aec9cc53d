"""What a quiet key is stored as: of every kind of rule some runs of a day, in at most two kB."""

from uuid import UUID

import pytest
from tests.property.detection import START_MS, Happening, Line, event_at, records

from flowgauge.processors.kinds import KINDS
from flowgauge.processors.ruleset import RuleSet, parse_rules

QUIET_BYTES_MAX = 2_048
HOUR_MS = 3_600_000
WHEN = {
    "event": "{event: {times: 3, within: 1d}}",
    "failure_rate": "{failure_rate: {above: 20%, within: 1d, min_samples: 3}}",
    "burn_rate": "{burn_rate: {objective: 99%, pairs: page}}",
    "consecutive_failures": "{consecutive_failures: {times: 3}}",
    "late": "{late: {after: 5m, within: 1h}}",
    "missed": "{missed: {cron: '0 * * * *', dialect: prefect, grace: 10m}}",
    "absence": "{absence: {after: 2h}}",
    "duration": "{duration: {above: 30m}}",
    "change": "{change: {of: failures, within: 1h, trailing: 1d}}",
    "sequence": "{sequence: {steps: [{state: running}, {state: failed}], within: 1h}}",
    "all_of": "{all_of: {conditions: [{when: {consecutive_failures: {times: 2}}}, {when: {absence: {after: 2h}}}]}}",
    "any_of": "{any_of: {conditions: [{when: {consecutive_failures: {times: 2}}}, {when: {absence: {after: 2h}}}]}}",
    "prefect": "{prefect: {posture: Reactive, expect: [flow-run.failed], for_each: [flow], threshold: 3, within: 1d}}",
}


def test_every_kind_is_looked_at() -> None:
    assert list(WHEN) == list(KINDS)


@pytest.mark.parametrize("kind", WHEN)
def test_a_quiet_key_is_small(kind: str) -> None:
    each = "" if kind == "prefect" else "for_each: [flow], "
    match = "match: {state: [running, failed, completed]}, " if kind in {"event", "absence"} else ""
    ruleset = RuleSet(parse_rules("r.yaml", f"rules:\n  - {{name: r, {each}{match}when: {WHEN[kind]}}}\n").rules, 1)
    line, happened = Line(ruleset), list[Happening]()
    for run in range(6):
        for number, state in enumerate(("running", "failed" if run % 3 == 2 else "completed")):
            at_ms = run * 4 * HOUR_MS + number * 600_000
            event = event_at(UUID(int=2 * run + number), at_ms, state, run)
            happened.append(Happening(START_MS + at_ms, START_MS + at_ms, event))
    line.feed(0, records(happened))
    line.end(START_MS + 24 * HOUR_MS)

    stored = sum(len(name) + len(value) for name, value in line.state.items() if not name.startswith("p/"))
    assert stored <= QUIET_BYTES_MAX
