"""What the Kafka adapter says and does when the outside is not as it should be: one clear line, no loss, no spin.

Each fault is made at a real broker. What a role does with these errors is the roles' own to test.
"""

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.contract.contract_log import events, output, see, take_assigned
from tests.integration.own_log import ONE, made, opened
from tests.kafka_broker import Broker, mortal_broker

from flowgauge.schemas.errors import BadEnvironment, Fenced, InvariantBroken, Transient
from flowgauge.schemas.topics import EVENTS, OUTBOX, SAMPLES, STATE, TRANSITIONS
from flowgauge.transport.kafka import KafkaLog
from flowgauge.transport.kafka_client import Connection, new_producer
from flowgauge.transport.log import Batch, Committed
from flowgauge.transport.topic_plan import ALL, wanted_topics

ANSWER_MS = 1_500  # how long a broker that was killed is waited for
DEADLINE_S = 60
BRIEF_MS, POLL_MS = 1_000, 100  # of several heartbeats
ATTEMPTS_MAX = 1_000  # in some seconds; a loop without pause makes tens of thousands

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
async def connection(kafka: str) -> Connection:
    return await made(kafka)


@pytest.fixture
async def log(connection: Connection) -> AsyncIterator[KafkaLog]:
    async with opened(connection) as log:
        yield log


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    with mortal_broker() as broker:
        yield broker


@pytest.fixture
def mortal(own_broker: Broker) -> Broker:
    """Return a broker that tests kill one after the other, each with a log of its own; it runs."""
    if not own_broker.runs:
        own_broker.start()
    return own_broker


