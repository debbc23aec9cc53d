"""More source partitions for a log in use: what is written before they are made, so that detection can wait for them.

    1  rules    */3/ID     the newest rules again, with which the new partitions join
    2  events   [3]        its marker in every partition there is: from here on detectors wait for the new ones too
    3  rules    begin/3    the furthest clock that any of them had at its marker: there the new ones begin
    4  the partitions are made, by whoever called this

Each step is repeated or passed over by whoever begins again, and of several at once the first record of each counts.
Between 2 and 4 detection stands still and nothing is lost. Read `source_set` for why this changes no result.
"""

from collections.abc import Sequence

from flowgauge.processors.matcher_app import GROUP, noted_state
from flowgauge.processors.ruleset import RuleSet
from flowgauge.processors.ruletopic import RuleBook, announce, begin_record, current_record, write_version
from flowgauge.processors.source_set import joinings
from flowgauge.schemas.clock import ClockState, PartitionClock
from flowgauge.schemas.control_records import decode_pulse
from flowgauge.schemas.topics import EVENTS, RULES, RecordKind
from flowgauge.transport.log import Committed, Log, Record

READ_RECORDS_MAX = 5_000


async def announce_sources(log: Log, sources: int) -> int:
    """Tell `log` that its events will have `sources` partitions; return the rule-set version they join with.

    `log` knows the partitions that there are. Once this has returned the others can be made. Twice is as once. Reads
    what matchers have not matched yet.
    """
    book = RuleBook(log)
    await book.refresh()
    while book.sources < sources:
        newest = book.rulesets.get(book.newest_version, RuleSet())
        await write_version(log, book, newest, range(book.sources, sources))
    version = max((each for each, _ in joinings(book.rulesets)), default=0)
    if version and not book.has_begun(version):
        offsets = await announce(log, version)
        clock_ms = await _clock_at(log, offsets)
        await log.append(RULES, [begin_record(version, clock_ms), current_record(version)])
    return version


async def _clock_at(log: Log, offsets: Sequence[int]) -> int:
    """Return the furthest clock of any source at its offset in `offsets`, or a little past it."""
    matched = await log.committed(EVENTS, GROUP)
    return max([await _clock_of(log, source, matched[source], offset) for source, offset in enumerate(offsets)])


async def _clock_of(log: Log, source: int, matched: Committed, end: int) -> int:
    clock = noted_state(matched, source).clock
    offset = matched.next_offset
    while offset <= end and (records := await log.read(EVENTS, source, offset, READ_RECORDS_MAX)):
        clock = clock_after(clock, records)
        offset = records[-1].offset + 1
    return clock.clock_ms


def clock_after(clock: ClockState, records: Sequence[Record]) -> ClockState:
    """Return a source's clock after `records`, the same that its matcher has there."""
    running = PartitionClock(clock)
    for record in records:
        if record.kind == RecordKind.PULSE and record.value is not None:
            running.see_pulse(record.append_ms, decode_pulse(record.value).sent_ms)
        else:
            running.see_record(record.append_ms)
    return running.state()
