"""Contract of the `Log` port: appending, offsets, append time, identity."""

import asyncio
from itertools import pairwise

import pytest
from tests.contract.contract_log import PARTITIONS, OpenLog, events

from flowgauge.schemas.errors import InvariantBroken
from flowgauge.schemas.topics import EVENTS, RULES, TRANSITIONS, RecordKind
from flowgauge.transport.log import Log, Outgoing
from flowgauge.transport.wall_clock import now_ms


async def test_a_topic_has_the_partitions_it_was_made_with(log: Log) -> None:
    assert {topic: log.partitions(topic) for topic in PARTITIONS} == PARTITIONS


async def test_an_appended_record_is_read_as_it_was_given(log: Log) -> None:
    given = [
        Outgoing(0, "run-1", b'{"id": 1}'),
        Outgoing(0, "", b"", RecordKind.PULSE),
        Outgoing(0, "schlüssel ✓", bytes(range(256)), RecordKind.RULES),
        Outgoing(0, "x" * 1_000, b"y" * 1_048_576, RecordKind.LOADED),
    ]

    offsets = await log.append(EVENTS, given)

    read = await log.read(EVENTS, 0, 0, 10)
    assert [(r.offset, r.kind, r.key, r.value) for r in read] == [
        (offset, g.kind, g.key, g.value) for offset, g in zip(offsets, given, strict=True)
    ]
    assert all(isinstance(record.kind, RecordKind) for record in read)


async def test_offsets_of_a_partition_grow_in_append_order(log: Log) -> None:
    records = [Outgoing(number % 2, "run", b"%d" % number) for number in range(20)]

    offsets = [*await log.append(EVENTS, records[:13]), *await log.append(EVENTS, records[13:])]

    for partition in (0, 1):
        mine = [(offset, r.value) for offset, r in zip(offsets, records, strict=True) if r.partition == partition]
        assert all(before < after for (before, _), (after, _) in pairwise(mine))
        assert [(r.offset, r.value) for r in await log.read(EVENTS, partition, 0, 100)] == mine


async def test_an_empty_append_does_nothing(log: Log) -> None:
    assert list(await log.append(EVENTS, [])) == []
    assert await log.ends(EVENTS) == {0: 0, 1: 0}


async def test_an_append_to_a_partition_that_is_not_there_appends_nothing(log: Log) -> None:
    with pytest.raises(InvariantBroken, match="partition 7"):
        await log.append(EVENTS, [*events(b"good"), *events(b"bad", partition=7)])

    assert await log.ends(EVENTS) == {0: 0, 1: 0}


async def test_a_record_without_a_value_is_refused_where_nothing_is_compacted(log: Log) -> None:
    with pytest.raises(InvariantBroken, match="without a value"):
        await log.append(EVENTS, [Outgoing(0, "run", None)])

    assert await log.ends(EVENTS) == {0: 0, 1: 0}


async def test_the_end_is_the_offset_that_comes_next(log: Log) -> None:
    offsets = await log.append(EVENTS, events(b"a", b"b", partition=1))

    ends = await log.ends(EVENTS)

    assert ends[0] == 0
    assert ends[1] > offsets[-1]
    assert (await log.append(EVENTS, events(b"c", partition=1)))[0] >= ends[1]


async def test_what_was_appended_is_there_after_closing_and_opening_again(open_log: OpenLog) -> None:
    log = await open_log()
    first = await log.append(EVENTS, events(b"a", b"b"))
    await log.close()

    log = await open_log()
    second = await log.append(EVENTS, events(b"c"))

    read = await log.read(EVENTS, 0, 0, 10)
    assert [(r.offset, r.value) for r in read] == list(zip([*first, *second], [b"a", b"b", b"c"], strict=True))


async def test_closing_finishes_what_is_queued(open_log: OpenLog) -> None:
    log = await open_log()
    async with asyncio.TaskGroup() as group:
        appends = [group.create_task(log.append(EVENTS, events(b"%d" % n))) for n in range(50)]
        await asyncio.sleep(0)  # each append is asked for before the close is
        await log.close()

    again = await open_log()
    assert len(await again.read(EVENTS, 0, 0, 100)) == len(appends)


