"""Absences against a slow oracle that looks at every event at every pane end."""

from collections.abc import Sequence

from hypothesis import given
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict

END_MS = START_MS + 600_000
AFTER_MS, PANE_MS = 20_000, 1_000
ENDS = {"completed", "failed", "crashed", "cancelled"}
MATCHED = {"running", "late"}
RULESET = rules(
    "rules: [{name: silent, match: {state: [running, late]}, for_each: [run], for: 3s, when: {absence: {after: 20s}}}]"
)
Heard = tuple[int, bool]  # (ms, it is an end)


@given(happened=happenings())
def test_runs_are_silent_where_a_look_at_every_event_finds_them_so(happened: list[Happening]) -> None:
    found = run_whole(RULESET, happened, END_MS)

    runs = {item.event.run for item in happened if item.event.run}
    expected = [row for run in runs for row in _expected(happened, run)]
    assert [(item.at_ms, item.key["run"], item.to_state, item.value) for item in found] == sorted(expected)


def _expected(happened: Sequence[Happening], run: str) -> list[tuple[int, str, str, float | None]]:
    heard = sorted(
        (item.occurred_ms, item.event.state in ENDS)
        for item in happened
        if item.event.run == run and item.event.state in MATCHED | ENDS and item.append_ms - item.occurred_ms <= 10_000
    )
    alert, policy, found = Alert(), Policy(3_000, 0, "hold"), list[tuple[int, str, str, float | None]]()
    for end_ms in range(pane_end(START_MS, PANE_MS), END_MS - 10_000 + 1, PANE_MS):
        so_far = [each for each in heard if each[0] < end_ms]
        change = step(alert, _verdict(so_far, end_ms), end_ms, policy)
        if change is not None:
            found.append((end_ms, run, change.to_state, (end_ms - so_far[-1][0]) / 1000))
    return found


def _verdict(heard: Sequence[Heard], end_ms: int) -> Verdict:
    if not heard:
        return Verdict.HELD
    last_ms, has_ended = heard[-1]
    return Verdict.BREACH if not has_ended and last_ms < end_ms - AFTER_MS else Verdict.CLEAR
