"""What must hold after every step of a simulated detector, asked of the log and of the truth, never of the detector.

clock        the slowest partition's, and it never goes back, also not over a restore
transitions  each is a true one, word for word; none twice; none of a pane that is not final by the slowest partition
memory       no sample waits whose pane is final; what waits is what the lag explains
"""

from collections.abc import Mapping

from tests.simulation.simulated_log import AT_ONCE, RULESETS, SimulatedLog

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.schemas.transition import Transition

LATENESS_MS = {rule.rule.name: rule.lateness_ms for rule in RULESETS[1].rules}
LOOK_EACH = 20  # commits: counting what waits takes longer than a step
LAG_STEP_MS = 30_000


class Memory:
    """Samples that wait in one detector, by how far its fastest source is ahead of its slowest."""

    def __init__(self) -> None:
        self._seen: dict[int, list[int]] = {}  # lag, in steps of LAG_STEP_MS → how many waited

    def see(self, lag_ms: int, waiting: int) -> None:
        """Note what waited at a moment."""
        self._seen.setdefault(lag_ms // LAG_STEP_MS, []).append(waiting)

    def by_lag(self) -> dict[str, tuple[int, int]]:
        """Return, for each step of lag, how many samples waited: on average, and at most."""
        return {
            f"{step * LAG_STEP_MS // 1000}-{(step + 1) * LAG_STEP_MS // 1000} s": (sum(seen) // len(seen), max(seen))
            for step, seen in sorted(self._seen.items())
        }


class Checker:
    """Follows every commit. Raises AssertionError at the first that is wrong."""

    def __init__(self, log: SimulatedLog, truth: Mapping[str, Transition], partitions: int) -> None:
        self._log = log
        self._truth = truth
        self._clocks = [-1] * partitions
        self._commits = 0
        self._told: set[str] = set()
        self.delays_ms: list[int] = []  # from when a pane could have been final to when it was told
        self.memory = Memory()

    @property
    def sources(self) -> int:
        """How many events partitions there are."""
        return len(self._log.sources)

    def restored(self, partition: int, detector: Detector) -> None:
        """Check a detector that a new owner has just restored."""
        found = detector.clock_ms
        assert found == self._clocks[partition], f"samples partition {partition} restored at another clock: {found}"

    def committed(self, partition: int, detector: Detector, outcome: Outcome, now_ms: int) -> None:
        """Check what a step committed."""
        self._check_clock(partition, detector)
        for transition in outcome.transitions:
            self._check_transition(transition, detector.clock_ms, now_ms)
        self._commits += 1
        if self._commits % LOOK_EACH == 0:
            self._check_memory(detector)

    def ended(self) -> None:
        """Check that nothing is missing when everything was read."""
        missing = [self._truth[identity] for identity in self._truth.keys() - self._told]
        assert not missing, f"{len(missing)} transitions are missing, one is {missing[0]}"

    def _check_clock(self, partition: int, detector: Detector) -> None:
        clocks = [source.clock_ms(detector.next_offset(number)) for number, source in enumerate(self._log.sources)]
        clock_ms = detector.clock_ms
        assert clock_ms == min(clocks), f"samples partition {partition}: clock {clock_ms}, slowest source {min(clocks)}"
        assert clock_ms >= self._clocks[partition], f"samples partition {partition}: the clock went back to {clock_ms}"
        self._clocks[partition] = clock_ms

    def _check_transition(self, transition: Transition, clock_ms: int, now_ms: int) -> None:
        identity = transition.transition_id
        assert identity not in self._told, f"told twice: {transition}"
        assert transition == self._truth.get(identity), f"{transition}\nis not the truth {self._truth.get(identity)}"
        self._told.add(identity)
        if transition.rule != AT_ONCE:
            final_ms = transition.at_ms + LATENESS_MS[transition.rule]
            assert final_ms <= clock_ms, f"told before the slowest source was there, at {clock_ms}: {transition}"
            self.delays_ms.append(now_ms - final_ms)

    def _check_memory(self, detector: Detector) -> None:
        clocks = [source.clock_ms(detector.next_offset(number)) for number, source in enumerate(self._log.sources)]
        slowest_ms = min(clocks)
        waiting = 0
        for state in detector._keys.values():  # pyright: ignore[reportPrivateUsage]  # production has no figure for it
            waiting += len(state.waiting)
            for item in state.waiting:
                assert item[4] + state.rule.lateness_ms > slowest_ms, f"waits although its pane is final: {item}"
        if slowest_ms >= 0:
            self.memory.see(max(clocks) - slowest_ms, waiting)
