"""What a log should have led to, computed from its events topic alone.

The matcher and the detector go over it in one pass, in this process, with one samples partition: so the log itself is
the oracle of what should have been told, whatever processes had their share in it.
"""

from collections.abc import AsyncIterator

from flowgauge.processors.detector import Detector
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.processors.ruletopic import RuleBook
from flowgauge.schemas.clock import ClockState
from flowgauge.schemas.topics import EVENTS, TRANSITIONS
from flowgauge.schemas.transition import Transition, decode_transition
from flowgauge.transport.log import Log, Record

READ_MAX = 10_000


async def records_of(log: Log, topic: str) -> AsyncIterator[Record]:
    """Yield all records of a topic, partition after partition."""
    for partition in range(log.partitions(topic)):
        async for record in records_in(log, topic, partition):
            yield record


async def records_in(log: Log, topic: str, partition: int) -> AsyncIterator[Record]:
    """Yield all records of a partition."""
    offset = 0
    while found := await log.read(topic, partition, offset, READ_MAX):
        for record in found:
            yield record
        offset = found[-1].offset + 1


async def transitions_in(log: Log) -> list[Transition]:
    """Return the transitions that detection wrote."""
    return [
        decode_transition(record.value) async for record in records_of(log, TRANSITIONS) if record.value is not None
    ]


async def left_of(log: Log, topic: str, group: str) -> int:
    """Return how many records of a topic without transactions the group has not passed. Raises Transient."""
    passed = await log.committed(topic, group)
    return sum(end - passed[partition].next_offset for partition, end in (await log.ends(topic)).items())


async def expected_transitions(log: Log) -> list[Transition]:
    """Return those that it should have written."""
    book = RuleBook(log)
    await book.refresh()
    sources = log.partitions(EVENTS)
    detector = Detector(log_id=log.log_id, sources=sources, rulesets=book.rulesets)
    found: list[Transition] = []
    for source in range(sources):
        clock_ms, version = book.begin_of(source)
        matcher = Matcher(
            log_id=log.log_id,
            source=source,
            samples_partitions=1,
            rulesets=book.rulesets,
            state=MatcherState(ClockState(clock_ms), version),
        )
        records = [record async for record in records_in(log, EVENTS, source)]
        for messages in matcher.match(records).messages:
            found += detector.apply(messages).transitions
    return found
