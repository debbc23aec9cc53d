"""Rule sets in the log: versions in the rules topic, and the markers that put them in force.

    rules topic    */1/ID {…}   */2/ID {…}   current/1   current/2   */3/ID {joining …}   begin/3/ID   current/3
    events         … e e [marker 2] e e …        in every partition

A version is written first, its markers next, and last that they are all there. A crash in between leaves a version
whose markers may be missing somewhere; the next publish makes a newer one, and a source that skipped a marker reaches
it there.

Of several publishers at once, in whatever processes, the first record of a version counts: the others see it when they
read on, and take the next version. Every record has a key of its own, because compaction keeps the last of one key:
the first must count, and a slow publisher must not lead back to an older version.

A version with which source partitions join says so, and a record of its own when their clock begins: `growing` writes
both, `source_set` says what they mean. Who publishes with fewer partitions than there are by then is refused.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec

from flowgauge.processors.ruleset import RuleSet, rules_from_sources
from flowgauge.processors.source_set import begun_with, joinings, sources_at
from flowgauge.schemas.control_records import RulesMarker, encode_record, read_rules_marker
from flowgauge.schemas.errors import BadEnvironment, BadInput, InvariantBroken, Transient, Unreadable
from flowgauge.schemas.topics import EVENTS, RULES, RecordKind
from flowgauge.transport.log import Log, Outgoing, Record

CURRENT = "current/"
BEGIN = "begin/"
READ_RECORDS_MAX = 1_000
WAIT_MS = 50  # between looks for a version that is on its way
WAIT_MAX_MS = 30_000


class StoredRules(msgspec.Struct):
    """One version of the rule set as kept: each rule as it was written."""

    version: int
    content_id: str
    rules: list[dict[str, Any]]
    joining: tuple[int, int] = (0, 0)  # [first, end) of the source partitions that join with it


class CurrentRules(msgspec.Struct):
    """A version whose markers are all in the log."""

    version: int


class SourcesBegin(msgspec.Struct):
    """The clock at which those source partitions begin that join with sets up to `version` and have not begun."""

    version: int
    clock_ms: int


_encode = msgspec.json.Encoder().encode
_decode_rules = msgspec.json.Decoder(StoredRules).decode
_decode_current = msgspec.json.Decoder(CurrentRules).decode
_decode_begin = msgspec.json.Decoder(SourcesBegin).decode


class RuleBook:
    """Every rule set the log has had, by version. `rulesets` is shared with matchers and detectors and grows."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next_offset = 0
        self._content_ids: dict[int, str] = {}
        self._begins_ms: dict[int, int] = {}  # version → clock at which sources begin
        self.rulesets: dict[int, RuleSet] = {}
        self.current_version = 0

    @property
    def current(self) -> RuleSet:
        """The newest rule set in force."""
        return self.rulesets.get(self.current_version, RuleSet())

    async def refresh(self) -> None:
        """Read what is new in the rules topic."""
        while records := await self._log.read(RULES, 0, self._next_offset, READ_RECORDS_MAX):
            for record in records:
                self._read(record)
            self._next_offset = records[-1].offset + 1

    async def know(self, versions: Iterable[int]) -> None:
        """Return when every one of `versions` is known; raise InvariantBroken if one never comes."""
        waited_ms = 0
        while missing := [version for version in versions if version and version not in self.rulesets]:
            await self.refresh()
            if all(version in self.rulesets for version in missing):
                return
            if waited_ms >= WAIT_MAX_MS:
                raise InvariantBroken(f"rule set {missing[0]} is announced in the log but not in {RULES}")
            await asyncio.sleep(WAIT_MS / 1000)
            waited_ms += WAIT_MS

    def says(self, version: int, ruleset: RuleSet) -> bool:
        """Tell whether `version` is known and says what `ruleset` says."""
        return self._content_ids.get(version) == ruleset.content_id()

    @property
    def sources(self) -> int:
        """How many source partitions the log has, or will have when it has grown."""
        return sources_at(self.rulesets, self._log.partitions(EVENTS), self.newest_version)

    @property
    def joining_version(self) -> int:
        """The newest version with which sources join, 0 where none does."""
        return max((version for version, _ in joinings(self.rulesets)), default=0)

    @property
    def begun_sources(self) -> int:
        """How many source partitions may be made by now, or are."""
        return sources_at(self.rulesets, self._log.partitions(EVENTS), max(self._begins_ms, default=0))

    def has_begun(self, source: int) -> bool:
        """Tell whether it is written where `source` begins; of one that was there at first it need not be."""
        return begun_with(self.rulesets, self._begins_ms, source) is not None

    def begin_of(self, source: int) -> tuple[int, int]:
        """Return (clock, rules version) with which the records of `source` begin; (0, 0) if it was there at first.

        That is not the version it joins with where the growth broke off and a further one took it along. Raises
        BadEnvironment for a partition that was made without telling the log.
        """
        version = begun_with(self.rulesets, self._begins_ms, source)
        if source >= self.sources or version is None:
            raise BadEnvironment(
                f"{EVENTS} partition {source} is not in the log's source set: it was not made by flowgauge topics "
                "apply (docs/kafka.md says what to do)"
            )
        return self._begins_ms.get(version, 0), version

    @property
    def newest_version(self) -> int:
        """The newest version written, in force or not."""
        return max(self.rulesets, default=0)

    def _read(self, record: Record) -> None:
        if record.value is None:
            return
        try:
            self._take(record.key, record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadInput) as error:
            raise Unreadable(f"{RULES} partition 0 offset {record.offset} (key {record.key!r})", error) from error

    def _take(self, key: str, value: bytes) -> None:
        if key.startswith("current"):  # without a version, as earlier programs wrote it
            self.current_version = max(self.current_version, _decode_current(value).version)
        elif key.startswith(BEGIN):
            begin = _decode_begin(value)
            if begin.version >= self.joining_version:  # else a further growth has taken its sources along
                self._begins_ms.setdefault(begin.version, begin.clock_ms)
        else:
            stored = _decode_rules(value)
            if stored.version not in self.rulesets:
                ruleset = rules_from_sources(stored.rules, stored.version)
                self.rulesets[stored.version] = replace(ruleset, joining=range(*stored.joining))
                self._content_ids[stored.version] = stored.content_id


