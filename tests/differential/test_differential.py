"""The `prefect` kind fires as Prefect's own engine does, in whatever comes; and a difference would be found.

The intended differences that docs/prefect-rules.md lists are there too, and no other is listed. Prefect takes ten
seconds of CPU to start, so all share one engine. FLOWGAUGE_SCENARIOS=50 asks it of more seeds, as `make torture` does.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.differential.comparison import (
    PrefectEngine,
    difference,
    firings_of,
    needs_prefect,
    running_engine,
    transitions_of,
)
from tests.differential.intended import NATIVE, REACTIVE, SILENCE, Happened, at, drawn, event_id
from tests.differential.scenarios import Scenario, scenario, shortest
from tests.property.detection import START_MS, rules
from tests.unit.test_docs_reference import table

PAGE = (Path(__file__).parents[2] / "docs" / "prefect-rules.md").read_text(encoding="utf-8")
SEEDS = range(1, 51)
ASKED_SEEDS = range(1, 1 + int(os.environ.get("FLOWGAUGE_SCENARIOS", "20")))


@pytest.fixture(scope="module")
def engine() -> Iterator[PrefectEngine]:
    with running_engine() as running:
        yield running


def test_scenarios_are_the_same_for_the_same_seed_and_half_of_them_fire() -> None:
    drawn = [scenario(seed) for seed in SEEDS]

    assert drawn == [scenario(seed) for seed in SEEDS]
    assert sum(bool(firings_of(each)) for each in drawn) >= len(SEEDS) // 2


def test_the_shortest_scenario_keeps_what_differs() -> None:
    def differs(each: Scenario) -> bool:
        return any(event["event"] == "etl.beat" for _, event in each.events)

    found = next(each for seed in SEEDS if differs(each := scenario(seed)))

    assert [event["event"] for _, event in shortest(found, differs).events] == ["etl.beat"]


@pytest.mark.parametrize("first", ASKED_SEEDS[::10], ids=lambda first: f"seeds from {first}")
@needs_prefect
def test_firings_are_those_of_prefect(engine: PrefectEngine, first: int) -> None:
    found = {seed: difference(engine, scenario(seed)) for seed in ASKED_SEEDS[first - 1 : first + 9]}

    assert {seed: each for seed, each in found.items() if each} == {}


@needs_prefect
def test_a_difference_is_found(engine: PrefectEngine) -> None:
    loaded_before = {"loads_at_start": True}
    timers = [
        Scenario(each.seed, each.automations, each.events, loaded_before)
        for each in map(scenario, SEEDS)
        if any(item["trigger"]["posture"] == "Proactive" for item in each.automations)
    ]

    assert any(difference(engine, each) for each in timers[:10])


def seconds(at_ms: int) -> float:
    return (at_ms - START_MS) / 1000


def test_the_page_lists_what_other_kinds_do_instead_and_nothing_else() -> None:
    assert [row[0] for row in table(PAGE, "## What the other kinds do instead")] == list(NATIVE)


@pytest.mark.parametrize("name", NATIVE)
def test_another_kind_decides_as_the_page_says(name: str) -> None:
    case = NATIVE[name]
    happened = drawn(case.trigger, case.events)
    rule = case.rule if case.rule.startswith("{") else f"{{{case.rule}}}"

    found = transitions_of(happened, rules(f"rules: [{{name: a, {rule[1:]}]"))

    assert [(seconds(item.at_ms), item.to_state) for item in found] == list(case.native)
    assert [seconds(item.at_ms) for item in firings_of(happened)] == list(case.prefect)


@pytest.mark.parametrize("name", NATIVE)
@needs_prefect
def test_prefect_decides_as_the_page_says(engine: PrefectEngine, name: str) -> None:
    assert difference(engine, drawn(NATIVE[name].trigger, NATIVE[name].events)) is None


@needs_prefect
def test_a_timer_of_prefect_begins_when_it_is_loaded_and_ours_at_its_first_event(engine: PrefectEngine) -> None:
    loaded = drawn(SILENCE, at(300), loads_at_start=True)

    assert [seconds(each.at_ms) for each in engine.firings(loaded)][:4] == [60, 120, 180, 240]
    assert [seconds(each.at_ms) for each in firings_of(loaded)][:1] == [480]
    assert difference(engine, replace(loaded, asked={})) is None


@needs_prefect
def test_a_late_event_moves_the_time_of_prefect_and_not_ours(engine: PrefectEngine) -> None:
    keyed = {**SILENCE, "after": ["s"], "expect": ["x"], "for_each": ["prefect.resource.id"]}
    late = drawn(keyed, [Happened(0, "s"), Happened(50, "s", 20)], lag_counts=True)

    assert [seconds(each.at_ms) for each in firings_of(late)] == [60]
    assert [seconds(each.at_ms) for each in engine.firings(late)] == [90]
    assert difference(engine, replace(late, asked={})) is None


@needs_prefect
def test_an_event_waits_for_the_one_it_follows_in_prefect_and_not_here(engine: PrefectEngine) -> None:
    follower = drawn(REACTIVE, [Happened(0, follows=1), Happened(7)])

    assert [(seconds(each.at_ms), each.event) for each in firings_of(follower)] == [(0, event_id(0)), (7, event_id(1))]
    assert [(seconds(each.at_ms), each.event) for each in engine.firings(follower)] == [
        (7, event_id(1)),
        (7, event_id(0)),
    ]
