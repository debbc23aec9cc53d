"""The matcher: records of one source in, sample messages out. Stateless but for the source's clock.

    record ─► glance (event, tenant, kind, state) ─► candidates (rule_index) ─► check + selectors ─► samples
              1 µs, all records                       mostly none         only what could match

This is the hot path: it stays flat. An event is decoded whole, and checked, only where a rule could match it.
Read `sample` for the messages, `schemas.clock` for the time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from flowgauge.processors.rule_index import Candidates, RuleIndex
from flowgauge.processors.ruleset import CompiledRule, RuleSet
from flowgauge.schemas.check import check
from flowgauge.schemas.clock import ClockState, PartitionClock
from flowgauge.schemas.control_records import read_rules_marker
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import Event, decode_glance
from flowgauge.schemas.ids import samples_partition
from flowgauge.schemas.left_out import Cause, Count, note
from flowgauge.schemas.sample import Sample, SampleMessage
from flowgauge.schemas.times import micros, millis
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.log import Record
from flowgauge.transport.source_clock import see

_RULES = RecordKind.RULES  # at hand: looking up a member costs more than comparing it

_text = msgspec.to_builtins  # of a UUID: what `str` returns, in a fifth of the time
_Moment = tuple[int, int, int, str, int | None]  # what all samples of an event share: offset, append, occurred, id, due


class MatcherState(msgspec.Struct, frozen=True, array_like=True):
    """What stands in the metadata of the matcher's committed offset: enough to go on as if never stopped."""

    clock: ClockState = ClockState()
    rules_version: int = 0


@dataclass(slots=True)
class MatchCounts:
    """What one call counted."""

    events: int = 0
    samples: int = 0
    missing_key: int = 0
    invalid: int = 0  # events that a rule could match but that are none; the sink puts them into the dlq
    why_invalid: str = ""  # the first of them
    left_out: dict[Cause, Count] = field(default_factory=dict[Cause, Count])


@dataclass(slots=True)
class Matched:
    """The messages of one call: a list per samples partition, in order of their ranges."""

    messages: Sequence[Sequence[SampleMessage]]
    counts: MatchCounts = field(default_factory=MatchCounts)


class Matcher:
    """Matches one source partition. `rulesets` must know a version before its marker is matched."""

    def __init__(
        self,
        *,
        log_id: str,
        source: int,
        samples_partitions: int,
        rulesets: Mapping[int, RuleSet],
        state: MatcherState | None = None,
    ) -> None:
        state = state or MatcherState()
        self._log_id = log_id
        self._source = source
        self._partitions = samples_partitions
        self._rulesets = rulesets
        self._clock = PartitionClock(state.clock)
        self._use(state.rules_version)

    @property
    def state(self) -> MatcherState:
        """What to commit beside the offset after the last record matched."""
        return MatcherState(self._clock.state(), self._version)

    def match(self, records: Sequence[Record]) -> Matched:
        """Return the samples of consecutive `records`; a message begins anew at each rule-set marker."""
        counts = MatchCounts()
        messages: list[list[SampleMessage]] = [[] for _ in range(self._partitions)]
        start = 0
        for place, record in enumerate(records):
            version = self._announced_by(record) if record[2] == _RULES else None
            if version is not None:
                self._match_range(records[start:place], messages, counts, 0)
                self._use(version)
                switched_ms = self._clock.see_record(record.append_ms)
                self._match_range(records[place : place + 1], messages, counts, switched_ms)
                start = place + 1
        self._match_range(records[start:], messages, counts, 0)
        return Matched(messages, counts)

    def _announced_by(self, record: Record) -> int | None:
        """Return the newer rule set that a marker announces; two publishers may have put an older one behind it."""
        if record.value is None:
            return None
        where = f"{EVENTS} partition {self._source} offset {record.offset}"
        version = read_rules_marker(record.value, where).version
        return version if version > self._version else None

    def _use(self, version: int) -> None:
        self._version = version
        self._index = RuleIndex(self._rulesets[version] if version else RuleSet())

    def _match_range(
        self, records: Sequence[Record], messages: list[list[SampleMessage]], counts: MatchCounts, switched_ms: int
    ) -> None:
        if not records:
            return
        found = self._samples(records, counts)
        start, end = records[0].offset, records[-1].offset + 1
        for partition, samples in enumerate(found):
            message = SampleMessage(
                self._log_id,
                self._source,
                start,
                end,
                self._clock.clock_ms,
                self._version,
                switched_ms,
                samples,
            )
            messages[partition].append(message)

    def _samples(self, records: Sequence[Record], counts: MatchCounts) -> list[list[Sample]]:
        found: list[list[Sample]] = [[] for _ in range(self._partitions)]
        memo = self._index.memo
        decode = decode_glance
        # The clock is a running maximum, so it is enough to show it the newest append time where it is needed.
        events = newest_ms = 0
        for record in records:
            offset, append_ms, kind, _, value = record
            if kind or value is None:  # RecordKind.EVENT is 0
                self._clock.see_record(newest_ms)
                newest_ms = 0  # capped by the pulses so far; shown again after the next one it would count for more
                see(self._clock, record, self._source, self._log_id)
                continue
            if append_ms > newest_ms:
                newest_ms = append_ms
            events += 1
            try:
                glance = decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue  # no event: the sink tells of it
            candidates = memo.get(glance)
            if candidates is None:
                candidates = self._index.candidates(glance)
            if candidates:
                append_ms = self._clock.see_record(newest_ms)
                self._match_event(Record(offset, append_ms, kind, "", value), candidates, found, counts)
        self._clock.see_record(newest_ms)
        counts.events += events
        return found

    def _match_event(
        self, record: Record, candidates: Candidates, found: list[list[Sample]], counts: MatchCounts
    ) -> None:
        assert record.value is not None  # noqa: S101  # the caller looked
        try:
            event = check(record.value, record.append_ms)
        except InvalidEvent as error:
            counts.invalid += 1
            counts.why_invalid = counts.why_invalid or str(error)
            return
        if event.history:
            return
        moment = _moment_of(record, event)
        for index, item in candidates.of(event):
            for test in item.predicates:  # not all(…): this loop is the price of each rule that could match
                if not test(event):
                    break
            else:
                self._match_rule(moment, event, index, item, found, counts)

    def _match_rule(  # noqa: PLR0917  # the hot path
        self,
        moment: _Moment,
        event: Event,
        index: int,
        item: CompiledRule,
        found: list[list[Sample]],
        counts: MatchCounts,
    ) -> None:
        outcome = item.kind.outcome(event)
        if outcome is None:
            return
        key = item.key_of(event)
        if key is None:
            counts.missing_key += 1
            note(counts.left_out, Cause("missing_key", event.tenant, item.name), moment[1])
            return
        counts.samples += 1
        offset, append_ms, occurred_us, event_id, scheduled_ms = moment
        sample = Sample(
            offset,
            append_ms,
            index,
            key,
            occurred_us,
            outcome,
            event_id,
            event.run or "",
            event.flow or "",
            None,
            scheduled_ms,
        )
        found[self._partition_of(item, key)].append(sample)

    def _partition_of(self, item: CompiledRule, key: tuple[str, ...]) -> int:
        if self._partitions == 1:
            return 0
        return samples_partition(key[0], item.rule.name, key[1:], self._partitions)


def _moment_of(record: Record, event: Event) -> _Moment:
    scheduled_ms = millis(event.scheduled_for) if event.scheduled_for else None
    return record.offset, record.append_ms, micros(event.occurred), _text(event.id), scheduled_ms
