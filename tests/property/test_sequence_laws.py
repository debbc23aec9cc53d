"""Sequences against a slow oracle that tries every choice of events at every pane end."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
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
Came = Sequence[tuple[int, str]]  # (ms, state) in order


@pytest.mark.parametrize("fires_when", ["complete", "incomplete"])
@given(happened=happenings(size_max=20))
def test_sequences_are_those_that_a_try_of_every_choice_finds(happened: list[Happening], fires_when: str) -> None:
    found = run_whole(rules(RULE.format(fires_when)), happened, END_MS)

    expected = [row for flow in ("a", "b") for row in _expected(_came(happened, flow), flow, fires_when)]
    assert [(item.at_ms, item.key["flow"], item.to_state) for item in found] == sorted(expected)


def _came(happened: Sequence[Happening], flow: str) -> Came:
    came = [
        (item.occurred_ms, _first_step(item.event.state), str(item.event.id), item.event.state)
        for item in happened
        if item.event.flow == flow
        and item.event.state is not None
        and any(item.event.state in states for states in STEPS)
        and item.append_ms - item.occurred_ms <= 10_000
    ]
    return [(at_ms, state) for at_ms, _, _, state in sorted(came)]


def _first_step(state: str | None) -> int:
    return next((number for number, states in enumerate(STEPS) if state in states), -1)


def _expected(came: Came, flow: str, fires_when: str) -> list[tuple[int, str, str]]:
    chains = [chosen for chosen in combinations(came, len(STEPS)) if _is_whole(chosen)]
    alert, policy, found = Alert(), Policy(3_000, 0, "hold"), list[tuple[int, str, str]]()
    for end_ms in range(pane_end(START_MS, PANE_MS), END_MS - 10_000 + 1, PANE_MS):
        breaches = _completed(chains, end_ms) if fires_when == "complete" else _overdue(came, chains, end_ms)
        change = step(alert, Verdict.BREACH if breaches else Verdict.CLEAR, end_ms, policy)
        if change is not None:
            found.append((end_ms, flow, change.to_state))
    return found


def _is_whole(chosen: Came) -> bool:
    return all(state in states for (_, state), states in zip(chosen, STEPS, strict=True))


def _completed(chains: Sequence[Came], end_ms: int) -> bool:
    return any(
        chain[-1][0] - chain[0][0] <= WITHIN_MS and end_ms - WITHIN_MS <= chain[-1][0] < end_ms for chain in chains
    )


def _overdue(came: Came, chains: Sequence[Came], end_ms: int) -> bool:
    """Tell whether a first step that is over time has no whole rest behind it that came by now."""
    answered = {id(chain[0]) for chain in chains if chain[-1][0] < end_ms}
    return any(
        state in STEPS[0] and at_ms < end_ms - WITHIN_MS and id(item) not in answered
        for item in came
        for at_ms, state in (item,)
    )
