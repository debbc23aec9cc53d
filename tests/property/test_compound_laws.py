"""Compound rules against the slow oracle that asks at every pane end what the rules they name did by themselves."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from tests.examples import one_in
from tests.oracles.compound import Change, holds, lingers_ms, momentary
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.transition import Transition

END_MS = START_MS + 400_000
PANE_MS = 500  # what divides the panes of all rules below: 1 s, 2.5 s and 5 s
OPEN = {"firing", "recovering", "no_data"}

FAILING = "{failure_rate: {above: 30%, within: 7s, min_samples: 1}}, for: 2s, keep_firing_for: 6s, no_data: fire"
OFTEN = "{event: {times: 2, within: 10m}}, match: {state: [failed, crashed]}"
LATE = "{late: {after: 10s, within: 250s}}"
SILENT = "{absence: {after: 15s}}, match: {state: [running, late]}, for: 1s"
CRASH = "{event: {}}, match: {state: crashed}"
PARTS = {"failing": FAILING, "often": OFTEN, "late": LATE, "silent": SILENT, "crash": CRASH}
COMPOUNDS: Mapping[str, tuple[Sequence[str], int, int, Policy]] = {  # conditions, how many, within, policy
    "both": (("failing", "often"), 2, 20_000, Policy(0, 3_000, "hold")),
    "both at once": (("failing", "silent"), 2, 0, Policy(2_000, 0, "hold")),
    "some": (("failing", "often", "late", "silent", "crash"), 3, 12_000, Policy(0, 0, "hold")),
    "one": (("late", "crash"), 1, 30_000, Policy(4_000, 5_000, "hold")),
    "of compounds": (("both", "some", "silent"), 2, 9_000, Policy(0, 0, "hold")),
}
NAMED = "rules:\n" + "".join(f"  - {{name: {name}, for_each: [flow], when: {text}}}\n" for name, text in PARTS.items())


def _compound(name: str, conditions: Sequence[str]) -> str:
    names, needed, within_ms, policy = COMPOUNDS[name]
    kind = "all_of: {" if needed == len(names) else f"any_of: {{at_least: {needed}, "
    within = f"within: {within_ms // 1000}s, " if within_ms else ""
    life = f"for: {policy.for_ms // 1000}s, keep_firing_for: {policy.keep_firing_for_ms // 1000}s"
    when = f"{{{kind}{within}conditions: [{', '.join(conditions)}]}}}}"
    return f"  - {{name: {name}, for_each: [flow], {life}, when: {when}}}\n"


BY_NAME = rules(NAMED + "".join(_compound(name, names) for name, (names, *_) in COMPOUNDS.items()))
IN_PLACE = rules(
    "rules:\n"
    + "".join(
        _compound(name, [f"{{when: {PARTS[each]}}}" for each in names])
        for name, (names, *_) in COMPOUNDS.items()
        if name != "of compounds"
    )
)
Told = tuple[int, str, int, float | None]


def _told(found: Sequence[Transition], rule: str, flow: str) -> list[Told]:
    return [
        (item.at_ms, item.to_state, item.opened_at_ms, item.value)
        for item in found
        if item.rule == rule and item.key["flow"] == flow
    ]


@pytest.mark.timeout(120)
@settings(max_examples=one_in(5))  # each is looked at some ten thousand times
@given(happened=happenings())
def test_a_compound_holds_where_the_rules_it_names_fire_by_themselves(happened: list[Happening]) -> None:
    found = run_whole(BY_NAME, happened, END_MS)

    for name in COMPOUNDS:
        for flow in ("a", "b"):
            assert _told(found, name, flow) == _expected(found, name, flow)


@pytest.mark.timeout(120)
@given(happened=happenings())
def test_a_condition_in_place_is_the_rule_of_that_name(happened: list[Happening]) -> None:
    named, in_place = run_whole(BY_NAME, happened, END_MS), run_whole(IN_PLACE, happened, END_MS)

    for name in COMPOUNDS.keys() - {"of compounds"}:
        ours = [(item.transition_id, item.value, item.samples, item.examples) for item in in_place if item.rule == name]
        assert ours == [
            (item.transition_id, item.value, item.samples, item.examples) for item in named if item.rule == name
        ]


def _expected(found: Sequence[Transition], name: str, flow: str) -> list[Told]:
    names, needed, within_ms, policy = COMPOUNDS[name]
    lives = {each: _life(found, each, flow) for each in names}
    alert, expected = Alert(), list[Told]()
    for end_ms in range(pane_end(START_MS, PANE_MS), END_MS - 10_000 + 1, PANE_MS):
        held = sum(holds(lives[each], end_ms, lingers_ms(within_ms, is_momentary=each == "crash")) for each in names)
        verdict = Verdict.BREACH if held >= needed else Verdict.CLEAR
        change = step(alert, verdict, end_ms, policy)
        if change is not None:
            expected.append((end_ms, change.to_state, change.opened_at_ms, float(held)))
    return expected


def _life(found: Sequence[Transition], rule: str, flow: str) -> list[Change]:
    """Return when the rule changed for the flow, and whether it was open from then on."""
    own = [item for item in found if item.rule == rule and item.key["flow"] == flow]
    if rule == "crash":
        return momentary(item.at_ms for item in own)
    return [(item.at_ms, item.to_state in OPEN) for item in own]
