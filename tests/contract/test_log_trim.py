"""Contract of the `Log` port: what may be dropped, and when."""

from tests.contract.contract_log import NOTHING_MS, OpenLog, events, see, take_assigned

from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.log import Committed, Log, Outgoing

FUTURE_MS = 1 << 46  # after anything a wall clock says


async def values_of(log: Log, partition: int = 0) -> list[bytes | None]:
    return [record.value for record in await log.read(EVENTS, partition, 0, 1_000)]


async def test_records_older_than_asked_are_dropped_and_counted(log: Log) -> None:
    await log.append(EVENTS, [Outgoing(0, "run", b"%d" % at, append_ms=at) for at in range(1_000, 1_010)])
    await log.append(EVENTS, [Outgoing(1, "run", b"%d" % at, append_ms=at) for at in range(1_005, 1_008)])

    dropped = await log.trim(EVENTS, before_ms=1_006)

    assert dropped == 6 + 1
    assert await values_of(log) == [b"1006", b"1007", b"1008", b"1009"]
    assert await values_of(log, 1) == [b"1006", b"1007"]
    assert await log.trim(EVENTS, before_ms=1_006) == 0


async def test_nothing_is_dropped_before_every_group_has_passed_it(log: Log) -> None:
    await log.append(EVENTS, events(b"a", b"b", b"c", append_ms=1_000))
    sink = await log.open_reader(EVENTS, "sink")
    matcher = await log.open_reader(EVENTS, "matcher")
    await sink.commit({0: Committed(3)})

    assert await log.trim(EVENTS, before_ms=FUTURE_MS) == 0
    await matcher.commit({0: Committed(2)})
    assert await log.trim(EVENTS, before_ms=FUTURE_MS) == 2

    assert await values_of(log) == [b"c"]


async def test_a_group_holds_what_it_has_not_passed_even_while_nobody_has_it_open(open_log: OpenLog) -> None:
    log = await open_log()
    await log.append(EVENTS, events(b"a", b"b", append_ms=1_000))
    reader = await log.open_reader(EVENTS, "sink")
    await see(reader, 2)
    await reader.close()
    await log.close()

    log = await open_log()

    assert await log.trim(EVENTS, before_ms=FUTURE_MS) == 0
    assert (await see(await log.open_reader(EVENTS, "sink"), 2)).values() == [b"a", b"b"]


async def test_steps_hold_what_they_have_not_passed(log: Log) -> None:
    offsets = await log.append(EVENTS, events(b"a", b"b", append_ms=1_000))
    steps = await log.open_steps(EVENTS, "detector")
    assert await log.trim(EVENTS, before_ms=FUTURE_MS) == 0

    await steps.commit(0, next_offset=offsets[1], state={}, outputs=[])

    dropped = 0
    while not dropped:  # a broker may show the offset of a step a moment after it was committed, never before
        dropped = await log.trim(EVENTS, before_ms=FUTURE_MS)
    assert dropped == 1
    assert await values_of(log) == [b"b"]


async def test_offsets_go_on_after_everything_was_dropped(open_log: OpenLog) -> None:
    log = await open_log()
    offsets = await log.append(EVENTS, events(b"a", b"b", append_ms=1_000))
    await log.trim(EVENTS, before_ms=FUTURE_MS)
    await log.close()

    log = await open_log()
    after = await log.append(EVENTS, events(b"c"))

    assert after[0] > offsets[-1]
    assert await log.ends(EVENTS) == {0: after[0] + 1, 1: 0}


async def test_a_group_that_comes_after_a_trim_begins_at_what_is_left(log: Log) -> None:
    await log.append(EVENTS, events(b"a", b"b", append_ms=1_000))
    await log.append(EVENTS, events(b"c", append_ms=2_000))
    await log.trim(EVENTS, before_ms=1_500)

    reader = await log.open_reader(EVENTS, "late")

    assert (await see(reader, 1)).values() == [b"c"]
    assert await reader.poll(records_max=10, timeout_ms=NOTHING_MS) == []


async def test_a_reader_before_everything_dropped_waits_for_what_comes(log: Log) -> None:
    await log.append(EVENTS, events(b"a", append_ms=1_000))
    await log.trim(EVENTS, before_ms=FUTURE_MS)
    reader = await log.open_reader(EVENTS, "late")
    await take_assigned(reader)

    assert await reader.poll(records_max=10, timeout_ms=NOTHING_MS) == []
    await log.append(EVENTS, events(b"b"))

    assert (await see(reader, 1)).values() == [b"b"]
