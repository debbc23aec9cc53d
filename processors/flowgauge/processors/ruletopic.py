"""Rule sets in the log: versions in the rules topic, and the markers that put them in force.

    rules topic    */1/ID {…}   */2/ID {…}   current/1   current/2
    events         … e e [marker 2] e e …        in every partition

A version is written first, its markers next, and last that they are all there. A crash in between leaves a version
whose markers may be missing somewhere; the next publish makes a newer one, and a source that skipped a marker reaches
it there.

Of several publishers at once, in whatever processes, the first record of a version counts: the others see it when they
read on, and take the next version. Every record has a key of its own, because compaction keeps the last of one key:
the first must count, and a slow publisher must not lead back to an older version.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import msgspec

from flowgauge.processors.ruleset import RuleSet, rules_from_sources
from flowgauge.schemas.control_records import RulesMarker, encode_record, read_rules_marker
from flowgauge.schemas.errors import BadInput, InvariantBroken, Unreadable
from flowgauge.schemas.topics import EVENTS, RULES, RecordKind
from flowgauge.transport.log import Log, Outgoing, Record

CURRENT = "current/"
READ_RECORDS_MAX = 1_000
WAIT_MS = 50  # between looks for a version that is on its way
WAIT_MAX_MS = 30_000


class StoredRules(msgspec.Struct):
    """One version of the rule set as kept: each rule as it was written."""

    version: int
    content_id: str
    rules: list[dict[str, Any]]


class CurrentRules(msgspec.Struct):
    """A version whose markers are all in the log."""

    version: int


_encode = msgspec.json.Encoder().encode
_decode_rules = msgspec.json.Decoder(StoredRules).decode
_decode_current = msgspec.json.Decoder(CurrentRules).decode


class RuleBook:
    """Every rule set the log has had, by version. `rulesets` is shared with matchers and detectors and grows."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next_offset = 0
        self._content_ids: dict[int, str] = {}
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
    def newest_version(self) -> int:
        """The newest version written, in force or not."""
        return max(self.rulesets, default=0)

    def _read(self, record: Record) -> None:
        if record.value is None:
            return
        try:
            self._take(record.key, record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, BadInput) as error:
            raise Unreadable(f"{RULES} partition 0 offset {record.offset} (key {record.key!r})", error) from error

    def _take(self, key: str, value: bytes) -> None:
        if key.startswith("current"):  # without a version, as earlier programs wrote it
            self.current_version = max(self.current_version, _decode_current(value).version)
        else:
            stored = _decode_rules(value)
            if stored.version not in self.rulesets:
                self.rulesets[stored.version] = rules_from_sources(stored.rules, stored.version)
                self._content_ids[stored.version] = stored.content_id


async def publish_rules(log: Log, ruleset: RuleSet, *, first_append_ms: Mapping[int, int] | None = None) -> int:
    """Put `ruleset` in force and return its version; the current one again if it says the same.

    `first_append_ms` gives the markers' append time by partition, while history is loaded.
    """
    book = RuleBook(log)
    await book.refresh()
    if book.says(book.current_version, ruleset):
        return book.current_version
    version = await _write_version(log, book, ruleset)
    marker = encode_record(RulesMarker(version=version))
    times = first_append_ms or {}
    markers = [
        Outgoing(partition, "", marker, RecordKind.RULES, times.get(partition))
        for partition in range(log.partitions(EVENTS))
    ]
    await log.append(EVENTS, markers)
    await log.append(RULES, [Outgoing(0, f"{CURRENT}{version}", _encode(CurrentRules(version)))])
    return version


async def _write_version(log: Log, book: RuleBook, ruleset: RuleSet) -> int:
    """Write `ruleset` under a version that is its own, and return that."""
    sources = [dict(rule.source) for rule in ruleset.rules]
    while True:
        version = book.newest_version + 1
        stored = StoredRules(version, ruleset.content_id(), sources)
        await log.append(RULES, [Outgoing(0, f"*/{version}/{uuid4().hex}", _encode(stored))])
        await book.refresh()
        if book.says(version, ruleset):
            return version


def announced_versions(records: Iterable[Record], partition: int) -> set[int]:
    """Return the rule-set versions that markers among `records` of an events partition announce."""
    return {
        read_rules_marker(record.value, f"{EVENTS} partition {partition} offset {record.offset}").version
        for record in records
        if record.kind == RecordKind.RULES and record.value is not None
    }
