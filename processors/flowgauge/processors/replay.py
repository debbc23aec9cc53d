"""The replay: events from a file through matcher and detector in virtual time. Offline, pure, same ids as live.

line      {"_append": …, "_partition": 1, "occurred": …, "event": …, …}
append    `_append`, else the largest `occurred` so far, cut to ms
records   the lines that a rule could match; the others only move the clock of their partition
clock     of every partition in the file; one whose lines are over no longer holds it;
          at the end it is the last append, or `until_ms`
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import cast

import msgspec
from msgspec import UNSET, UnsetType

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.processors.evaluation import Evaluation
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.processors.rule_index import RuleIndex
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.canonical import cut_times, with_tenant
from flowgauge.schemas.errors import BadInput, InvalidEvent
from flowgauge.schemas.event import DEFAULT_TENANT, Glance
from flowgauge.schemas.recorded import APPEND_MS_MAX, append_ms_of, tenant_of
from flowgauge.schemas.times import millis, rfc3339
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record

LINES_PER_STEP = 256  # few enough that transitions come in about the order of their time
PARTITIONS_MAX = 1_024
DEFAULT_TENANT_MEMBER = b'{"tenant":"%s",' % DEFAULT_TENANT.encode()
LOG_ID = "replay"
_TIMES_CUT = ("_append", "occurred")
EVENT = RecordKind.EVENT


class _Partition(msgspec.Struct, gc=False):
    """What the first pass reads of a line."""

    partition: int = msgspec.field(name="_partition", default=0)


class _Times(msgspec.Struct, gc=False):
    """What the replay must read of a line."""

    tenant: str | UnsetType | None = UNSET
    occurred: datetime | None = None
    append: datetime | int | None = msgspec.field(name="_append", default=None)
    partition: int = msgspec.field(name="_partition", default=0)


class _Line(_Times, gc=False):
    """The same, and what tells whether a rule could match."""

    event: str = ""
    kind: str = "other"
    state: str | None = None


_decode_partition = msgspec.json.Decoder(_Partition).decode
_decode_times = msgspec.json.Decoder(_Times).decode
_decode_line = msgspec.json.Decoder(_Line).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class ReplayCounts:
    """What a replay saw. `skipped` lines are told to `report`; `invalid` events could match but are none."""

    lines: int = 0
    skipped: int = 0
    invalid: int = 0
    why_invalid: str = ""  # the first of them
    samples: int = 0
    late: int = 0
    skewed: int = 0
    missing_key: int = 0
    transitions: int = 0
    clock_ms: int = 0


@dataclass(slots=True)
class _Source:
    """One partition of the file."""

    matcher: Matcher
    last_line: int
    next_offset: int = 0
    newest_ms: int = 0
    told_ms: int = 0  # what the detector knows of that
    records: list[Record] = field(default_factory=list[Record])

    def take(self, value: bytes | None) -> None:
        """Append a record to this partition; one without a value only tells the clock."""
        self.records.append(Record(self.next_offset, self.newest_ms, EVENT, "", value))
        self.next_offset += 1
        self.told_ms = self.newest_ms


class Replay:
    """One replay of `read_lines()`, which is called twice: the first pass finds the partitions.

    The second one ends where the first did, so that a file may grow meanwhile.
    """

    def __init__(
        self,
        read_lines: Callable[[], Iterable[bytes]],
        ruleset: RuleSet,
        *,
        until_ms: int | None = None,
        report: Callable[[int, str], None] = lambda _line, _problem: None,
        observe: Callable[[Evaluation], None] | None = None,
    ) -> None:
        self._read_lines = read_lines
        self._until_ms = until_ms
        self._report = report
        self._rulesets = {1: RuleSet(ruleset.rules, 1)}
        self._index = RuleIndex(self._rulesets[1])
        self._lines = 0
        self._sources = self._find_sources()
        sources = max(self._sources, default=0) + 1
        self._detector = Detector(
            log_id=LOG_ID, sources=sources, rulesets=self._rulesets, stores=False, observe=observe
        )
        self._append_ms = 0
        self.counts = ReplayCounts()

    def transitions(self) -> Iterator[Transition]:
        """Yield each transition as it happens in virtual time."""
        for source in range(max(self._sources, default=0) + 1):
            if source not in self._sources:  # a partition number that the file leaves out
                yield from self._tell(self._detector.finish(source))
        lines = enumerate(islice(self._read_lines(), self._lines), 1)
        number = 0
        while taken := list(islice(lines, LINES_PER_STEP)):
            self._take_lines(taken)
            number = taken[-1][0]
            if len(taken) == LINES_PER_STEP:
                yield from self._step(number)
        yield from self._step(number + 1)
        self.counts.clock_ms = self._append_ms if self._until_ms is None else self._until_ms
        yield from self._tell(self._detector.advance_to(self.counts.clock_ms))

    def _find_sources(self) -> dict[int, _Source]:
        last_lines: dict[int, int] = {}
        for number, line in enumerate(self._read_lines(), 1):
            self._lines = number
            partition = 0
            if b"_partition" in line or b"\\" in line:  # which may write the same name in escapes
                try:
                    partition = _decode_partition(line.strip()).partition
                except _UNREADABLE:
                    continue  # told when its turn comes
            elif not line.rstrip().endswith(b"}"):  # blank or cut off: it must not hold partition 0's clock
                continue
            if 0 <= partition < PARTITIONS_MAX:
                last_lines[partition] = number
        return {partition: _Source(self._matcher(partition), last) for partition, last in sorted(last_lines.items())}

    def _matcher(self, source: int) -> Matcher:
        state = MatcherState(rules_version=1)
        return Matcher(log_id=LOG_ID, source=source, samples_partitions=1, rulesets=self._rulesets, state=state)

    def _take_lines(self, lines: Sequence[tuple[int, bytes]]) -> None:
        """Take what moves a clock, and what a rule could match. The hot path: it stays flat."""
        until_ms, sources, memo = self._until_ms, self._sources, self._index.memo
        self.counts.lines += len(lines)
        for number, line in lines:
            read = _plain_line(line, self._append_ms)
            if read is None or read[0].partition not in sources:
                read = self._look_closely(number, line)
                if read is None:
                    continue
            seen, append_ms = read
            if until_ms is not None and append_ms > until_ms:
                continue
            if append_ms > self._append_ms:
                self._append_ms = append_ms
            source = sources[seen.partition]
            if append_ms > source.newest_ms:
                source.newest_ms = append_ms
            glance = Glance(seen.event, seen.tenant or DEFAULT_TENANT, seen.kind, seen.state)
            candidates = memo.get(glance)
            if candidates is None:
                candidates = self._index.candidates(glance)
            if candidates:
                self._take(source, seen, line.strip())

    def _look_closely(self, number: int, line: bytes) -> tuple[_Line, int] | None:
        """Return what a line says and its append time; None where it says neither, which is told."""
        value = line.strip()
        if not value:
            self.counts.lines -= 1
            return None
        try:
            seen = _read(value)
            append_ms = _time_of(seen, value, self._append_ms)
            self._check_source(seen.partition)
        except (*_UNREADABLE, BadInput, InvalidEvent) as error:
            self.counts.skipped += 1
            self._report(number, str(error))
            return None
        return seen, append_ms

    def _check_source(self, partition: int) -> None:
        if partition not in self._sources:
            raise BadInput(
                f"`_partition` {partition} was not there at the first look: the file changes while it is read"
            )

    def _take(self, source: _Source, seen: _Line, value: bytes) -> None:
        """Take a line that a rule could match, as the gateway would have put it into the log."""
        try:
            value = cut_times(value) if seen.tenant or seen.tenant is UNSET else with_tenant(value, tenant_of(None))
        except InvalidEvent as error:
            self.counts.invalid += 1
            self.counts.why_invalid = self.counts.why_invalid or str(error)
            return
        if seen.tenant is UNSET:
            value = DEFAULT_TENANT_MEMBER + value[1:]
        source.take(value)

    def _step(self, number: int) -> Iterator[Transition]:
        for partition, source in self._sources.items():
            if source.newest_ms > source.told_ms:
                source.take(None)
            if source.records:
                matched = source.matcher.match(source.records)
                source.records = []
                self.counts.invalid += matched.counts.invalid
                self.counts.why_invalid = self.counts.why_invalid or matched.counts.why_invalid
                self.counts.missing_key += matched.counts.missing_key
                yield from self._tell(self._detector.apply(matched.messages[0]))
            if source.last_line < number:
                yield from self._tell(self._detector.finish(partition))

    def _tell(self, outcome: Outcome) -> Iterator[Transition]:
        self.counts.samples += outcome.counts.samples
        self.counts.late += outcome.counts.late
        self.counts.skewed += outcome.counts.skewed
        self.counts.transitions += len(outcome.transitions)
        yield from outcome.transitions


def _read(value: bytes) -> _Line:
    try:
        return _decode_line(value)
    except msgspec.ValidationError:
        # No event perhaps, but its time may be good: then it moves the clock, as it does live.
        times = _decode_times(value)
        return _Line(times.tenant, times.occurred, times.append, times.partition)


def _plain_line(line: bytes, newest_ms: int) -> tuple[_Line, int] | None:
    """Return what most lines say plainly, and the append time after lines up to `newest_ms`; None: look closely."""
    try:
        seen = _decode_line(line)
    except _UNREADABLE:
        return None
    append, occurred = seen.append, seen.occurred
    if append is None:
        if occurred is None or not occurred.microsecond % 1000 or occurred.tzinfo is None:
            return None
        append_ms = millis(occurred)
        return (seen, max(newest_ms, append_ms)) if 0 <= append_ms <= APPEND_MS_MAX else None
    return (seen, append) if isinstance(append, int) and 0 <= append <= APPEND_MS_MAX else None


def _time_of(seen: _Times, value: bytes, newest_ms: int) -> int:
    """Return the append time of the line `value` after lines up to `newest_ms`."""
    if not 0 <= seen.partition < PARTITIONS_MAX:
        raise BadInput(f"`_partition` {seen.partition} is not within 0 and {PARTITIONS_MAX - 1}")
    if isinstance(seen.append, int):
        return append_ms_of(seen.append)
    moment = seen.occurred if seen.append is None else seen.append
    if moment is None or moment.tzinfo is None:
        raise BadInput("the line has neither `occurred` nor `_append` as a time with a zone")
    if not moment.microsecond % 1000:  # perhaps rounded up to this ms: the decoder rounds where the gateway cuts
        seen = _decode_times(cut_times(value, _TIMES_CUT))
        moment = cast("datetime", seen.occurred if seen.append is None else seen.append)
    return max(append_ms_of(moment, "occurred"), newest_ms) if seen.append is None else append_ms_of(moment)


def transition_row(transition: Transition) -> dict[str, object]:
    """Return what `flowgauge replay` prints of a transition, JSON-able, in reading order."""
    return {
        "at": rfc3339(transition.at_ms),
        "tenant": transition.tenant,
        "rule": transition.rule,
        "key": transition.key,
        "from": transition.from_state,
        "to": transition.to_state,
        "value": transition.value,
        "threshold": transition.threshold,
        "samples": transition.samples,
        "late_samples": transition.late_samples,
        "reason": transition.reason,
        "opened_at": rfc3339(transition.opened_at_ms),
        "incident_id": transition.incident_id,
        "transition_id": transition.transition_id,
        "examples": [example.run for example in transition.examples],
    }
