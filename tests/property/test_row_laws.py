"""Rows of failures against a slow oracle that looks at every end at every pane end."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict

END_MS = START_MS + 600_000
TIMES, PANE_MS = 2, 1_000
COUNTED = {"completed": False, "failed": True, "crashed": True}
RULE = "rules: [{{name: row, for_each: [flow], for: 3s, no_data: {}, when: {{consecutive_failures: {{times: 2{}}}}}}}]"


@pytest.mark.parametrize("within_ms", [None, 40_000])
@given(happened=happenings())
def test_rows_are_those_that_a_look_at_every_end_finds(happened: list[Happening], within_ms: int | None) -> None:
    ruleset = rules(RULE.format("resolve", ", within: 40s") if within_ms else RULE.format("hold", ""))

    found = run_whole(ruleset, happened, END_MS)

    assert [(item.key["flow"], item.to_state, item.at_ms) for item in found] == sorted(
        [row for flow in ("a", "b") for row in _expected(happened, flow, within_ms)],
        key=lambda row: (row[2], row[0]),
    )


def _expected(happened: Sequence[Happening], flow: str, within_ms: int | None) -> list[tuple[str, str, int]]:
    ends = sorted(
        (item.event.occurred, str(item.event.id), COUNTED[item.event.state], item.occurred_ms)
        for item in happened
        if item.event.flow == flow and item.event.state in COUNTED and item.append_ms - item.occurred_ms <= 10_000
    )
    alert, policy, found = Alert(), Policy(3_000, 0, "resolve" if within_ms else "hold"), list[tuple[str, str, int]]()
    for end_ms in range(pane_end(START_MS, PANE_MS), END_MS - 10_000 + 1, PANE_MS):
        so_far = [(failed, at_ms) for _, _, failed, at_ms in ends if at_ms < end_ms]
        change = step(alert, _verdict(so_far, end_ms, within_ms), end_ms, policy)
        if change is not None:
            found.append((flow, change.to_state, end_ms))
    return found


def _verdict(ends: Sequence[tuple[bool, int]], end_ms: int, within_ms: int | None) -> Verdict:
    if not ends:
        return Verdict.EMPTY if within_ms else Verdict.HELD
    if within_ms and ends[-1][1] < end_ms - within_ms:
        return Verdict.EMPTY
    if not ends[-1][0]:
        return Verdict.CLEAR
    last = ends[-TIMES:]
    are_near = within_ms is None or last[0][1] >= end_ms - within_ms
    return Verdict.BREACH if len(last) == TIMES and all(failed for failed, _ in last) and are_near else Verdict.BETWEEN
