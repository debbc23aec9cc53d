"""Burn rates against the slow oracle that looks at every end of a run at every pane end."""

from collections.abc import Sequence
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from tests.oracles.burn_rate import BurnOracle, End, Pair
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict

END_MS = START_MS + 600_000
STEP_MS, MIN_SAMPLES = 1_000, 2
PAIRS = [Pair(Fraction(4), 60_000, 20_000), Pair(Fraction(2), 240_000, 30_000)]  # read each 1 s, and each 2 s
COUNTED = {"completed": False, "failed": True, "crashed": True}
RULE = """
rules:
  - name: burning
    for_each: [flow]
    for: 3s
    no_data: {no_data}
    when:
      burn_rate:
        objective: {objective}%
        pairs: [{{above: 4, within: 60s, short: 20s}}, {{above: 2, within: 4m, short: 30s}}]
        min_samples: 2
"""


@given(happened=happenings(), objective=st.integers(76, 95), no_data=st.sampled_from(["hold", "resolve", "fire"]))
def test_budgets_burn_where_a_look_at_every_end_finds_it(
    happened: list[Happening], objective: int, no_data: str
) -> None:
    ruleset = rules(RULE.format(objective=objective, no_data=no_data))

    found = run_whole(ruleset, happened, END_MS)

    budget = 1 - Fraction(objective, 100)
    expected = [row for flow in ("a", "b") for row in _expected(_ends_of(happened, flow), flow, budget, no_data)]
    assert [(item.at_ms, item.key["flow"], item.to_state, item.samples) for item in found] == sorted(expected)


def _ends_of(happened: Sequence[Happening], flow: str) -> list[End]:
    return [
        (item.occurred_ms, COUNTED[item.event.state])
        for item in happened
        if item.event.flow == flow and item.event.state in COUNTED and item.append_ms - item.occurred_ms <= 10_000
    ]


def _expected(ends: Sequence[End], flow: str, budget: Fraction, no_data: str) -> list[tuple[int, str, str, int]]:
    policy = Policy(3_000, 0, "hold" if no_data == "hold" else "resolve" if no_data == "resolve" else "fire")
    oracle = BurnOracle(budget, PAIRS, MIN_SAMPLES)
    alert, found = Alert(), list[tuple[int, str, str, int]]()
    for end_ms in range(pane_end(START_MS, STEP_MS), END_MS - 10_000 + 1, STEP_MS):
        if not any(at_ms < end_ms for at_ms, _ in ends):
            continue  # a key begins with its first end
        told = oracle.read(ends, end_ms)
        change = step(alert, Verdict(told.verdict), end_ms, policy)
        if change is not None:
            found.append((end_ms, flow, change.to_state, told.samples))
    return found