async def publish_rules(log: Log, ruleset: RuleSet, *, first_append_ms: Mapping[int, int] | None = None) -> int:
    """Put `ruleset` in force and return its version; the current one again if it says the same.

    `first_append_ms` gives the markers' append time by partition, while history is loaded. Raises Transient when this
    process does not know all partitions that the events have by now.
    """
    book = RuleBook(log)
    await book.refresh()
    if book.says(book.current_version, ruleset):
        return book.current_version
    _check_sources(log, book)
    version = 0
    while not book.says(version, ruleset):
        version = await write_version(log, book, ruleset)
        _check_sources(log, book)  # after ours stands there: a set with which sources join has seen it, or we see that
    await announce(log, version, range(log.partitions(EVENTS)), first_append_ms=first_append_ms)
    await log.append(RULES, [current_record(version)])
    return version


def _check_sources(log: Log, book: RuleBook) -> None:
    if (known := log.partitions(EVENTS)) < book.sources:
        raise Transient(
            f"the events have {book.sources} partitions by now, this process knows of {known}: start it again with "
            f"partitions = {book.sources}"
        )


async def write_version(log: Log, book: RuleBook, ruleset: RuleSet, joining: range = range(0)) -> int:
    """Write `ruleset` as the next version, and return that: it is ours only if `book` then says the same."""
    version = book.newest_version + 1
    sources = [dict(rule.source) for rule in ruleset.rules]
    stored = StoredRules(version, ruleset.content_id(), sources, (joining.start, joining.stop))
    await log.append(RULES, [Outgoing(0, f"*/{version}/{uuid4().hex}", _encode(stored))])
    await book.refresh()
    return version


async def announce(
    log: Log, version: int, partitions: Iterable[int], *, first_append_ms: Mapping[int, int] | None = None
) -> Sequence[int]:
    """Put the marker of `version` into these source partitions, and return its offset in each."""
    marker = encode_record(RulesMarker(version=version))
    times = first_append_ms or {}
    return await log.append(
        EVENTS, [Outgoing(each, "", marker, RecordKind.RULES, times.get(each)) for each in partitions]
    )


def current_record(version: int) -> Outgoing:
    """Return the record that says that every marker of `version` is in the log."""
    return Outgoing(0, f"{CURRENT}{version}", _encode(CurrentRules(version)))


def begin_record(version: int, clock_ms: int) -> Outgoing:
    """Return the record that says where sources begin; of one version the first counts."""
    return Outgoing(0, f"{BEGIN}{version}/{uuid4().hex}", _encode(SourcesBegin(version, clock_ms)))


def announced_versions(records: Iterable[Record], partition: int) -> set[int]:
    """Return the rule-set versions that markers among `records` of an events partition announce."""
    return {
        read_rules_marker(record.value, f"{EVENTS} partition {partition} offset {record.offset}").version
        for record in records
        if record.kind == RecordKind.RULES and record.value is not None
    }
