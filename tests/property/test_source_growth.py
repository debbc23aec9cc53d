"""Source partitions join a log in use: what is found is as if they had been there, empty, from the beginning.

The log is drawn with all that can go on around a growth: rule sets before, during and after it, brokers whose clocks
differ or jump, runs that go on in a new partition while slow gateways still write to the old one.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import LOG_ID, START_MS, Happening, event_at, happenings, in_order
from tests.property.test_rule_switch import ruleset, rulesets

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.processors.growing import SourceAt
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.processors.source_set import begun_with, first_sources, joined_with, joinings, sources_at
from flowgauge.schemas.clock import ClockState, PartitionClock
from flowgauge.schemas.control_records import Pulse, RulesMarker, encode_record
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.sample import SampleMessage
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record

END_MS = START_MS + 600_000
JUMP_MS = 3_000  # a broker's clock may jump back so far
BEHIND_MS = 9_000  # a new partition's broker may be so far behind the others


@dataclass(frozen=True)
class Grown:
    """A log that has grown."""

    sets: Mapping[int, RuleSet]
    partitions: Sequence[Sequence[Record]]
    clock_ms: int  # where the joining sources begin: it was written for the last set with which some join

    def begin(self, source: int) -> MatcherState:
        begins = [version for version, _ in joinings(self.sets)][-1:]
        version = begun_with(self.sets, begins, source)
        return MatcherState(ClockState(self.clock_ms), version) if version else MatcherState()

    def from_the_beginning(self) -> "Grown":
        """Return the same log, had its new partitions been there, empty but for a marker of each set so far."""
        joined = max(version for version, _ in joinings(self.sets))
        partitions = [
            renumbered([*map(marker, range(1, joined + 1)), until(self.clock_ms), *records])
            if joined_with(self.sets, source)
            else records
            for source, records in enumerate(self.partitions)
        ]
        return Grown({version: replace(each, joining=range(0)) for version, each in self.sets.items()}, partitions, 0)


def marker(version: int, append_ms: int = START_MS) -> Record:
    return Record(0, append_ms, RecordKind.RULES, "", encode_record(RulesMarker(version=version)))


def until(clock_ms: int) -> Record:
    """Return a record that only moves the clock of its partition."""
    return Record(0, clock_ms, RecordKind.LOADED, "", b"")


def renumbered(records: Sequence[Record]) -> list[Record]:
    return [record._replace(offset=offset) for offset, record in enumerate(records)]


def record(happened: Happening, skew_ms: int) -> Record:
    return Record(0, happened.append_ms - skew_ms, RecordKind.EVENT, "", happened.value)


def pulse(append_ms: int) -> Record:
    return Record(0, append_ms, RecordKind.PULSE, "", encode_record(Pulse(sent_ms=append_ms, log_id=LOG_ID)))


@st.composite
def grown_logs(draw: st.DrawFn) -> Grown:
    """Draw a log that grows from 1 to 3 sources by 1 or 2, at any place, with a rule set or none after that.

    Before that another growth may have broken off: its set is there, and its marker in some of the sources.
    """
    sets = draw(rulesets())
    had = draw(st.integers(1, 3))
    broken_off = draw(st.integers(0, 2))
    more = broken_off + draw(st.integers(1, 2))
    growths = [each for each in (range(had, had + broken_off), range(had + broken_off, had + more)) if each]
    newest = draw(st.integers(1, len(sets)))
    joined = newest + len(growths)
    sets = {
        **{version: each for version, each in sets.items() if version <= newest},
        **{
            version: replace(sets[newest], version=version, joining=joining)
            for version, joining in enumerate(growths, newest + 1)
        },
        **{
            version + len(growths): replace(each, version=version + len(growths))
            for version, each in sets.items()
            if version > newest
        },
    }
    happened = draw(happenings())
    cut = draw(st.integers(0, len(happened)))
    partitions: list[list[Record]] = [[] for _ in range(had + more)]
    behind_ms = [0] * had + [draw(st.sampled_from((0, 1, BEHIND_MS))) for _ in range(more)]
    for number, item in enumerate(happened):
        key = item.event.run or ""
        knows_new = number >= cut and draw(st.booleans())
        source = events_partition(key, had + more if knows_new else had)
        partitions[source].append(record(item, behind_ms[source] + draw(st.sampled_from((0, 0, 0, 1, JUMP_MS)))))
    announced = (happened[cut].append_ms if cut < len(happened) else END_MS - 100) - 1
    old = [_with_old_markers(draw, records, joined, announced) for records in partitions[:had]]
    clocks = [_clock_at_marker(records, joined) for records in old]
    both = [_with_new_markers(draw, records, joined, len(sets)) for records in [*old, *partitions[had:]]]
    whole = [renumbered([*records, pulse(END_MS), until(END_MS)]) for records in both]
    return Grown(sets, whole, max(clocks))


def _with_old_markers(draw: st.DrawFn, records: Sequence[Record], joined: int, announced_ms: int) -> list[Record]:
    """Put the markers of sets until `joined` in: that one where it was announced, others before it, or late behind."""
    found = list(records)
    place = sum(each.append_ms <= announced_ms for each in records)
    found.insert(place, marker(joined, announced_ms + draw(st.sampled_from((0, -JUMP_MS, 7)))))
    for version in range(joined - 1, 1, -1):
        if draw(st.integers(0, 5)):
            place = draw(st.integers(0, place))
            found.insert(place, marker(version, found[place].append_ms))
        else:
            late = draw(st.integers(_place(found, joined) + 1, len(found)))
            found.insert(late, marker(version, found[late - 1].append_ms))
    if joined > 1:
        found.insert(0, marker(1))
    return found


def _with_new_markers(draw: st.DrawFn, records: Sequence[Record], joined: int, newest: int) -> list[Record]:
    """Put the markers of later sets, and pulses, behind that of `joined`."""
    found = list(records)
    place = _place(found, joined) + 1
    for version in range(joined + 1, newest + 1):
        place = draw(st.integers(place, len(found)))
        found.insert(place, marker(version, found[place - 1].append_ms if place else START_MS))
        place += 1
    for place in draw(st.lists(st.integers(0, len(found)), max_size=3)):
        if place > _place(found, joined):
            found.insert(place, pulse(found[place - 1].append_ms if place else START_MS))
    return found


def _clock_at_marker(records: Sequence[Record], version: int) -> int:
    at = SourceAt(0, version, 0, PartitionClock())
    at.take(records, LOG_ID)
    return at.clock.clock_ms


def _place(records: Sequence[Record], version: int) -> int:
    """Return where the marker of `version` stands, -1 where it does not."""
    wanted = marker(version).value
    return next((place for place, each in enumerate(records) if each.value == wanted), -1)


class Team:
    """A matcher for each source and a detector for each samples partition, each of which can be restored anywhere."""

    def __init__(self, log: Grown, *, detectors: int) -> None:
        self._log = log
        self._matchers = [
            Matcher(
                log_id=LOG_ID, source=source, samples_partitions=detectors, rulesets=log.sets, state=log.begin(source)
            )
            for source in range(len(log.partitions))
        ]
        self._matched = [0] * len(log.partitions)
        self._waiting: list[list[SampleMessage]] = [[] for _ in range(detectors)]
        self._states: list[dict[str, bytes]] = [{} for _ in range(detectors)]
        self._detectors = [self._restored(number) for number in range(detectors)]
        self._clocks_ms = [-1] * detectors
        self.transitions: list[Transition] = []

    def _restored(self, number: int) -> Detector:
        sources = len(self._log.partitions)
        return Detector(log_id=LOG_ID, sources=sources, rulesets=self._log.sets, state=self._states[number])

    def match(self, source: int, count: int) -> None:
        """Match the next `count` records of a source; their messages stand at the end of each detector's."""
        begin = self._matched[source]
        taken = self._log.partitions[source][begin : begin + count]
        self._matched[source] += len(taken)
        for waiting, messages in zip(self._waiting, self._matchers[source].match(taken).messages, strict=True):
            waiting += messages

    def detect(self, number: int, count: int) -> None:
        """Let a detector take its next `count` messages."""
        taken, self._waiting[number] = self._waiting[number][:count], self._waiting[number][count:]
        self._commit(number, self._detectors[number].apply(taken))
        assert self._detectors[number].clock_ms >= self._clocks_ms[number]
        self._clocks_ms[number] = self._detectors[number].clock_ms

    def crash(self, number: int) -> None:
        """Lose what a detector has in memory and restore what it committed."""
        self._detectors[number] = self._restored(number)

    def _commit(self, number: int, outcome: Outcome) -> None:
        self.transitions += outcome.transitions
        for name, value in outcome.state.items():
            if value is None:
                self._states[number].pop(name, None)
            else:
                self._states[number][name] = value

    def finish(self) -> list[Transition]:
        """Read all that is left; return the transitions in order."""
        for source, records in enumerate(self._log.partitions):
            self.match(source, len(records))
        for number, waiting in enumerate(self._waiting):
            self.detect(number, len(waiting))
            assert self._detectors[number].clock_ms == END_MS
        return in_order(self.transitions)


