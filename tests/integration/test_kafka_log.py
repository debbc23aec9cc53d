"""The Kafka adapter beyond the contract: several processes in a group, and what it refuses with a remedy."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, cast

import pytest
from aiokafka.admin import NewPartitions
from tests.contract.contract_log import NOTHING_MS, events, output, see, take_assigned
from tests.kafka_topics import create_topics

from flowgauge.schemas.errors import BadEnvironment, LogMismatch, StoodStill
from flowgauge.schemas.topics import EVENTS, RULES, SAMPLES, STATE, TRANSITIONS
from flowgauge.transport import kafka_standstill
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection, TopicPartition, new_admin, new_producer
from flowgauge.transport.kafka_members import Membership
from flowgauge.transport.kafka_reader import KafkaReader
from flowgauge.transport.kafka_reading import KafkaReading
from flowgauge.transport.kafka_steps import KafkaSteps, StepsPlace
from flowgauge.transport.log import Assigned, Batch, Committed, Outgoing, Reader, Revoked, Steps

PARTITIONS = {EVENTS: 2, SAMPLES: 2, TRANSITIONS: 1, RULES: 1}
OpenKafka = Callable[..., Awaitable[KafkaLog]]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def connection(kafka: str) -> Connection:
    return Connection(bootstrap=kafka, prefix=uuid.uuid4().hex, instance="one", heartbeat_ms=200)


@pytest.fixture
async def open_log(connection: Connection) -> AsyncIterator[OpenKafka]:
    opened: list[KafkaLog] = []
    await create_topics(connection, PARTITIONS)

    async def open_as(instance: str = "one") -> KafkaLog:
        opened.append(await open_kafka_log(_as(connection, instance)))
        return opened[-1]

    yield open_as
    for log in opened:
        await log.close()


def _as(connection: Connection, instance: str) -> Connection:
    return Connection(bootstrap=connection.bootstrap, prefix=connection.prefix, instance=instance, heartbeat_ms=200)


class Member:
    """A process that commits what it reads, and what it says about that."""

    def __init__(self, polled: Reader | Steps) -> None:
        self.polled = polled
        self.owned: set[int] = set()
        self.values: list[bytes] = []

    async def poll(self) -> None:
        for item in await self.polled.poll(records_max=3, timeout_ms=NOTHING_MS):
            match item:
                case Assigned():
                    self.owned.add(item.partition)
                case Revoked():
                    self.owned.remove(item.partition)
                case Batch():
                    assert item.partition in self.owned
                    self.values += [record.value or b"" for record in item.records]
                    await self.commit(item)

    async def commit(self, batch: Batch) -> None:
        if isinstance(self.polled, KafkaSteps):
            told = [output(TRANSITIONS, record.value or b"") for record in batch.records]
            await self.polled.commit(batch.partition, next_offset=batch.next_offset, state={}, outputs=told)
        elif isinstance(self.polled, KafkaReader):
            await self.polled.commit({batch.partition: Committed(batch.next_offset)})


async def run_until(members: list[Member], condition: Callable[[], bool]) -> None:
    async def run(member: Member) -> None:
        while not condition():
            await member.poll()

    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(run(member))


@pytest.mark.parametrize("kind", ["reader", "steps"])
async def test_a_second_process_takes_its_share_and_nothing_is_lost_or_done_twice(
    open_log: OpenKafka, kind: str
) -> None:
    here, elsewhere = await open_log("one"), await open_log("two")

    async def join(log: KafkaLog) -> Member:
        opening = log.open_reader(SAMPLES, "g") if kind == "reader" else log.open_steps(SAMPLES, "g")
        return Member(await opening)

    first = await join(here)
    await here.append(SAMPLES, [r for p in (0, 1) for r in events(*(b"%d-%d" % (p, n) for n in range(9)), partition=p)])
    await run_until([first], lambda: len(first.values) > 3)
    assert first.owned == {0, 1}

    joining = asyncio.ensure_future(join(elsewhere))
    await run_until([first], joining.done)
    second = joining.result()
    await here.append(SAMPLES, [r for p in (0, 1) for r in events(b"%d-more" % p, partition=p)])
    await run_until([first, second], lambda: len(first.values) + len(second.values) >= 20)

    assert (len(first.owned), len(second.owned), first.owned | second.owned) == (1, 1, {0, 1})
    expected = sorted(b"%d-%s" % (p, n) for p in (0, 1) for n in [*(b"%d" % n for n in range(9)), b"more"])
    assert sorted(first.values + second.values) == expected
    if kind == "steps":
        assert sorted(r.value or b"" for r in await here.read(TRANSITIONS, 0, 0, 100)) == expected


async def test_a_reader_that_polls_for_no_records_lets_others_join_and_keeps_its_share(open_log: OpenKafka) -> None:
    here, elsewhere = await open_log("one"), await open_log("two")
    first = await here.open_reader(EVENTS, "sink")
    await first.poll(records_max=1, timeout_ms=NOTHING_MS)

    joining = asyncio.ensure_future(elsewhere.open_reader(EVENTS, "sink"))
    changes: list[Assigned | Revoked | Batch] = []
    while not (joining.done() and any(isinstance(each, Assigned) for each in changes)):
        changes += await first.poll(records_max=0, timeout_ms=NOTHING_MS)

    assert [type(each) for each in changes] == [Revoked, Revoked, Assigned]
    await first.commit({each.partition: Committed(0) for each in changes if isinstance(each, Assigned)})
    assert len(await take_assigned(joining.result())) == 1


async def test_a_transaction_that_a_dead_process_left_open_is_settled_by_the_next_owner(
    open_log: OpenKafka, connection: Connection
) -> None:
    log = await open_log()
    former = await log.open_steps(SAMPLES, "detector")
    await former.commit(0, next_offset=None, state={"sum": b"1"}, outputs=[output(TRANSITIONS, b"told")])
    dying = new_producer(connection, connection.names.transaction("detector", SAMPLES, 0))
    await dying.start()
    await dying.begin_transaction()
    lost = await dying.send(connection.names.topic(STATE), b"2", b"detector/samples/0:sum", partition=0, headers=[])
    await lost

    assigned = await take_assigned(await log.open_steps(SAMPLES, "detector"))

    assert dict(assigned[0].state) == {"sum": b"1"}
    with contextlib.suppress(Exception):  # it was fenced
        await dying.stop()


async def test_ends_leave_out_the_markers_of_transactions_so_that_a_reader_can_reach_them(open_log: OpenKafka) -> None:
    log = await open_log()
    steps = await log.open_steps(SAMPLES, "detector")
    reader = await log.open_reader(TRANSITIONS, "notifier")
    await steps.commit(0, next_offset=None, state={}, outputs=[output(TRANSITIONS, b"told")])
    seen = await see(reader, 1)

    while await log.ends(TRANSITIONS) != {0: seen.records[0][-1].offset + 1}:
        await reader.poll(records_max=10, timeout_ms=50)  # passes the marker


async def test_topics_that_are_made_twice_at_once_are_one_log(connection: Connection) -> None:
    await asyncio.gather(*(create_topics(connection, PARTITIONS) for _ in range(3)))

    logs = [await open_kafka_log(connection) for _ in range(2)]

    assert logs[0].log_id == logs[1].log_id != ""
    for log in logs:
        await log.close()


async def test_who_opened_the_log_before_it_grew_takes_no_new_partition_for_one_without_a_place(
    connection: Connection, open_log: OpenKafka
) -> None:
    log = await open_log()
    admin = cast("Any", new_admin(connection))
    await admin.start()
    topic = connection.names.topic(EVENTS)
    await admin.create_partitions({topic: NewPartitions(3)})
    while len((await admin.describe_topics([topic]))[0]["partitions"]) < 3:  # noqa: ASYNC110  # a broker tells no event
        await asyncio.sleep(0.01)
    await admin.close()

    with pytest.raises(BadEnvironment, match="more partitions than the 2 that this process knows of: start it again"):
        await log.open_reader(EVENTS, "sink")


async def test_a_group_beyond_the_end_is_refused_with_the_remedy(open_log: OpenKafka) -> None:
    log = await open_log()
    reader = await log.open_reader(EVENTS, "sink")
    await reader.commit({0: Committed(7)})
    await reader.close()

    with pytest.raises(LogMismatch, match=r"sink stands at offset 7 of .*events partition 0, which ends at 0.*Restore"):
        await log.open_reader(EVENTS, "sink")


async def test_records_deleted_before_they_were_read_are_refused_with_the_remedy(open_log: OpenKafka) -> None:
    log = await open_log()
    await log.append(EVENTS, events(*[b"x"] * 5))
    reader = await log.open_reader(EVENTS, "sink")
    await reader.commit({0: Committed(5), 1: Committed(0)})
    await log.trim(EVENTS, before_ms=1 << 46)
    await reader.commit({0: Committed(2)})
    await reader.close()

    with pytest.raises(LogMismatch, match=r"stands at offset 2 of .*which begins at 5.*--to-earliest"):
        await log.open_reader(EVENTS, "sink")


async def test_state_of_another_log_is_refused_with_the_remedy(open_log: OpenKafka, connection: Connection) -> None:
    log = await open_log()
    producer = new_producer(connection)
    await producer.start()
    foreign = b'{"next_offset":0,"log_id":"another"}'
    await (await producer.send(connection.names.topic(STATE), foreign, b"detector/samples/1", partition=1, headers=[]))
    await producer.stop()

    with pytest.raises(LogMismatch, match=r"detector/samples/1 is of log another.*Restore all from one backup"):
        await log.open_steps(SAMPLES, "detector")


async def test_an_address_where_no_broker_is_and_topics_that_are_missing_are_told_in_one_line(kafka: str) -> None:
    with pytest.raises(BadEnvironment, match=r"Kafka at 127\.0\.0\.1:1: cannot connect: no broker answers \(start it"):
        await open_kafka_log(Connection(bootstrap="127.0.0.1:1"))
    with pytest.raises(BadEnvironment, match=r"has no topic nobody\.state: create the topics first"):
        await open_kafka_log(Connection(bootstrap=kafka, prefix="nobody"))


async def test_a_record_that_is_too_large_is_told_with_the_remedy(open_log: OpenKafka) -> None:
    log = await open_log()

    with pytest.raises(Exception, match=r"too large: .*max\.message\.bytes"):
        await log.append(EVENTS, [Outgoing(0, "run", b"x" * 5_000_000)])

    assert len(await log.append(EVENTS, events(b"next"))) == 1


class Held(KafkaReading):
    """Answers where a group stands only when it may go on."""

    begun: asyncio.Event
    may_go_on: asyncio.Event

    async def committed(self, group: str, topic: str) -> dict[int, Committed]:
        self.begun.set()
        await self.may_go_on.wait()
        return await super().committed(group, topic)


class Watched(Membership):
    """Tells when the group takes its partitions away."""

    is_revoking = False

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.is_revoking = bool(list(revoked))
        await super().on_partitions_revoked(revoked)


@pytest.mark.parametrize("kind", ["reader", "steps"])
async def test_a_share_that_changes_while_it_is_made_ready_is_made_ready_anew(
    open_log: OpenKafka, connection: Connection, kind: str
) -> None:
    log = await open_log("two")
    await log.append(SAMPLES, [r for p in (0, 1) for r in events(b"%d" % p, partition=p)])
    admin = new_admin(connection)
    await admin.start()
    reading = Held(connection, admin, {**PARTITIONS, STATE: log.partitions(STATE)})
    reading.begun, reading.may_go_on = asyncio.Event(), asyncio.Event()
    membership = Watched(connection, "g", SAMPLES)
    place = StepsPlace(connection, reading, {**PARTITIONS, STATE: log.partitions(STATE)}, log.log_id)
    polled = (
        KafkaReader(reading, membership, group="g", topic=SAMPLES)
        if kind == "reader"
        else KafkaSteps(place, membership, group="g", topic=SAMPLES)
    )

    async def join() -> Member:
        return Member(await (log.open_reader(SAMPLES, "g") if kind == "reader" else log.open_steps(SAMPLES, "g")))

    try:
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(polled.open())
            await reading.begun.wait()
            joining = tasks.create_task(join())
            while not membership.is_revoking:  # noqa: ASYNC110  # set within aiokafka
                await asyncio.sleep(0.01)
            reading.may_go_on.set()
            await opening
            first = Member(polled)
            await run_until([first], joining.done)
        second = joining.result()
        await run_until([first, second], lambda: len(first.values) + len(second.values) >= 2)

        assert (len(first.owned), len(second.owned), first.owned | second.owned) == (1, 1, {0, 1})
        assert sorted(first.values + second.values) == [b"0", b"1"]
    finally:
        await polled.close()
        await reading.close()
        await admin.close()


async def test_a_member_that_waits_for_others_to_join_lets_go_without_them(
    open_log: OpenKafka, connection: Connection
) -> None:
    """An end in order hung here: a stop that waits for others takes as long as they do."""
    await open_log("three")
    first, second = Watched(connection, "g", SAMPLES), Membership(_as(connection, "two"), "g", SAMPLES)
    await first.join()
    assert (changes := first.changes()) is not None
    assert first.note_told(changes)
    try:
        joining = asyncio.ensure_future(second.join())
        while not first.is_revoking:  # noqa: ASYNC110  # set within aiokafka
            await asyncio.sleep(0.01)
        joining.cancel()
        await asyncio.wait([joining])

        await first.commit({0: Committed(0)})  # its shell is still waited for: it has lost nothing
    finally:
        await first.leave()


async def test_a_reader_whose_fetching_has_ended_without_a_word_ends_too(
    open_log: OpenKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_standstill, "SILENCE_S", 0.0)
    monkeypatch.setattr(kafka_standstill, "LOOK_S", 0.0)
    log = await open_log()
    reader = await log.open_reader(SAMPLES, "g")
    await reader.poll(records_max=1, timeout_ms=0)
    fetching: asyncio.Task[None] = cast("Any", reader).membership._consumer._fetcher._fetch_task
    while not fetching.done():  # it may take the first for that of a fetch of its own
        fetching.cancel()
        await asyncio.sleep(0)

    async def poll_on() -> None:
        while True:  # a fetch that was on its way brings what came first
            await log.append(SAMPLES, events(b"waits"))
            await reader.poll(records_max=1, timeout_ms=NOTHING_MS)

    with pytest.raises(StoodStill, match=r"gets nothing of partition 0 though it stands at \d+ of \d+"):
        await poll_on()
