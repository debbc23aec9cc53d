"""Simulated detectors: real `Detector`s in processes that are killed, restarted and frozen, over a fenced store.

samples partition ──► Detector.apply ──► Store.commit(state, transitions, position) if nobody fenced us
                         owner A dies ──► owner B restores what A last committed
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.simulation.checker import Checker
from tests.simulation.group import DOWN_MS, FROZEN_MS, RESTART_MS, Group
from tests.simulation.matching import SamplesTopic
from tests.simulation.simulated_log import LOG_ID, RULESETS
from tests.simulation.trace import Trace

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.schemas.sample import decode_message
from flowgauge.schemas.transition import Transition

POLL_CHANCE = 0.5  # of each partition and step
POLL_MESSAGES_MAX = 400
CRASH_CHANCE = 0.001  # of each apply, half of them before the commit
FREEZE_CHANCE = 0.0005

NewDetector = Callable[[Mapping[str, bytes], int], Detector]


def real_detector(state: Mapping[str, bytes], sources: int) -> Detector:
    """Return a detector as production makes it."""
    return Detector(log_id=LOG_ID, sources=sources, rulesets=RULESETS, state=state)


@dataclass(slots=True)
class Store:
    """What one samples partition has committed. A new owner raises `epoch`, and older ones commit nothing more."""

    epoch: int = 0
    next_message: int = 0
    state: dict[str, bytes] = field(default_factory=dict[str, bytes])
    transitions: list[Transition] = field(default_factory=list[Transition])

    def commit(self, epoch: int, next_message: int, outcome: Outcome) -> bool:
        """Make a step durable; False, and nothing, for a fenced owner."""
        if epoch != self.epoch:
            return False
        self.next_message = next_message
        self.transitions += outcome.transitions
        for name, value in outcome.state.items():
            if value is None:
                self.state.pop(name, None)
            else:
                self.state[name] = value
        return True


@dataclass(slots=True)
class _Owned:
    owner: str
    epoch: int
    next_message: int
    detector: Detector


@dataclass(slots=True)
class DetectorCounts:
    """What happened to the processes."""

    moves: int = 0
    crashes: int = 0
    fenced: int = 0
    resent: int = 0
    late: int = 0
    skewed: int = 0
    restored_bytes_max: int = 0


class Detectors:
    """All detector processes: each owns some samples partitions, by its group."""

    def __init__(
        self,
        group: Group,
        topic: SamplesTopic,
        checker: Checker,
        *,
        chance: random.Random,
        trace: Trace,
        new_detector: NewDetector = real_detector,
    ) -> None:
        self._group = group
        self._topic = topic
        self._checker = checker
        self._chance = chance
        self._trace = trace
        self._new_detector = new_detector
        self.stores = [Store() for _ in topic.partitions]
        self.counts = DetectorCounts()
        self._zombies: list[tuple[int, int, _Owned]] = []  # (when it wakes, partition, what it still holds)
        self.owned = [self._begun(partition) for partition in range(len(topic.partitions))]

    @property
    def is_done(self) -> bool:
        """Every message was applied and committed."""
        return all(
            store.next_message == len(messages)
            for store, messages in zip(self.stores, self._topic.partitions, strict=True)
        )

    def step(self, now_ms: int) -> None:
        """Let every owner poll now and then, and those wake that were frozen."""
        self._wake(now_ms)
        for partition, owned in enumerate(self.owned):
            if not self._group.is_there(self._group.placed[partition]):
                continue
            if owned.owner != self._group.placed[partition]:
                self.owned[partition] = owned = self._begun(partition)
            if self._chance.random() < POLL_CHANCE:
                self._poll(partition, owned, now_ms)

    def restart(self, member: str, now_ms: int) -> None:
        """End a process between its steps, as a rolling deployment does."""
        if self._group.is_there(member):
            self._trace.say(f"{member} restarts")
            self._leave(member, now_ms, self._chance.randrange(*RESTART_MS))

    def _begun(self, partition: int) -> _Owned:
        """Fence the owner before, then restore what is committed."""
        store, owner = self.stores[partition], self._group.placed[partition]
        store.epoch += 1
        self.counts.moves += 1
        restored_bytes = sum(len(value) for value in store.state.values())
        self.counts.restored_bytes_max = max(self.counts.restored_bytes_max, restored_bytes)
        detector = self._new_detector(store.state, self._checker.sources)
        self._checker.restored(partition, detector)
        return _Owned(owner, store.epoch, store.next_message, detector)

    def _poll(self, partition: int, owned: _Owned, now_ms: int) -> None:
        until = owned.next_message + self._chance.randint(1, POLL_MESSAGES_MAX)
        values = self._topic.partitions[partition][owned.next_message : until]
        if not values:
            return
        outcome = owned.detector.apply([decode_message(value) for value in values])
        fate = self._chance.random()
        if fate < CRASH_CHANCE / 2:
            self._die(partition, "before its commit", now_ms)
            return
        if fate > 1 - FREEZE_CHANCE:
            self._freeze(partition, now_ms)
            return
        owned.next_message += len(values)
        assert self.stores[partition].commit(owned.epoch, owned.next_message, outcome)
        self._count(outcome)
        self._checker.committed(partition, owned.detector, outcome, now_ms)
        if fate < CRASH_CHANCE:
            self._die(partition, "after its commit", now_ms)

    def _count(self, outcome: Outcome) -> None:
        self.counts.resent += outcome.counts.resent
        self.counts.late += outcome.counts.late
        self.counts.skewed += outcome.counts.skewed

    def _die(self, partition: int, when: str, now_ms: int) -> None:
        member = self._group.placed[partition]
        self._trace.say(f"{member} dies {when} of samples partition {partition}")
        self.counts.crashes += 1
        self._leave(member, now_ms, self._chance.randrange(*DOWN_MS))

    def _leave(self, member: str, now_ms: int, away_ms: int) -> None:
        """Drop all that the process had in memory, and let the group know it as away."""
        for owned in self.owned:
            if owned.owner == member:
                owned.owner = ""
        self._group.leave(member, now_ms, away_ms)

    def _freeze(self, partition: int, now_ms: int) -> None:
        """Stop a process in the middle of its steps; it wakes when others have had its partitions for long."""
        member, frozen_ms = self._group.placed[partition], self._chance.randrange(*FROZEN_MS)
        self._trace.say(f"{member} freezes in a step of samples partition {partition}")
        for number, owned in enumerate(self.owned):
            if owned.owner == member:
                zombie = _Owned(member, owned.epoch, owned.next_message, owned.detector)
                self._zombies.append((now_ms + frozen_ms, number, zombie))
        self._leave(member, now_ms, frozen_ms)

    def _wake(self, now_ms: int) -> None:
        """Let frozen owners go on with their step: the store must refuse it."""
        for until_ms, partition, owned in self._zombies:
            if until_ms <= now_ms:
                values = self._topic.partitions[partition][owned.next_message :][:POLL_MESSAGES_MAX]
                outcome = owned.detector.apply([decode_message(value) for value in values])
                is_committed = self.stores[partition].commit(owned.epoch, owned.next_message + len(values), outcome)
                assert not is_committed, (
                    f"a frozen owner of samples partition {partition} committed after its successor"
                )
                self.counts.fenced += 1
        self._zombies = [item for item in self._zombies if item[0] > now_ms]
