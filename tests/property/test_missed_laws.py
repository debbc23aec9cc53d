"""Missed slots against the slow oracle that looks at every slot and every start at every pane end.

And the law of changing clocks: whichever way a scheduler takes them, a rule that takes them otherwise is silent.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.oracles.missed import MissedOracle, Seen
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole
from tests.property.test_slot_laws import HOUR, ZONES, fields, moments

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.cron import DIALECTS, Dialect, parse_cron
from flowgauge.processors.kinds import Missed
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict
from flowgauge.processors.slots import Schedule, zone_named
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import millis

END_MS = START_MS + 600_000
SLOTS_MAX = 60  # of one schedule: enough to pass a change of the clock unless they are a few minutes apart
EVERY_MS, PANE_MS = 28_000, 1_000
SLOTS = range(START_MS - 10 * EVERY_MS + 3_000, END_MS + 10 * EVERY_MS, EVERY_MS)
RULE = """
rules: [{{name: missed, for_each: [flow], for: 3s, when: {{missed: {{every: 28s, anchor: {}, grace: {}}}}}}}]
"""
Told = tuple[str, str, int, float | None]


@pytest.mark.parametrize(
    ("grace_s", "within_s", "if_failed"),
    [(0, None, ""), (5, None, ""), (65, None, ""), (5, 20, "miss"), (5, 60, "skip")],  # 28 s lie between two slots
)
@given(happened=happenings())
def test_slots_are_missed_where_a_look_at_each_of_them_finds_them_so(
    happened: list[Happening], grace_s: int, within_s: int | None, if_failed: str
) -> None:
    bounds = f"{grace_s}s" + (f", completes_within: {within_s}s, if_failed: {if_failed}" if within_s else "")
    found = run_whole(rules(RULE.format(START_MS + 3_000, bounds)), happened, END_MS)

    oracle = MissedOracle(SLOTS, grace_s * 1000, (within_s or 0) * 1000, if_failed == "skip")
    expected = [row for flow in ("a", "b") for row in _expected(oracle, happened, flow)]
    assert [(item.key["flow"], item.to_state, item.at_ms, item.value) for item in found] == _in_order(expected)


def _in_order(rows: Sequence[Told]) -> list[Told]:
    return sorted(rows, key=lambda row: (row[2], row[0]))


def _expected(oracle: MissedOracle, happened: Sequence[Happening], flow: str) -> list[Told]:
    seen = [
        Seen(item.occurred_ms, str(item.event.id), item.event.run or "", item.event.state or "", _scheduled_ms(item))
        for item in happened
        if item.event.flow == flow and item.append_ms - item.occurred_ms <= 10_000
    ]
    alert, policy, found = Alert(), Policy(3_000, 0, "hold"), list[Told]()
    ends = range(pane_end(START_MS, PANE_MS), END_MS - 10_000 + 1, PANE_MS)
    for end_ms, told in zip(ends, oracle.readings(seen, ends), strict=True):
        change = step(alert, Verdict(told.verdict), end_ms, policy)
        if change is not None:
            found.append((flow, change.to_state, end_ms, told.value))
    return found


def _scheduled_ms(item: Happening) -> int | None:
    scheduled = item.event.scheduled_for
    return None if scheduled is None else millis(scheduled)


@st.composite
def years(draw: st.DrawFn) -> tuple[Schedule, Schedule, datetime, list[int]]:
    """Draw a schedule as a rule and a scheduler of other dialects take it, when it is watched, and its delays."""
    zone = zone_named(draw(st.sampled_from(ZONES)))
    text = draw(fields())
    dialect, other = draw(st.sampled_from(DIALECTS)), draw(st.sampled_from(DIALECTS))
    moment = draw(moments(zone))
    delays = draw(st.lists(st.integers(0, 30), min_size=1, max_size=5))
    return Schedule(parse_cron(text, dialect), zone), Schedule(parse_cron(text, other), zone), moment, delays


@pytest.mark.timeout(120)
@given(drawn=years())
def test_a_scheduler_that_takes_changes_of_the_clock_otherwise_misses_nothing(
    drawn: tuple[Schedule, Schedule, datetime, list[int]],
) -> None:
    schedule, real, moment, delays = drawn
    assume(not (is_off_days_later(schedule) or is_off_days_later(real)) or schedule == real)
    window = rule_of(schedule).new_window()
    window.add(pane_end(millis(moment), PANE_MS), [sample(millis(moment), "seen")])
    slots = takewhile(lambda slot: slot < moment + 75 * HOUR, real.after(moment))

    for number, slot in enumerate(islice(slots, SLOTS_MAX)):
        end_ms = pane_end(millis(slot) + 1000 * delays[number % len(delays)], PANE_MS)
        due_ms = window.next_change_ms()
        assert due_ms is None or end_ms <= due_ms
        window.add(end_ms, [sample(end_ms - 1, "started", number)])
        assert window.read(end_ms).verdict is Verdict.CLEAR


def is_off_days_later(schedule: Schedule) -> bool:
    """Tell whether the first slot after a change of the clock, however much later, is off by it: Airflow's own way."""
    cron = schedule.cron
    return cron.dialect == "airflow" and cron.is_every_hour and cron.fields[2:] != ("*", "*", "*")


def rule_of(schedule: Schedule) -> Missed:
    fields = {"cron": " ".join(schedule.cron.fields), "dialect": schedule.cron.dialect, "tz": schedule.zone.key}
    return Missed.model_validate(fields | {"grace": "31s"})


def sample(at_ms: int, outcome: str, number: int = 0) -> Sample:
    return Sample(0, 0, 0, ("t",), at_ms * 1000, outcome, f"{number:04}", f"run {number}")


def test_the_dialects_of_the_law_do_differ() -> None:
    """The law means little unless schedulers disagree."""
    moment = datetime.fromisoformat("2021-10-31T01:50+03:00")

    def first(dialect: Dialect) -> datetime:
        return next(Schedule(parse_cron("15 3 * * *", dialect), zone_named("Europe/Riga")).after(moment))

    assert first("dagster") - first("debian") == timedelta(hours=1)
