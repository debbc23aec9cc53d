"""Burn rates against a slow oracle that looks at every end of a run at every pane end, pair by pair, in fractions."""

from collections.abc import Sequence
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict

END_MS = START_MS + 600_000
STEP_MS, MIN_SAMPLES = 1_000, 2
# (above, long, short, pane) in ms; both read at their own panes
PAIRS = [(Fraction(4), 60_000, 20_000, 1_000), (Fraction(2), 240_000, 30_000, 2_000)]
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
Ends = Sequence[tuple[int, bool]]  # (ms, it failed)


@given(happened=happenings(), objective=st.integers(76, 95), no_data=st.sampled_from(["hold", "resolve", "fire"]))
def test_budgets_burn_where_a_look_at_every_end_finds_it(
    happened: list[Happening], objective: int, no_data: str
) -> None:
    ruleset = rules(RULE.format(objective=objective, no_data=no_data))

    found = run_whole(ruleset, happened, END_MS)

    budget = 1 - Fraction(objective, 100)
    expected = [row for flow in ("a", "b") for row in _expected(_ends_of(happened, flow), flow, budget, no_data)]
    assert [(item.at_ms, item.key["flow"], item.to_state, item.samples) for item in found] == sorted(expected)


def _ends_of(happened: Sequence[Happening], flow: str) -> Ends:
    return [
        (item.occurred_ms, COUNTED[item.event.state])
        for item in happened
        if item.event.flow == flow and item.event.state in COUNTED and item.append_ms - item.occurred_ms <= 10_000
    ]


def _expected(ends: Ends, flow: str, budget: Fraction, no_data: str) -> list[tuple[int, str, str, int]]:
    policy = Policy(3_000, 0, "hold" if no_data == "hold" else "resolve" if no_data == "resolve" else "fire")
    alert, found = Alert(), list[tuple[int, str, str, int]]()
    for end_ms in range(pane_end(START_MS, STEP_MS), END_MS - 10_000 + 1, STEP_MS):
        if not any(at_ms < end_ms for at_ms, _ in ends):
            continue  # a key begins with its first end
        verdict, samples = _verdict([_pair(ends, end_ms, pair, budget) for pair in PAIRS])
        change = step(alert, verdict, end_ms, policy)
        if change is not None:
            found.append((end_ms, flow, change.to_state, samples))
    return found


def _pair(ends: Ends, end_ms: int, pair: tuple[Fraction, int, int, int], budget: Fraction) -> tuple[str, int]:
    """Return what a pair says at its last pane end, and how many runs it looked at."""
    above, long_ms, short_ms, pane_ms = pair
    read_ms = end_ms // pane_ms * pane_ms
    long = [failed for at_ms, failed in ends if read_ms - long_ms <= at_ms < read_ms]
    short = [failed for at_ms, failed in ends if read_ms - short_ms <= at_ms < read_ms]
    if not long:
        return "empty", 0
    enough = len(long) >= MIN_SAMPLES
    if Fraction(sum(long), len(long)) <= above * budget:
        return "clear" if enough else "few", len(long)
    if not enough or not short:
        return "perhaps", len(long)
    return "burns" if Fraction(sum(short), len(short)) > above * budget else "clear", len(long)


def _verdict(said: Sequence[tuple[str, int]]) -> tuple[Verdict, int]:
    verdicts = {
        "burns": Verdict.BREACH,
        "perhaps": Verdict.HELD,
        "clear": Verdict.CLEAR,
        "few": Verdict.HELD,
        "empty": Verdict.EMPTY,
    }
    for word, verdict in verdicts.items():
        for what, samples in said:
            if what == word:
                return verdict, samples
    raise AssertionError(said)