async def until_appended(log: KafkaLog, value: bytes) -> None:
    """Append as a shell does: again after each Transient."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await log.append(EVENTS, events(value))
            except Transient:
                await asyncio.sleep(0.1)
            else:
                return


async def test_events_appended_while_the_broker_is_away_are_there_once_it_is_back(mortal: Broker) -> None:
    connection = dataclasses.replace(await made(mortal.bootstrap), answer_ms=ANSWER_MS)
    async with opened(connection) as log:
        await until_appended(log, b"before")
        mortal.kill()

        with pytest.raises(Transient, match=r"cannot append to .*\.events: no answer within 1500 ms; trying again"):
            await log.append(EVENTS, events(b"while"))
        await asyncio.to_thread(mortal.start)
        await until_appended(log, b"after")

        values = [record.value for record in await log.read(EVENTS, 0, 0, 100)]
        assert set(values) == {b"after", b"before", b"while"}  # one that was given up may come all the same
        assert values[0] == b"before"


async def test_a_reader_and_steps_go_on_where_they_were_when_the_broker_comes_back(mortal: Broker) -> None:
    connection = dataclasses.replace(await made(mortal.bootstrap), answer_ms=ANSWER_MS, session_ms=30_000)
    async with opened(connection) as log:
        await log.append(SAMPLES, events(b"a", b"b"))
        steps, reader = await log.open_steps(SAMPLES, "detector"), await log.open_reader(SAMPLES, "matcher")
        assert (await see(steps, 2)).values() == (await see(reader, 2)).values() == [b"a", b"b"]
        mortal.kill()

        assert await reader.poll(records_max=10, timeout_ms=300) == []
        with pytest.raises(Transient, match="cannot commit in group"):
            await reader.commit({0: Committed(2)})
        committing = asyncio.ensure_future(
            steps.commit(0, next_offset=2, state={"sum": b"2"}, outputs=[output(TRANSITIONS, b"told")])
        )
        await asyncio.to_thread(mortal.start)
        await asyncio.wait_for(committing, DEADLINE_S)  # aiokafka tries until the broker has forgotten nothing

        await until_appended(log, b"not a sample, but the broker takes it")
        await log.append(SAMPLES, events(b"c"))
        assert (await see(steps, 1)).values() == (await see(reader, 1)).values() == [b"c"]
        await reader.commit({0: Committed(3)})
        await steps.close()
        again = await take_assigned(await log.open_steps(SAMPLES, "detector"))
        assert (again[0].next_offset, dict(again[0].state)) == (2, {"sum": b"2"})
        assert [record.value for record in await log.read(TRANSITIONS, 0, 0, 10)] == [b"told"]


async def test_waiting_for_a_broker_that_is_away_is_no_spin(mortal: Broker, caplog: pytest.LogCaptureFixture) -> None:
    connection = dataclasses.replace(await made(mortal.bootstrap), answer_ms=ANSWER_MS)
    async with opened(connection) as log:
        reader = await log.open_reader(EVENTS, "matcher")
        await reader.poll(records_max=1, timeout_ms=100)
        mortal.kill()
        caplog.clear()

        for _ in range(3):
            await reader.poll(records_max=10, timeout_ms=500)
            with pytest.raises(Transient):
                await log.append(EVENTS, events(b"x"))

        assert 0 < len(caplog.records) < ATTEMPTS_MAX
        await asyncio.to_thread(mortal.start)


async def test_what_a_broker_refuses_as_too_large_is_told_and_what_follows_is_appended(
    connection: Connection, log: KafkaLog
) -> None:
    await set_max_bytes(connection, "100000")
    await log.append(EVENTS, events(b"before"))

    with pytest.raises(BadEnvironment, match=r"cannot append to .*\.events: too large .*max\.message\.bytes=4194304"):
        await log.append(EVENTS, events(os.urandom(300_000)))
    offsets = [(await log.append(EVENTS, events(b"%d" % n)))[0] for n in range(3)]

    assert offsets == [1, 2, 3]
    await set_max_bytes(connection, "4194304")
    assert (await log.append(EVENTS, events(os.urandom(300_000))))[0] == 4


async def test_a_record_that_no_topic_takes_is_refused_before_anything_is_sent(log: KafkaLog) -> None:
    with pytest.raises(InvariantBroken, match=r"events partition 0: a record of 5000000 bytes under key 'run'"):
        await log.append(EVENTS, [*events(b"good"), *events(b"x" * 5_000_000)])

    assert await log.ends(EVENTS) == {0: 0}


@pytest.mark.parametrize("topic", [topic for topic in ALL if topic not in (STATE, OUTBOX)])
async def test_a_kind_of_record_that_is_not_known_is_told_each_time_with_its_place(
    connection: Connection, log: KafkaLog, topic: str
) -> None:
    await log.append(topic, events(b"good"))
    await write(connection, topic, b"x", b"{}", headers=[("fg-kind", b"99")])
    said = rf"\.{topic.rpartition('.')[2]} partition 0 offset 1: header fg-kind is b'99', .* update it"
    reader = await log.open_reader(topic, "g")

    for _ in range(2):
        with pytest.raises(InvariantBroken, match=said):
            await see(reader, 2, records_max=10)
        with pytest.raises(InvariantBroken, match=said):
            await log.read(topic, 0, 0, 10)

    assert [record.value for record in await log.read(topic, 0, 0, 1)] == [b"good"]


@pytest.mark.parametrize("topic", [SAMPLES, TRANSITIONS])
@pytest.mark.parametrize("headers", [[("fg-kind", b"99")], []])
async def test_state_that_cannot_be_read_is_told_with_its_place_and_stays(
    connection: Connection, log: KafkaLog, topic: str, headers: list[tuple[str, bytes | None]]
) -> None:
    state = OUTBOX if topic == TRANSITIONS else STATE
    position = f"g/{topic.rpartition('.')[2]}/0".encode()
    await write(connection, state, position, b"not a position", headers=headers)
    said = rf"{state.rpartition('.')[2]} .*offset \d: (header fg-kind is b'99'|the position .* cannot be read).*update"

    for _ in range(2):
        with pytest.raises(InvariantBroken, match=said):
            await log.open_steps(topic, "g")


async def test_two_processes_with_one_instance_are_told_and_the_later_one_goes_on(
    connection: Connection, log: KafkaLog
) -> None:
    await log.append(EVENTS, events(b"a"))
    first = await log.open_reader(EVENTS, "sink")
    async with opened(connection) as other:
        second = await other.open_reader(EVENTS, "sink")

        with pytest.raises(Fenced, match=r"another process .*each its own kafka\.instance: this one is 'one'"):
            await see(first, 1_000)
        with pytest.raises(Fenced):
            await first.commit({0: Committed(1)})

        assert (await see(second, 1)).values() == [b"a"]
        await second.commit({0: Committed(1)})


async def test_of_processes_that_begin_at_once_under_one_name_one_goes_on_and_the_others_are_told(
    connection: Connection, log: KafkaLog
) -> None:
    await log.append(SAMPLES, events(b"a"))
    async with AsyncExitStack() as logs:
        others = [await logs.enter_async_context(opened(connection)) for _ in range(2)]

        ends = await asyncio.gather(*(work_until_told(each) for each in (log, *others)), return_exceptions=True)

    told = [end for end in ends if isinstance(end, BaseException)]
    assert (len(told), {type(end) for end in told}) == (2, {Fenced}), ends
    assert all("each its own kafka.instance: this one is 'one'" in str(end) for end in told), told


async def work_until_told(log: KafkaLog) -> None:
    """Step on until put out; return where nobody does so for longer than a session."""
    steps = await log.open_steps(SAMPLES, "detector")
    for _ in range(4 * BRIEF_MS // POLL_MS):
        for each in await steps.poll(records_max=10, timeout_ms=POLL_MS):
            if isinstance(each, Batch):
                await steps.commit(0, next_offset=each.next_offset, state={}, outputs=[])


async def test_a_transaction_that_nobody_ends_holds_readers_back_no_longer_than_its_timeout(
    connection: Connection, log: KafkaLog
) -> None:
    brief = dataclasses.replace(connection, transaction_ms=1_000)
    frozen = new_producer(brief, "frozen")
    await frozen.start()
    await frozen.begin_transaction()
    name = connection.names.topic(TRANSITIONS)
    await (await frozen.send(name, b"never", b"", partition=0, headers=[]))
    await log.append(TRANSITIONS, events(b"told"))
    reader = await log.open_reader(TRANSITIONS, "notifier")

    async with asyncio.timeout(DEADLINE_S):  # the broker looks every ten seconds
        assert (await see(reader, 1)).values() == [b"told"]

    with pytest.raises(Exception, match=r"Fenced|Epoch|fenced|Invalid|^$"):  # aiokafka has several words for it
        await frozen.commit_transaction()
    with contextlib.suppress(Exception):
        await frozen.stop()


async def test_a_restore_that_does_not_move_is_told_and_works_once_nothing_holds_it_back(
    connection: Connection, log: KafkaLog
) -> None:
    other = new_producer(connection, "of another partition, in the same one of the state")
    await other.start()
    await other.begin_transaction()
    await (await other.send(connection.names.topic(STATE), b"", b"other", partition=0, headers=[]))
    await log.append(SAMPLES, events(b"a"))

    async with opened(dataclasses.replace(connection, answer_ms=ANSWER_MS)) as brief:
        with pytest.raises(Transient, match=r"cannot restore .*state partition 0: no answer within 1500 ms; trying"):
            await brief.open_steps(SAMPLES, "detector")
        await cast("Any", other).abort_transaction()

        steps = await brief.open_steps(SAMPLES, "detector")
        assert (await see(steps, 1)).values() == [b"a"]

    await other.stop()


async def write(
    connection: Connection, topic: str, key: bytes, value: bytes, *, headers: list[tuple[str, bytes | None]]
) -> None:
    """Write what no part of ours would."""
    producer = new_producer(connection)
    await producer.start()
    await (await producer.send(connection.names.topic(topic), value, key, partition=0, headers=headers))
    await producer.stop()


async def set_max_bytes(connection: Connection, value: str) -> None:
    """Change max.message.bytes of events as an operator would."""
    name = connection.names.topic(EVENTS)
    (wanted,) = (topic for topic in wanted_topics(connection.names, ONE) if topic.name == name)
    resource = ConfigResource(ConfigResourceType.TOPIC, name, configs={**wanted.settings, "max.message.bytes": value})
    admin = cast("Any", AIOKafkaAdminClient)(bootstrap_servers=connection.bootstrap)
    try:
        await admin.start()
        (answer,) = await admin.alter_configs([resource])
        assert answer.resources[0][0] == 0
    finally:
        await admin.close()
