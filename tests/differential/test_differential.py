"""The `prefect` kind fires as Prefect's own engine does, in whatever comes; and a difference would be found."""

from collections.abc import Iterator

import pytest
from tests.differential.comparison import PrefectEngine, difference, firings_of, needs_prefect, running_engine
from tests.differential.scenarios import Scenario, scenario, shortest

SEEDS = range(1, 51)


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


@pytest.mark.parametrize("first", SEEDS[::10], ids=lambda first: f"seeds from {first}")
@needs_prefect
def test_firings_are_those_of_prefect(engine: PrefectEngine, first: int) -> None:
    found = {seed: difference(engine, scenario(seed)) for seed in range(first, first + 10)}

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
