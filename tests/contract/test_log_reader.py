"""Contract of the `Log` port: at-least-once readers."""

import asyncio

import pytest
from tests.contract.contract_log import NOTHING_MS, SOON_MS, OpenLog, Seen, events, see, take_assigned

from flowgauge.schemas.errors import Fenced, InvariantBroken
from flowgauge.schemas.topics import DLQ, EVENTS, RULES
from flowgauge.transport.log import METADATA_BYTES_MAX, Assigned, Committed, Log, Outgoing


async def test_the_first_thing_told_is_each_partition_with_where_its_group_stands(log: Log) -> None:
    await log.append(EVENTS, [*events(b"a", b"b"), *events(b"c", partition=1)])
    former = await log.open_reader(EVENTS, "sink")
    await former.commit({0: Committed(1, "clock 12")})
    await former.close()

    reader = await log.open_reader(EVENTS, "sink")
    assigned = await take_assigned(reader)
    seen = await see(reader, 2)

    assert assigned == {0: Assigned(0, 1, metadata="clock 12"), 1: Assigned(1, 0)}
    assert (seen.values(0), seen.values(1), seen.assigned) == ([b"b"], [b"c"], {})


async def test_a_new_group_reads_every_partition_from_the_beginning(log: Log) -> None:
    await log.append(EVENTS, [*events(b"a", b"b"), *events(b"c", partition=1)])
    reader = await log.open_reader(EVENTS, "sink")

    seen = await see(reader, 3)

    assert (seen.values(0), seen.values(1)) == ([b"a", b"b"], [b"c"])


async def test_a_reader_sees_each_record_once_and_in_offset_order_however_small_its_polls_are(log: Log) -> None:
    values = [b"%d" % n for n in range(100)]
    for begin in range(0, 100, 7):
        await log.append(EVENTS, events(*values[begin : begin + 7]))
    reader = await log.open_reader(EVENTS, "sink")

    seen = await see(reader, 100, records_max=3)

    assert seen.values() == values
    assert await reader.poll(records_max=3, timeout_ms=NOTHING_MS) == []


async def test_a_poll_for_no_records_tells_changes_and_leaves_the_records_for_later(log: Log) -> None:
    await log.append(EVENTS, events(b"a"))
    reader = await log.open_reader(EVENTS, "sink")

    first = await reader.poll(records_max=0, timeout_ms=SOON_MS)
    second = await reader.poll(records_max=0, timeout_ms=NOTHING_MS)

    assert [type(each) for each in first] == [Assigned, Assigned]
    assert second == []
    assert (await see(reader, 1)).values() == [b"a"]


async def test_a_full_partition_does_not_starve_the_others(log: Log) -> None:
    await log.append(EVENTS, events(*(b"%d" % n for n in range(200))))
    await log.append(EVENTS, events(b"other", partition=1))
    reader = await log.open_reader(EVENTS, "sink")

    seen = Seen()
    while not seen.values(1):
        seen.note(await reader.poll(records_max=20, timeout_ms=SOON_MS))

    assert len(seen.values(0)) < 200


async def test_an_append_ends_the_wait_of_a_poll(log: Log) -> None:
    reader = await log.open_reader(EVENTS, "sink")
    await take_assigned(reader)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(reader.poll(records_max=10, timeout_ms=600_000))  # no test lasts so long
        await asyncio.sleep(0)
        await log.append(EVENTS, events(b"late", partition=1))

    seen = Seen()
    seen.note(waiting.result())
    assert (seen.values(1), seen.count()) == ([b"late"], 1)


async def test_a_poll_without_anything_to_read_ends_at_its_timeout(log: Log) -> None:
    reader = await log.open_reader(EVENTS, "sink")
    await take_assigned(reader)

    assert await reader.poll(records_max=10, timeout_ms=NOTHING_MS) == []
    assert await reader.poll(records_max=10, timeout_ms=0) == []