async def test_many_tasks_append_at_once_and_each_keeps_its_own_order(log: Log) -> None:
    async def write(task: int) -> None:
        for step in range(10):
            await log.append(EVENTS, events(b"%d:%d" % (task, step * 2), b"%d:%d" % (task, step * 2 + 1)))

    async with asyncio.TaskGroup() as group:
        for task in range(20):
            group.create_task(write(task))

    values = [record.value or b"" for record in await log.read(EVENTS, 0, 0, 1_000)]
    for task in range(20):
        mine = [value for value in values if value.startswith(b"%d:" % task)]
        assert mine == [b"%d:%d" % (task, step) for step in range(20)]


async def test_the_log_stamps_the_time_of_the_append(log: Log) -> None:
    before_ms = now_ms()
    await log.append(EVENTS, events(b"a"))
    after_ms = now_ms()

    (record,) = await log.read(EVENTS, 0, 0, 10)
    assert before_ms <= record.append_ms <= after_ms


async def test_append_times_of_a_partition_never_go_back(log: Log) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(log.append(EVENTS, events(b"%d" % number)))

    stamps = [record.append_ms for record in await log.read(EVENTS, 0, 0, 100)]
    assert stamps == sorted(stamps)


async def test_history_keeps_the_times_it_was_recorded_with(log: Log) -> None:
    recorded = [1_000, 1_000, 3_000, 2_000, 9_000]

    await log.append(EVENTS, [Outgoing(0, "run", b"x", append_ms=at) for at in recorded[:3]])
    await log.append(EVENTS, [Outgoing(0, "run", b"x", append_ms=at) for at in recorded[3:]])
    await log.append(EVENTS, events(b"live"))

    stamps = [record.append_ms for record in await log.read(EVENTS, 0, 0, 10)]
    assert stamps[:5] == recorded
    assert stamps[5] > 9_000


async def test_reading_begins_at_the_offset_asked_for_and_stops_at_the_number_asked_for(log: Log) -> None:
    offsets = await log.append(EVENTS, events(*(b"%d" % n for n in range(10))))

    read = await log.read(EVENTS, 0, offsets[3], 4)

    assert [record.value for record in read] == [b"3", b"4", b"5", b"6"]
    assert await log.read(EVENTS, 0, (await log.ends(EVENTS))[0], 4) == []


async def test_a_log_keeps_its_identity_over_restarts_and_another_log_has_another(open_log: OpenLog) -> None:
    first = await open_log()
    await first.close()

    again = await open_log()
    other = await open_log("another")

    assert again.log_id == first.log_id
    assert other.log_id != first.log_id


async def test_a_compacted_topic_keeps_the_newest_record_of_each_key(log: Log) -> None:
    for key, value in (("a", b"1"), ("b", b"1"), ("a", b"2"), ("c", b"1"), ("b", None)):
        await log.append(RULES, [Outgoing(0, key, value, RecordKind.RULES)])

    newest = {record.key: record.value for record in await log.read(RULES, 0, 0, 100)}

    assert newest == {"a": b"2", "b": None, "c": b"1"}


async def test_a_compacted_topic_is_read_in_offset_order(log: Log) -> None:
    await log.append(RULES, [Outgoing(0, key, b"1") for key in "zyx"])
    await log.append(RULES, [Outgoing(0, "y", b"2")])

    read = await log.read(RULES, 0, 0, 100)

    assert [record.offset for record in read] == sorted(record.offset for record in read)
    assert read[-1][3:] == ("y", b"2")


async def test_topics_do_not_see_each_other(log: Log) -> None:
    await log.append(EVENTS, events(b"event"))
    await log.append(TRANSITIONS, events(b"transition"))

    assert [r.value for r in await log.read(EVENTS, 0, 0, 10)] == [b"event"]
    assert [r.value for r in await log.read(TRANSITIONS, 0, 0, 10)] == [b"transition"]
