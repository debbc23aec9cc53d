"""Simulated matchers: real `Matcher`s that read at their own pace, stop anywhere, and send again what they had sent.

events partition ──► Matcher ──► a message per samples partition ──► commit of offset and matcher state
                      slow, stalled             some acked: then a crash; the others may still arrive
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.group import DOWN_MS, Group
from tests.simulation.simulated_log import LOG_ID, RULESETS, START_MS, SimulatedLog
from tests.simulation.trace import Trace

from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.schemas.sample import SampleMessage, encode_message

POLL_MS = (1_000, 7_000)  # an odd broker, a full process: a partition is read at its own pace
POLL_RECORDS_MAX = 300
SLOW_SHARE = 8  # one partition in so many lags: those of a slow broker
SLOW_MS = (5_000, 120_000)
PHASE_MS = 60_000
PHASES = (0.0, 0.0, 0.3, 1.0)  # what of its lag a slow partition has, one phase like the other for all of them
STALL_MS = (90_000, 200_000)
CRASH_CHANCE = 0.006  # of each append


@dataclass(slots=True)
class Pace:
    """How far behind the log a partition is read, and when not at all."""

    lags_ms: Sequence[int]  # in each phase
    stalls: range

    def sees_until(self, now_ms: int) -> int:
        """Return up to which arrival a matcher can have read."""
        if now_ms in self.stalls:
            return self.stalls.start
        return now_ms - self.lags_ms[min((now_ms - START_MS) // PHASE_MS, len(self.lags_ms) - 1)]


@dataclass(slots=True)
class _Reading:
    """A partition as its owner has it: where it reads, and when next."""

    matcher: Matcher
    next_offset: int
    poll_ms: int
    owner: str


@dataclass(slots=True)
class SamplesTopic:
    """What matchers appended, as bytes, per samples partition. `late` arrives when its sender is gone already."""

    partitions: list[list[bytes]]
    late: list[tuple[int, int, bytes]] = field(default_factory=list[tuple[int, int, bytes]])
    samples: list[int] = field(default_factory=list[int])

    def append(self, partition: int, message: SampleMessage) -> None:
        """Append one message."""
        self.partitions[partition].append(encode_message(message))
        self.samples[partition] += len(message.samples)

    def arrive(self, now_ms: int) -> None:
        """Append what was on its way for so long."""
        for moment_ms, partition, value in self.late:
            if moment_ms <= now_ms:
                self.partitions[partition].append(value)
        self.late = [item for item in self.late if item[0] > now_ms]


class Matchers:
    """All matcher processes: each owns some events partitions, by its group."""

    def __init__(
        self, log: SimulatedLog, group: Group, topic: SamplesTopic, *, chance: random.Random, trace: Trace
    ) -> None:
        self._log = log
        self._group = group
        self._topic = topic
        self._chance = chance
        self._trace = trace
        self._committed = [(0, MatcherState(rules_version=1)) for _ in log.sources]
        phases = [chance.choice(PHASES) for _ in range((log.end_ms - START_MS) // PHASE_MS)] + [0.0]
        self._paces = [self._pace(number, phases) for number in range(len(log.sources))]
        self._readings = [self._begun(source, START_MS) for source in range(len(log.sources))]
        self.crashes = 0

    @property
    def is_done(self) -> bool:
        """Everything was matched and committed."""
        return (
            all(
                done == len(source.records)
                for (done, _), source in zip(self._committed, self._log.sources, strict=True)
            )
            and not self._topic.late
        )

    def step(self, now_ms: int) -> None:
        """Let every partition be read that is due."""
        self._topic.arrive(now_ms)
        for source, reading in enumerate(self._readings):
            if not self._group.is_there(self._group.placed[source]):
                continue
            if reading.owner != self._group.placed[source]:
                self._readings[source] = reading = self._begun(source, now_ms)
            if reading.poll_ms <= now_ms:
                self._poll(source, reading, now_ms)

    def _pace(self, number: int, phases: Sequence[float]) -> Pace:
        chance = self._chance
        lag_ms = chance.randrange(*SLOW_MS) if number % SLOW_SHARE == 1 else 0
        lags_ms = [int(lag_ms * phase) for phase in phases]
        if number:
            return Pace(lags_ms, range(0))
        begin_ms = START_MS + (self._log.end_ms - START_MS) // 4
        return Pace(lags_ms, range(begin_ms, begin_ms + chance.randrange(*STALL_MS)))

    def _begun(self, source: int, now_ms: int) -> _Reading:
        """Return a new owner's reading, from what was committed."""
        offset, state = self._committed[source]
        matcher = Matcher(
            log_id=LOG_ID,
            source=source,
            samples_partitions=len(self._topic.partitions),
            rulesets=RULESETS,
            state=state,
        )
        return _Reading(matcher, offset, now_ms + self._chance.randrange(*POLL_MS), self._group.placed[source])

    def _poll(self, source: int, reading: _Reading, now_ms: int) -> None:
        reading.poll_ms = now_ms + self._chance.randrange(*POLL_MS)
        read = self._log.sources[source]
        until = bisect_right(read.arrivals, self._paces[source].sees_until(now_ms))
        until = min(until, reading.next_offset + self._chance.randint(1, POLL_RECORDS_MAX))
        if until <= reading.next_offset:
            return
        matched = reading.matcher.match(read.records[reading.next_offset : until])
        messages = [(partition, message) for partition, sent in enumerate(matched.messages) for message in sent]
        if self._chance.random() < CRASH_CHANCE:
            self._crash(source, messages, now_ms)
            return
        for partition, message in messages:
            self._topic.append(partition, message)
        reading.next_offset = until
        self._committed[source] = (until, reading.matcher.state)

    def _crash(self, source: int, messages: Sequence[tuple[int, SampleMessage]], now_ms: int) -> None:
        """Stop a process in the middle of its append: some messages are in, some come later, some never."""
        member = self._group.placed[source]
        self._trace.say(f"{member} dies while it sends source {source} up to {messages[0][1].end}")
        self.crashes += 1
        for partition, message in messages:
            fate = self._chance.randrange(4)
            if fate > 1:
                self._topic.append(partition, message)
            elif fate == 1:
                self._topic.late.append((now_ms + self._chance.randrange(30_000), partition, encode_message(message)))
        for reading in self._readings:
            if reading.owner == member:
                reading.owner = ""  # what it had in memory is gone, also if it gets the same partitions again
        self._group.leave(member, now_ms, self._chance.randrange(*DOWN_MS))