async def test_a_poll_that_is_cancelled_loses_nothing(log: Log) -> None:
    reader = await log.open_reader(EVENTS, "sink")
    await take_assigned(reader)
    waiting = asyncio.ensure_future(reader.poll(records_max=10, timeout_ms=SOON_MS))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await log.append(EVENTS, events(b"a"))

    assert (await see(reader, 1)).values() == [b"a"]


async def test_a_poll_that_asks_for_no_records_loses_none(log: Log) -> None:
    await log.append(EVENTS, events(b"a", b"b"))
    reader = await log.open_reader(EVENTS, "sink")
    await take_assigned(reader)
    seen = Seen()

    seen.note(await reader.poll(records_max=0, timeout_ms=NOTHING_MS))

    while seen.count() < 2:
        seen.note(await reader.poll(records_max=10, timeout_ms=SOON_MS))
    assert seen.values() == [b"a", b"b"]
    assert await log.read(EVENTS, 0, 0, 0) == []


async def test_an_append_made_in_another_process_is_seen(open_log: OpenLog) -> None:
    reader = await (await open_log()).open_reader(EVENTS, "sink")
    elsewhere = await open_log()

    await elsewhere.append(EVENTS, events(b"from elsewhere"))

    seen = Seen()
    while not seen.count():
        seen.note(await reader.poll(records_max=10, timeout_ms=NOTHING_MS))
    assert seen.values() == [b"from elsewhere"]


async def test_two_processes_appending_to_one_log_share_its_offsets(open_log: OpenLog) -> None:
    here, elsewhere = await open_log(), await open_log()

    offsets = [
        *await here.append(EVENTS, events(b"a")),
        *await elsewhere.append(EVENTS, events(b"b")),
        *await here.append(EVENTS, events(b"c")),
    ]

    assert offsets == sorted(set(offsets))
    assert [r.value for r in await here.read(EVENTS, 0, 0, 10)] == [b"a", b"b", b"c"]


async def test_nothing_committed_is_offset_zero_without_metadata(log: Log) -> None:
    reader = await log.open_reader(EVENTS, "sink")

    assert await reader.committed() == {0: Committed(0, ""), 1: Committed(0, "")}


async def test_a_restarted_reader_goes_on_at_its_committed_offset_with_its_metadata(open_log: OpenLog) -> None:
    log = await open_log()
    offsets = await log.append(EVENTS, events(b"a", b"b", b"c"))
    reader = await log.open_reader(EVENTS, "sink")
    await see(reader, 3)
    at = Committed(offsets[1], "clock 12 ✓")
    await reader.commit({0: at})
    await log.close()

    reader = await (await open_log()).open_reader(EVENTS, "sink")

    assert await reader.committed() == {0: at, 1: Committed(0, "")}
    assert (await see(reader, 2)).values() == [b"b", b"c"]


async def test_a_reader_that_did_not_commit_reads_again_what_it_has_read(open_log: OpenLog) -> None:
    log = await open_log()
    await log.append(EVENTS, events(b"a", b"b"))
    first = await log.open_reader(EVENTS, "sink")
    await see(first, 2)
    await first.close()

    again = await log.open_reader(EVENTS, "sink")

    assert (await see(again, 2)).values() == [b"a", b"b"]


async def test_a_later_commit_replaces_offset_and_metadata(log: Log) -> None:
    await log.append(EVENTS, events(b"a", b"b"))
    reader = await log.open_reader(EVENTS, "sink")
    await reader.commit({0: Committed(2, "far"), 1: Committed(0, "other")})

    await reader.commit({0: Committed(1)})

    assert await reader.committed() == {0: Committed(1, ""), 1: Committed(0, "other")}


