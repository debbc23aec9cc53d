"""Sequences against the slow oracle that follows every event on its own."""

from collections.abc import Sequence
from operator import itemgetter

import pytest
from hypothesis import given
from tests.oracles.sequence import SequenceOracle, Step
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict

END_MS = START_MS + 600_000
WITHIN_MS, PANE_MS = 60_000, 1_000
STEPS = [{"running"}, {"completed", "running"}, {"failed", "crashed"}]
RULE = """
rules:
  - name: in order
    for_each: [flow]
    for: 3s
    when:
      sequence:
        steps: [{{state: running}}, {{state: [completed, running]}}, {{state: [failed, crashed]}}]
        within: 60s
        fires_when: {}
"""
Told = tuple[int, str, str, float | None]


@pytest.mark.parametrize("fires_when", ["complete", "incomplete"])
@given(happened=happenings(size_max=20))
def test_sequences_are_those_that_a_look_at_all_that_follows_each_event_finds(
    happened: list[Happening], fires_when: str
) -> None:
    found = run_whole(rules(RULE.format(fires_when)), happened, END_MS)

    expected = [row for flow in ("a", "b") for row in _expected(_came(happened, flow), flow, fires_when)]
    assert [(item.at_ms, item.key["flow"], item.to_state, item.value) for item in found] == sorted(expected)


def _came(happened: Sequence[Happening], flow: str) -> list[Step]:
    came = [
        (item.occurred_ms, min(steps), str(item.event.id), steps)
        for item in happened
        if item.event.flow == flow
        and (steps := {number for number, states in enumerate(STEPS) if item.event.state in states})
        and item.append_ms - item.occurred_ms <= 10_000
    ]
    return [Step(at_ms, steps) for at_ms, _, _, steps in sorted(came, key=itemgetter(0, 1, 2))]


def _expected(came: Sequence[Step], flow: str, fires_when: str) -> list[Told]:
    oracle = SequenceOracle(len(STEPS), WITHIN_MS, fires_when == "incomplete")
    alert, policy, found = Alert(), Policy(3_000, 0, "hold"), list[Told]()
    for end_ms in range(pane_end(START_MS, PANE_MS), END_MS - 10_000 + 1, PANE_MS):
        told = oracle.read(came, end_ms)
        change = step(alert, Verdict(told.verdict), end_ms, policy)
        if change is not None:
            found.append((end_ms, flow, change.to_state, told.value))
    return found
