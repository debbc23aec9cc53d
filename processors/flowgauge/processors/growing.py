"""More source partitions for a log in use: what is written before they are made, so that detection can wait for them.

    1  rules    */3/ID     the newest rules again, with which the new partitions join
    2  events   [3]        its marker in every partition there is: from here on detectors wait for the new ones too
    3  rules    begin/3    the furthest clock that any of them had at its marker: there the new ones begin
    4  the partitions are made, by whoever called this

Each step is repeated or passed over by whoever begins again, and of several at once the first record of each counts.
What matchers have not matched yet is read between 1 and 2, where detection still goes on; a marker that is found there
is not written again. Between 2 and 4 detection stands still and nothing is lost. Read `source_set` for why this
changes no result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowgauge.processors.matcher_app import GROUP, noted_state
from flowgauge.processors.ruleset import RuleSet
from flowgauge.processors.ruletopic import (
    RuleBook,
    announce,
    announced_versions,
    begin_record,
    current_record,
    write_version,
)
from flowgauge.schemas.clock import PartitionClock
from flowgauge.schemas.errors import BadEnvironment, Transient
from flowgauge.schemas.topics import EVENTS, RULES, RecordKind
from flowgauge.transport.log import Committed, Log, Record
from flowgauge.transport.source_clock import see

READ_RECORDS_MAX = 5_000
PARTS = 10  # of what is to be read of a source, one line for each

Tell = Callable[[str], None]


@dataclass(slots=True)
class SourceAt:
    """How far a source was read on the way to a marker, and the clock there, the same that its matcher has."""

    source: int
    version: int  # of the marker, or of a later one
    next_offset: int
    clock: PartitionClock
    is_marked: bool = False  # the marker was met: the clock is that of it, and nothing more is to be read

    def take(self, records: Sequence[Record], log_id: str) -> None:
        """Go on over `records`, at most to the marker."""
        for record in records:
            see(self.clock, record, self.source, log_id)
            self.next_offset = record.offset + 1
            if record.kind == RecordKind.RULES and any(
                each >= self.version for each in announced_versions([record], self.source)
            ):
                self.is_marked = True
                return


def _silent(_: str) -> None: ...


async def announce_sources(log: Log, sources: int, tell: Tell = _silent) -> int:
    """Tell `log` that its events will have `sources` partitions; return the rule-set version they begin with.

    `log` knows the partitions that there are. Once this has returned the others can be made. Twice is as once. Reads
    what matchers have not matched yet, and tells how far that is. Raises BadEnvironment when partitions of an earlier
    growth are still to be made, Transient when another growth came in between.
    """
    book = RuleBook(log)
    await book.refresh()
    while book.sources < sources:
        _check_made(log, book)
        newest = book.rulesets.get(book.newest_version, RuleSet())
        await write_version(log, book, newest, range(book.sources, sources))
    if not book.has_begun(sources - 1):
        await _begin(log, book, tell)
    return book.begin_of(sources - 1)[1]


def _check_made(log: Log, book: RuleBook) -> None:
    """Refuse where partitions may be made, or just were, that markers of ours would not be in."""
    if (known := log.partitions(EVENTS)) < book.begun_sources:
        raise BadEnvironment(
            f"the log was told of {book.begun_sources} partitions of {EVENTS} and has {known}: give flowgauge topics "
            f"apply --partitions {book.begun_sources} first"
        )


async def _begin(log: Log, book: RuleBook, tell: Tell) -> None:
    """Put the marker of the newest joining set where it is missing, and write the clock at which sources begin."""
    _check_made(log, book)
    version = book.joining_version
    matched = await log.committed(EVENTS, GROUP)
    sources = [_source_at(matched[source], source, version) for source in range(log.partitions(EVENTS))]
    ends = await log.ends(EVENTS)
    for each in sources:
        await _read_on(log, each, ends[each.source], tell)
    unmarked = [each for each in sources if not each.is_marked]
    offsets = await announce(log, version, [each.source for each in unmarked])
    for each, offset in zip(unmarked, offsets, strict=True):
        await _read_on(log, each, offset + 1, tell)
        if not each.is_marked:
            raise Transient(f"{EVENTS} partition {each.source} does not show the marker at offset {offset}: try again")
    clock_ms = max(each.clock.clock_ms for each in sources)
    await log.append(RULES, [begin_record(version, clock_ms), current_record(version)])
    await book.refresh()
    if book.joining_version != version:
        raise Transient("the log was told of still more partitions meanwhile: try again")


def _source_at(matched: Committed, source: int, version: int) -> SourceAt:
    """Return where the matcher is; one that has passed the marker is at most a little past its clock."""
    state = noted_state(matched, source)
    return SourceAt(source, version, matched.next_offset, PartitionClock(state.clock), state.rules_version >= version)


async def _read_on(log: Log, at: SourceAt, end: int, tell: Tell) -> None:
    begin, told = at.next_offset, 0
    while not at.is_marked and at.next_offset < end:
        records = await log.read(EVENTS, at.source, at.next_offset, READ_RECORDS_MAX)
        if not records:
            return
        at.take(records, log.log_id)
        part = PARTS * (at.next_offset - begin) // (end - begin)
        if told < part < PARTS:
            tell(f"{EVENTS} partition {at.source}: read to offset {at.next_offset} of {end}")
            told = part
