"""A log is told that its events will have more partitions: what is written, by whom, and who must not go on."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from flowgauge.processors.growing import READ_RECORDS_MAX, announce_sources
from flowgauge.processors.matcher import MatcherState
from flowgauge.processors.matcher_app import GROUP
from flowgauge.processors.ruleset import RuleSet, rules_of
from flowgauge.processors.ruletopic import (
    RuleBook,
    announce,
    announced_versions,
    begin_record,
    publish_rules,
    write_version,
)
from flowgauge.schemas.clock import PULSE_SLACK_MS, ClockState
from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.errors import BadEnvironment, LogMismatch, Transient, Unreadable
from flowgauge.schemas.topics import EVENTS, RULES, RecordKind
from flowgauge.schemas.yaml_places import read_yaml
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Committed, Log, Outgoing

# A log under test knows of two partitions, as any process does that opened it before it grew.
FAR_MS = 3_000_000_000_000  # after any time that the log stamps by itself


def rules(name: str) -> RuleSet:
    return rules_of([read_yaml("rules.yaml", f"rules: [{{name: {name}, when: {{event: {{}}}}}}]")])


@dataclass(frozen=True, slots=True)
class BeforeGrowth:
    """A log as a process knows it that opened it before it grew."""

    log: Log

    def partitions(self, topic: str) -> int:
        return 2 if topic == EVENTS else self.log.partitions(topic)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = await open_local_log(tmp_path, partitions={EVENTS: 2, RULES: 1})
    yield opened
    await opened.close()


async def markers(log: Log, source: int) -> list[int]:
    return [
        version
        for record in await log.read(EVENTS, source, 0, 10_000)
        for version in announced_versions([record], source)
    ]


async def read(log: Log) -> RuleBook:
    book = RuleBook(log)
    await book.refresh()
    return book


async def test_the_newest_rules_are_announced_again_with_the_partitions_that_join(log: Log) -> None:
    await publish_rules(log, rules("a"))

    assert await announce_sources(log, 4) == 2

    book = await read(log)
    assert (book.sources, book.current_version, book.rulesets[2].joining) == (4, 2, range(2, 4))
    assert book.current.content_id() == rules("a").content_id()
    assert [announced_versions(await log.read(EVENTS, each, 0, 10), each) for each in (0, 1)] == [{1, 2}, {1, 2}]


async def test_twice_is_as_once_and_further_goes_on_from_there(tmp_path: Path) -> None:
    whole = await open_local_log(tmp_path, partitions={EVENTS: 4, RULES: 1})
    log = cast("Log", BeforeGrowth(whole))
    await publish_rules(log, rules("a"))
    first = [await announce_sources(log, 4) for _ in range(2)]
    begin = (await read(log)).begin_of(3)

    further = await announce_sources(whole, 6)

    book = await read(whole)
    assert (first, further) == ([2, 2], 3)
    assert [book.begin_of(source)[1] for source in range(6)] == [0, 0, 2, 2, 3, 3]
    assert book.begin_of(3) == begin
    assert [len(await markers(whole, each)) for each in range(4)] == [3, 3, 1, 1]
    await whole.close()


async def test_an_announcement_that_broke_off_is_finished_by_the_next(log: Log) -> None:
    await publish_rules(log, rules("a"))
    await write_version(log, await read(log), rules("a"), range(2, 4))  # and then it ended
    with pytest.raises(BadEnvironment):
        (await read(log)).begin_of(2)

    assert await announce_sources(log, 4) == 2

    book = await read(log)
    assert (book.newest_version, book.current_version, book.begin_of(2)[1]) == (2, 2, 2)
    assert announced_versions(await log.read(EVENTS, 1, 0, 10), 1) == {1, 2}


async def test_what_joined_when_the_announcement_broke_off_begins_with_a_further_one(log: Log) -> None:
    await publish_rules(log, rules("a"))
    await write_version(log, await read(log), rules("a"), range(2, 4))
    await announce(log, 2, [1])  # and then it ended

    assert await announce_sources(log, 8) == 3

    book = await read(log)
    assert [book.begin_of(source)[1] for source in range(8)] == [0, 0, 3, 3, 3, 3, 3, 3]
    assert len({book.begin_of(source) for source in range(2, 8)}) == 1


async def test_a_clock_that_is_written_after_a_further_announcement_counts_for_nobody(log: Log) -> None:
    await publish_rules(log, rules("a"))
    await write_version(log, await read(log), rules("a"), range(2, 4))
    await write_version(log, await read(log), rules("a"), range(4, 8))
    await log.append(RULES, [begin_record(2, 7)])  # by who had begun with the first
    with pytest.raises(BadEnvironment):
        (await read(log)).begin_of(2)

    assert await announce_sources(log, 8) == 3

    assert (await read(log)).begin_of(2)[1] == 3


async def test_partitions_that_were_announced_are_made_before_more_are_announced(log: Log) -> None:
    await announce_sources(log, 4)
    before = [await log.ends(topic) for topic in (RULES, EVENTS)]

    with pytest.raises(BadEnvironment, match=r"told of 4 partitions of flowgauge\.events and has 2: .* --partitions 4"):
        await announce_sources(log, 8)

    assert [await log.ends(topic) for topic in (RULES, EVENTS)] == before
    assert await announce_sources(log, 4) == 1


async def test_markers_that_are_there_already_are_gone_on_from(log: Log) -> None:
    await publish_rules(log, rules("a"))
    await write_version(log, await read(log), rules("a"), range(2, 4))
    await announce(log, 2, [1])  # and then it ended
    pulse = encode_record(Pulse(sent_ms=FAR_MS, log_id=log.log_id))
    await log.append(EVENTS, [Outgoing(1, "", pulse, RecordKind.PULSE, FAR_MS)])

    await announce_sources(log, 4)

    assert [await markers(log, source) for source in (0, 1)] == [[1, 2], [1, 2]]
    assert 0 < (await read(log)).begin_of(2)[0] < FAR_MS  # where the markers are, not where the log ends


async def test_a_source_whose_matcher_has_passed_the_marker_is_not_read(log: Log) -> None:
    await publish_rules(log, rules("a"))
    await write_version(log, await read(log), rules("a"), range(2, 4))
    await announce(log, 2, [0, 1])  # and then it ended
    reader = await log.open_reader(EVENTS, GROUP)
    state = MatcherState(ClockState(FAR_MS), 2)
    await reader.commit({0: Committed(2, encode_record(state).decode())})
    await reader.close()

    await announce_sources(log, 4)

    assert [await markers(log, source) for source in (0, 1)] == [[1, 2], [1, 2]]
    assert (await read(log)).begin_of(2) == (FAR_MS, 2)


async def test_how_far_a_long_lag_was_read_is_told(log: Log) -> None:
    await log.append(EVENTS, [Outgoing(0, "", b"{}") for _ in range(2 * READ_RECORDS_MAX + 1)])
    told: list[str] = []

    await announce_sources(log, 3, told.append)

    assert told == [
        "flowgauge.events partition 0: read to offset 5000 of 10001",
        "flowgauge.events partition 0: read to offset 10000 of 10001",
    ]


@pytest.mark.parametrize(
    ("pulse", "error"),
    [(b"{", Unreadable), (encode_record(Pulse(sent_ms=FAR_MS, log_id="another")), LogMismatch)],
)
async def test_a_pulse_that_matchers_would_end_by_is_told_before_detection_waits(
    log: Log, pulse: bytes, error: type[Exception]
) -> None:
    await publish_rules(log, rules("a"))
    await log.append(EVENTS, [Outgoing(1, "", pulse, RecordKind.PULSE, FAR_MS)])

    with pytest.raises(error, match=r"partition 1 offset 1"):
        await announce_sources(log, 3)

    assert [await markers(log, source) for source in (0, 1)] == [[1], [1]]


async def test_joining_sources_begin_at_the_furthest_clock_of_any_at_its_marker(log: Log) -> None:
    await publish_rules(log, rules("a"))
    pulse = encode_record(Pulse(sent_ms=FAR_MS, log_id=log.log_id))
    await log.append(EVENTS, [Outgoing(1, "", pulse, RecordKind.PULSE, FAR_MS)])
    await log.append(EVENTS, [Outgoing(1, "", b"{}", append_ms=FAR_MS + PULSE_SLACK_MS + 99)])  # capped, as in matchers

    version = await announce_sources(log, 3)

    assert (await read(log)).begin_of(2) == (FAR_MS + PULSE_SLACK_MS, version)


async def test_what_matchers_have_passed_is_not_read_again_for_that_clock(log: Log) -> None:
    await publish_rules(log, rules("a"))
    reader = await log.open_reader(EVENTS, GROUP)
    state = MatcherState(ClockState(FAR_MS), 1)
    await reader.commit({0: Committed(1, encode_record(state).decode())})
    await reader.close()

    await announce_sources(log, 3)

    assert (await read(log)).begin_of(2)[0] == FAR_MS


async def test_of_two_that_announce_the_first_clock_counts(log: Log) -> None:
    await publish_rules(log, rules("a"))
    await announce_sources(log, 3)
    before = (await read(log)).begin_of(2)
    await log.append(RULES, [Outgoing(0, "begin/2/later", b'{"version":2,"clock_ms":7}')])

    assert (await read(log)).begin_of(2) == before


async def test_a_log_without_rules_grows_too(log: Log) -> None:
    assert await announce_sources(log, 3) == 1
    assert (await read(log)).begin_of(2)[1] == 1


async def test_who_knows_fewer_partitions_than_there_are_publishes_no_rules(log: Log) -> None:
    await publish_rules(log, rules("a"))
    await announce_sources(log, 4)
    before = await log.ends(EVENTS)

    assert await publish_rules(log, rules("a")) == 2  # they are in force
    with pytest.raises(Transient, match="the events have 4 partitions by now, this process knows of 2: start it again"):
        await publish_rules(log, rules("b"))

    assert await log.ends(EVENTS) == before
    assert (await read(log)).newest_version == 2


async def test_a_partition_that_the_log_was_not_told_of_is_refused_with_its_place(log: Log) -> None:
    await announce_sources(log, 3)

    with pytest.raises(BadEnvironment, match=r"partition 3 is not in the log's source set.*flowgauge topics apply"):
        (await read(log)).begin_of(3)
