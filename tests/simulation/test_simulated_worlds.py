"""Worlds of 64 events partitions and 16 detectors, and small ones, in virtual time: faults change no transition.

The default seeds run with every `make test`. FLOWGAUGE_SIMULATION_SEEDS=50 runs so many of each size.
"""

import os
from collections.abc import Sequence
from functools import cache

import pytest
from tests.simulation.detecting import NewDetector, real_detector
from tests.simulation.simulated_log import LOG_ID, RULESETS
from tests.simulation.world import FULL, SMALL, Report, World

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.processors.detector_state import SourcePosition
from flowgauge.schemas.sample import Sample, SampleMessage

ASKED = int(os.environ.get("FLOWGAUGE_SIMULATION_SEEDS", "0"))
FULL_SEEDS = range(1, 1 + (ASKED or 1))
SMALL_SEEDS = range(1, 1 + (ASKED or 3))

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("seed", FULL_SEEDS)
def test_64_partitions_and_16_detectors_tell_what_one_undisturbed_run_tells(seed: int) -> None:
    report = World(seed, FULL).run()

    # A world in which nothing happens proves nothing.
    assert report.transitions > 100
    assert min(report.matcher_crashes, report.resent, report.late, report.skewed) > 0
    assert report.moves > FULL.samples_partitions
    assert report.delay_ms["max"] > 60_000


@pytest.mark.parametrize("seed", SMALL_SEEDS)
def test_a_small_world_tells_what_one_undisturbed_run_tells(seed: int) -> None:
    small_world(seed)


def test_a_seed_repeats_its_world() -> None:
    assert World(3, SMALL).run() == small_world(3)


@cache
def small_world(seed: int) -> Report:
    """Return what this world told, run once for all tests."""
    return World(seed, SMALL).run()


# ── planted faults: each check is shown to bite ──


class FastestClock(Detector):
    """Believes the source that is ahead, as engines without a clock for each partition do."""

    @property
    def clock_ms(self) -> int:
        return max(position.clock_ms for position in self._position.sources)


class CountsAgain(Detector):
    """Takes what a matcher sends again for new."""

    def _new_samples(self, message: SampleMessage, position: SourcePosition) -> Sequence[Sample]:
        return message.samples if position.next_offset else super()._new_samples(message, position)


class Eager(Detector):
    """Evaluates a second before the panes are final."""

    def _advance(self, clock_ms: int) -> Outcome:
        return super()._advance(clock_ms + 1_000)


def of(faulty: type[Detector]) -> NewDetector:
    return lambda state, sources: faulty(log_id=LOG_ID, sources=sources, rulesets=RULESETS, state=state)


def without(prefix: str) -> NewDetector:
    """Restore all but the records whose names begin so."""
    return lambda state, sources: real_detector(
        {name: value for name, value in state.items() if not name.startswith(prefix)}, sources
    )


def run_until_wrong(new_detector: NewDetector) -> None:
    for seed in SMALL_SEEDS:
        World(seed, SMALL, new_detector).run()


@pytest.mark.parametrize(
    ("new_detector", "complaint"),
    [
        (of(FastestClock), "slowest source"),
        (of(CountsAgain), "is not the truth"),
        (of(Eager), "before the slowest source|is not the truth"),
        (without("w/"), "is not the truth|missing"),
        (without("k/"), "is not the truth|missing"),
        (without(""), "restored at another clock"),
    ],
    ids=["fastest clock", "counts again", "eager", "forgets what waits", "forgets keys", "forgets all"],
)
def test_a_planted_fault_is_found_and_its_seed_and_trace_are_told(new_detector: NewDetector, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint) as caught:
        run_until_wrong(new_detector)

    assert "python -m tests.simulation" in caught.value.__notes__[0]
