"""Pulses, a broker clock that jumps, several partitions on both sides, stops of both stages: the log alone decides."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import LOG_ID, START_MS, happenings, in_order, rules

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.schemas.clock import PULSE_SLACK_MS
from flowgauge.schemas.control_records import Pulse, decode_pulse, encode_record
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.sample import SampleMessage
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record

RULESETS = {1: rules()}
END_MS = START_MS + 600_000
PULSE_EVERY_MS = 5_000
FIRST_PULSE_MS = START_MS - 1  # before any event: without a pulse there is no cap
JUMPS_MS = (0, 0, 0, -60_000, -4_000, 4_000, 60_000)
BEGIN = MatcherState(rules_version=1)


@st.composite
def jumping_logs(draw: st.DrawFn) -> list[list[Record]]:
    """Draw partitions with pulses by a true clock and stamps by one that jumps now and then."""
    happened = draw(happenings(size_max=30))
    count = draw(st.integers(1, 3))
    jumps = draw(st.lists(st.sampled_from(JUMPS_MS), min_size=10, max_size=10))
    partitions: list[list[Record]] = []
    for source in range(count):
        moments = [
            (item.append_ms, RecordKind.EVENT, item.value)
            for item in happened
            if events_partition(item.event.run or "", count) == source
        ]
        moments += [
            (sent_ms, RecordKind.PULSE, encode_record(Pulse(sent_ms=sent_ms, log_id=LOG_ID)))
            for sent_ms in range(FIRST_PULSE_MS, END_MS + 1, PULSE_EVERY_MS)
        ]
        moments.sort(key=lambda moment: moment[:2])
        partitions.append(
            [
                Record(offset, true_ms + jumps[max(0, true_ms - START_MS) * len(jumps) // 600_001], kind, "", value)
                for offset, (true_ms, kind, value) in enumerate(moments)
            ]
        )
    return partitions


class Stages:
    """A matcher a source, a detector a samples partition; each can stop and go on from what it has committed."""

    def __init__(self, partitions: Sequence[Sequence[Record]], samples_partitions: int) -> None:
        self._rest = [list(records) for records in partitions]
        self._samples_partitions = samples_partitions
        self._matchers = [self._matcher(source, BEGIN) for source in range(len(partitions))]
        self._stored: list[dict[str, bytes]] = [{} for _ in range(samples_partitions)]
        self._detectors = [self._detector(number) for number in range(samples_partitions)]
        self.waiting: list[list[list[SampleMessage]]] = [
            [[] for _ in partitions] for _ in range(samples_partitions)
        ]  # samples partition → source → messages not applied yet
        self.transitions: list[Transition] = []

    def _matcher(self, source: int, state: MatcherState) -> Matcher:
        return Matcher(
            log_id=LOG_ID,
            source=source,
            samples_partitions=self._samples_partitions,
            rulesets=RULESETS,
            state=state,
        )

    def _detector(self, number: int) -> Detector:
        return Detector(log_id=LOG_ID, sources=len(self._rest), rulesets=RULESETS, state=self._stored[number])

    def match(self, source: int, size: int, *, restarts: bool = False) -> None:
        """Match the next records of a source."""
        batch, self._rest[source] = self._rest[source][:size], self._rest[source][size:]
        for number, messages in enumerate(self._matchers[source].match(batch).messages):
            self.waiting[number][source] += messages
        if restarts:
            self._matchers[source] = self._matcher(source, self._matchers[source].state)

    def detect(self, number: int, source: int, size: int) -> None:
        """Apply waiting messages of a source and commit."""
        waiting = self.waiting[number][source]
        self._commit(number, self._detectors[number].apply(waiting[:size]))
        del waiting[:size]

    def detect_and_stop(self, number: int, source: int, size: int) -> None:
        """Apply messages and stop before the commit: they come again."""
        self._detectors[number].apply(self.waiting[number][source][:size])
        self._detectors[number] = self._detector(number)

    def stop(self, number: int) -> None:
        """Stop a detector after a commit."""
        self._detectors[number] = self._detector(number)

    def _commit(self, number: int, outcome: Outcome) -> None:
        self.transitions += outcome.transitions
        for name, value in outcome.state.items():
            if value is None:
                self._stored[number].pop(name, None)
            else:
                self._stored[number][name] = value

    @property
    def unmatched(self) -> list[int]:
        """Sources with records to match."""
        return [source for source, records in enumerate(self._rest) if records]

    @property
    def unapplied(self) -> list[tuple[int, int]]:
        """(samples partition, source) with messages to apply."""
        return [
            (number, source)
            for number, sources in enumerate(self.waiting)
            for source, messages in enumerate(sources)
            if messages
        ]


def read_whole(partitions: Sequence[Sequence[Record]]) -> list[Transition]:
    """Return the transitions of partitions read one after the other by one detector."""
    stages = Stages(partitions, 1)
    for source, records in enumerate(partitions):
        stages.match(source, len(records))
        stages.detect(0, source, 1_000)
    return in_order(stages.transitions)


@given(partitions=jumping_logs(), samples_partitions=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_no_jump_stop_or_split_changes_a_transition(
    partitions: list[list[Record]], samples_partitions: int, seed: int
) -> None:
    chance = random.Random(seed)
    stages = Stages(partitions, samples_partitions)
    while stages.unmatched or stages.unapplied:
        if stages.unmatched and (not stages.unapplied or chance.random() < 0.5):
            stages.match(chance.choice(stages.unmatched), chance.randint(1, 20), restarts=chance.random() < 0.3)
            continue
        number, source = chance.choice(stages.unapplied)
        if chance.random() < 0.2:
            stages.detect_and_stop(number, source, chance.randint(1, 5))
        stages.detect(number, source, chance.randint(1, 5))
        if chance.random() < 0.2:
            stages.stop(number)

    assert in_order(stages.transitions) == read_whole(partitions)


@given(partitions=jumping_logs())
def test_the_clock_never_passes_the_newest_pulse_by_more_than_its_allowance(partitions: list[list[Record]]) -> None:
    for source, records in enumerate(partitions):
        matcher = Matcher(log_id=LOG_ID, source=source, samples_partitions=1, rulesets=RULESETS, state=BEGIN)
        newest_sent_ms = 0
        for record in records:
            if record.kind == RecordKind.PULSE and record.value is not None:
                newest_sent_ms = decode_pulse(record.value).sent_ms
            (message,) = matcher.match([record]).messages[0]
            assert message.clock_ms <= newest_sent_ms + PULSE_SLACK_MS