def read_anyhow(log: Grown, seed: int, detectors: int) -> list[Transition]:
    """Read and detect in any order and step size, crashing now and then."""
    order = random.Random(seed)  # a drawn order, not a secret
    team = Team(log, detectors=detectors)
    for _ in range(order.randrange(60)):
        match order.randrange(5):
            case 0 | 1:
                team.match(order.randrange(len(log.partitions)), order.randrange(1, 12))
            case 2 | 3:
                team.detect(order.randrange(detectors), order.randrange(1, 6))
            case _:
                team.crash(order.randrange(detectors))
    return team.finish()


@given(grown_logs(), st.integers(0, 2**32), st.integers(1, 3))
def test_what_is_found_is_as_if_the_new_partitions_had_been_there_from_the_beginning(
    log: Grown, seed: int, detectors: int
) -> None:
    before = Team(log.from_the_beginning(), detectors=1).finish()

    assert read_anyhow(log, seed, detectors) == before


def test_the_sources_at_a_version_are_those_that_joined_until_then() -> None:
    sets = {version: ruleset((), version) for version in range(1, 6)}
    sets[2] = replace(sets[2], joining=range(3, 5))
    sets[4] = replace(sets[4], joining=range(5, 8))

    assert first_sources(sets, 8) == 3
    assert [sources_at(sets, 8, version) for version in range(6)] == [3, 3, 5, 5, 8, 8]
    assert [joined_with(sets, source) for source in range(8)] == [0, 0, 0, 2, 2, 4, 4, 4]
    assert [sources_at({}, 8, version) for version in range(2)] == [8, 8]


BEHIND = """
rules:
  - name: failing
    when: {failure_rate: {above: 50%, within: 10s, min_samples: 2}}
    allowed_lateness: 3s
"""


def test_a_new_partition_whose_broker_is_behind_changes_no_pane_that_was_final() -> None:
    old = [
        marker(1),
        record(Happening(START_MS, START_MS + 4_500, event_at(UUID(int=1), 4_000, "failed")), 0),
        marker(2, START_MS + 20_000),
        until(END_MS),
    ]
    new = [record(Happening(START_MS, START_MS + 6_000, event_at(UUID(int=2), 4_500, "failed")), 0), until(END_MS)]
    rules = parse_rules("rules.yaml", BEHIND).rules
    sets = {1: RuleSet(rules, 1), 2: RuleSet(rules, 2, joining=range(1, 2))}
    log = Grown(sets, [renumbered(old), renumbered(new)], START_MS + 20_000)
    late, early = Team(log, detectors=1), Team(log, detectors=1)

    late.match(0, 2)
    late.match(0, 2)
    late.detect(0, 3)
    early.match(1, 1)
    early.detect(0, 1)

    assert late.finish() == early.finish() == []
    assert Team(replace(log, clock_ms=0), detectors=1).finish() != []  # which is why they begin at that clock