async def test_where_a_group_stands_is_told_to_who_is_not_in_it(open_log: OpenLog) -> None:
    log = await open_log()
    assert await log.committed(EVENTS, "sink") == {0: Committed(0, ""), 1: Committed(0, "")}

    reader = await log.open_reader(EVENTS, "sink")
    await reader.commit({1: Committed(0, "noted")})

    assert await (await open_log()).committed(EVENTS, "sink") == {0: Committed(0, ""), 1: Committed(0, "noted")}
    assert await log.committed(EVENTS, "matcher") == {0: Committed(0, ""), 1: Committed(0, "")}


async def test_a_commit_does_not_move_what_is_read_next(log: Log) -> None:
    await log.append(EVENTS, events(b"a", b"b", b"c"))
    reader = await log.open_reader(EVENTS, "sink")
    await see(reader, 1, records_max=1)

    await reader.commit({0: Committed(3)})

    assert (await see(reader, 2)).values() == [b"b", b"c"]


async def test_a_reader_reads_from_where_it_seeks(log: Log) -> None:
    offsets = await log.append(EVENTS, events(b"a", b"b", b"c"))
    reader = await log.open_reader(EVENTS, "sink")
    await see(reader, 3)

    await reader.seek(0, offsets[1])

    assert (await see(reader, 2)).values() == [b"b", b"c"]


async def test_groups_read_independently_of_each_other(log: Log) -> None:
    await log.append(EVENTS, events(b"a"))
    sink, matcher = await log.open_reader(EVENTS, "sink"), await log.open_reader(EVENTS, "matcher")

    await sink.commit({0: Committed(1, "sink")})

    assert (await see(sink, 1)).values() == (await see(matcher, 1)).values() == [b"a"]
    assert (await matcher.committed())[0] == Committed(0, "")


async def test_one_group_on_two_topics_has_two_positions(log: Log) -> None:
    on_events, on_dlq = await log.open_reader(EVENTS, "sink"), await log.open_reader(DLQ, "sink")

    await on_events.commit({0: Committed(5)})

    assert await on_dlq.committed() == {0: Committed(0, "")}


async def test_a_reader_passes_the_gaps_that_compaction_leaves(log: Log) -> None:
    reader = await log.open_reader(RULES, "sink")
    for number in range(20):
        await log.append(RULES, [Outgoing(0, "current", b"%d" % number), Outgoing(0, f"v{number}", b"")])

    seen, newest = Seen(), dict[str, bytes | None]()
    while newest.get("current") != b"19" or len(newest) < 21:
        seen.note(await reader.poll(records_max=3, timeout_ms=SOON_MS))
        newest = {record.key: record.value for record in seen.records.get(0, [])}

    assert await reader.poll(records_max=3, timeout_ms=NOTHING_MS) == []


async def test_metadata_may_be_as_long_as_the_port_says_and_no_longer(log: Log) -> None:
    reader = await log.open_reader(EVENTS, "sink")
    longest = Committed(0, "ü" * (METADATA_BYTES_MAX // 2))
    await reader.commit({0: longest})

    with pytest.raises(InvariantBroken, match="metadata"):
        await reader.commit({0: Committed(1, longest.metadata + "x")})

    assert (await reader.committed())[0] == longest


async def test_opening_a_group_again_fences_the_reader_that_had_its_partitions(open_log: OpenLog) -> None:
    here, elsewhere = await open_log(), await open_log()
    await here.append(DLQ, events(*[b""] * 7))
    for later in (here, elsewhere):
        former = await here.open_reader(DLQ, "sink")
        newer = await later.open_reader(DLQ, "sink")
        await newer.commit({0: Committed(7, "newer")})

        with pytest.raises(Fenced):
            await former.commit({0: Committed(3, "former")})

        assert await newer.committed() == {0: Committed(7, "newer")}


async def test_a_closed_reader_is_not_used_any_more(log: Log) -> None:
    reader = await log.open_reader(EVENTS, "sink")
    await reader.close()

    with pytest.raises(InvariantBroken, match="closed"):
        await reader.commit({0: Committed(1)})
