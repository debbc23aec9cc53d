"""One simulated world: a log, matchers, detectors and the faults that befall them, all from one seed.

python -m tests.simulation SEED…        runs these seeds and prints a JSON line each; a failure prints its trace
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from tests.simulation.checker import Checker
from tests.simulation.detecting import Detectors, NewDetector, real_detector
from tests.simulation.group import Group
from tests.simulation.matching import Matchers, SamplesTopic
from tests.simulation.simulated_log import START_MS, drawn_log
from tests.simulation.trace import Trace
from tests.simulation.truth import true_transitions

STEP_MS = 1_000
CATCH_UP_MS_MAX = 900_000  # of virtual time after the end of the log, then it counts as stuck
ROLL_EACH_MS = 4_000  # a rolling deployment restarts one detector after the other


@dataclass(frozen=True, slots=True)
class Size:
    """How large a world is."""

    events_partitions: int = 64
    samples_partitions: int = 16
    matchers: int = 8
    detectors: int = 16
    busy_ms: int = 300_000
    runs_per_second: float = 5.0


FULL = Size()
SMALL = Size(events_partitions=6, samples_partitions=3, matchers=2, detectors=3, busy_ms=300_000, runs_per_second=3.0)


class Report(msgspec.Struct, frozen=True):
    """What a world was like."""

    seed: int
    events: int
    samples: int
    messages: int
    message_bytes: int
    transitions: int
    rebalances: int
    moves: int
    matcher_crashes: int
    detector_crashes: int
    fenced_commits: int
    resent: int
    late: int
    skewed: int
    balance: dict[str, float]  # most / mean
    waiting: dict[str, tuple[int, int]]  # lag → samples that waited in one detector: on average, at most
    state_bytes_max: int
    delay_ms: dict[str, int]


class World:
    """The parts, put together."""

    def __init__(self, seed: int, size: Size = FULL, new_detector: NewDetector = real_detector) -> None:
        self.seed = seed
        self.trace = Trace(START_MS, START_MS)
        self._chance = random.Random(seed + 1)
        self._log = drawn_log(
            seed, partitions=size.events_partitions, busy_ms=size.busy_ms, runs_per_second=size.runs_per_second
        )
        self._truth = true_transitions(self._log)
        self._topic = SamplesTopic([[] for _ in range(size.samples_partitions)], samples=[0] * size.samples_partitions)
        self._groups = (
            Group("matcher", members=size.matchers, partitions=size.events_partitions),
            Group("detector", members=size.detectors, partitions=size.samples_partitions),
        )
        self._checker = Checker(self._log, self._truth, size.samples_partitions)
        self._matchers = Matchers(self._log, self._groups[0], self._topic, chance=self._chance, trace=self.trace)
        self._detectors = Detectors(
            self._groups[1],
            self._topic,
            self._checker,
            chance=self._chance,
            trace=self.trace,
            new_detector=new_detector,
        )
        self._deploys_ms = START_MS + size.busy_ms // 2

    def run(self) -> Report:
        """Run to the end. Raises AssertionError, with seed and trace, where something is wrong."""
        try:
            self._run()
        except Exception as error:
            error.add_note("\n".join([f"seed {self.seed}: python -m tests.simulation {self.seed}", *self.trace.lines]))
            raise
        return self._report()

    def _run(self) -> None:
        now_ms = START_MS
        while not (now_ms > self._log.end_ms and self._matchers.is_done and self._detectors.is_done):
            assert now_ms < self._log.end_ms + CATCH_UP_MS_MAX, "it never caught up"
            self.trace.now_ms = now_ms = now_ms + STEP_MS
            for group in self._groups:
                group.step(now_ms)
            self._deploy(now_ms)
            self._matchers.step(now_ms)
            self._detectors.step(now_ms)
        self._checker.ended()

    def _deploy(self, now_ms: int) -> None:
        """Restart every detector process in turn, once, in the middle."""
        number, rest = divmod(now_ms - self._deploys_ms, ROLL_EACH_MS)
        if rest == 0 and 0 <= number < len(self._groups[1].names):
            self._detectors.restart(self._groups[1].names[number], now_ms)

    def _report(self) -> Report:
        counts, stored = self._detectors.counts, self._topic.partitions
        delays = sorted(self._checker.delays_ms)
        return Report(
            seed=self.seed,
            events=self._log.events,
            samples=sum(self._topic.samples),
            messages=sum(len(messages) for messages in stored),
            message_bytes=sum(len(value) for messages in stored for value in messages),
            transitions=len(self._truth),
            rebalances=sum(group.rebalances for group in self._groups),
            moves=counts.moves,
            matcher_crashes=self._matchers.crashes,
            detector_crashes=counts.crashes,
            fenced_commits=counts.fenced,
            resent=counts.resent,
            late=counts.late,
            skewed=counts.skewed,
            balance={
                "records of events partitions": _peak([len(source.records) for source in self._log.sources]),
                "samples of samples partitions": _peak(self._topic.samples),
            },
            waiting=self._checker.memory.by_lag(),
            state_bytes_max=counts.restored_bytes_max,
            delay_ms={"p50": delays[len(delays) // 2], "max": delays[-1]},
        )


def _peak(figures: Sequence[int]) -> float:
    """Return how much the largest is above the mean."""
    return round(max(figures) * len(figures) / sum(figures), 2)
