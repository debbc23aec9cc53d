"""CloudEvents in a topic of Kafka, written with their own package: at least once into the log, whatever happens."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition
from cloudevents.core.bindings import kafka as binding
from cloudevents.core.v1.event import CloudEvent
from tests.integration.own_log import made, opened
from tests.integration.role_processes import Roles, kafka_environment

from flowgauge.producers.cloud_event import event_id
from flowgauge.producers.cloudevents_topic import CloudEventTopic, run_cloudevents
from flowgauge.producers.gateway.intake import Intake
from flowgauge.schemas.delivery import DeadLetter, decode_dead_letter
from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.event import Event, decode_event
from flowgauge.schemas.times import millis
from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.transport.health import Health
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log
from flowgauge.transport.wall_clock import now_ms

PARTITIONS = 2
READ_MAX = 100_000
WAIT_S = 60.0
KILLS = int(os.environ.get("FLOWGAUGE_KILLS", "2"))  # `make torture` does more

Message = binding.KafkaMessage
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def event(number: int, data: Any = None, **attributes: object) -> CloudEvent:
    required = {"id": str(number), "source": "/shop", "type": "order.shipped", "run": f"run-{number % 7}"}
    return CloudEvent({**required, **attributes}, data or {"rows": number})


@contextlib.asynccontextmanager
async def topic_of(bootstrap: str) -> AsyncGenerator[str]:
    name = f"shop-{uuid.uuid4().hex[:8]}"
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
        while name not in {each["topic"] for each in await admin.describe_topics()}:  # noqa: ASYNC110  # brokers hear of it later
            await asyncio.sleep(0.01)
    finally:
        await admin.close()
    yield name


async def write(bootstrap: str, topic: str, messages: Sequence[Message], timestamp_ms: int | None = None) -> None:
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for number, message in enumerate(messages):
            headers = list(message.headers.items())
            await producer.send(
                topic, message.value, partition=number % PARTITIONS, headers=headers, timestamp_ms=timestamp_ms
            )
    finally:
        await producer.stop()


async def committed(bootstrap: str, topic: CloudEventTopic) -> dict[int, int]:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(
            topic.group, partitions=[TopicPartition(topic.name, partition) for partition in range(PARTITIONS)]
        )
    finally:
        await admin.close()
    return {at.partition: noted.offset for at, noted in found.items()}


async def values(log: Log, topic: str) -> list[bytes]:
    return [
        cast("bytes", record.value)
        for partition in range(log.partitions(topic))
        for record in await log.read(topic, partition, 0, READ_MAX)
        if record.kind is RecordKind.EVENT
    ]


async def events(log: Log) -> list[Event]:
    return [decode_event(value) for value in await values(log, EVENTS)]


async def letters(log: Log) -> list[DeadLetter]:
    return [decode_dead_letter(value) for value in await values(log, DLQ)]


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await found():  # noqa: ASYNC110  # a log tells nobody that something came
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def reading(connection: Connection, topic: CloudEventTopic, log: Log, health: Health) -> AsyncGenerator[None]:
    """Run the reader while the block runs, and end it in order."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_cloudevents(connection, topic, Intake(log, health), stop=stop, health=health))
        try:
            yield
        finally:
            stop.set()


def of(name: str) -> CloudEventTopic:
    return CloudEventTopic(name, f"g.{name}", "acme")


async def test_every_form_arrives_as_it_does_over_http_and_bad_ones_are_in_the_dlq(kafka: str) -> None:
    told = [event(number, subject="42", comment="a € b", sampledrate=3) for number in range(4)]
    bad = [Message({}, None, b"not json"), Message({"ce_id": b"\xff", "authorization": b"secret"}, None, b"x")]
    messages = [
        *(binding.to_binary_event(each) for each in told[:2]),
        *bad,
        *(binding.to_structured_event(each) for each in told[2:]),
    ]
    connection = await made(kafka)
    async with topic_of(kafka) as name, opened(connection) as log:
        await write(kafka, name, messages)

        async with reading(connection, of(name), log, Health()):
            await until(lambda: _has(log, events=4, letters=2))

        kept = {each.id: each for each in await events(log)}
        refused = sorted((each.tenant, each.reason, each.value) for each in await letters(log))
        at = await committed(kafka, of(name))
    assert kept.keys() == {event_id("/shop", str(number)) for number in range(4)}
    assert {each.tenant for each in kept.values()} == {"acme"}
    for number, each in enumerate(told):
        found = kept[event_id("/shop", str(number))]
        assert (found.occurred, found.run, found.payload) == (each.get_time(), f"run-{number}", {"rows": number})
        assert found.resource == {
            "id": "/shop/42",
            "source": "/shop",
            "subject": "42",
            "comment": "a € b",
            "sampledrate": "3",
        }
    assert refused == [("acme", "not JSON", b"not json"), ("acme", "not UTF-8", b"ce_id: \xff\r\n\r\nx")]
    assert sum(at.values()) == len(messages)


async def test_an_event_without_a_time_occurred_when_its_record_says_each_time_it_is_read(kafka: str) -> None:
    message = Message({"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/shop", "ce_type": b"t"}, None, b"")
    told_ms = now_ms() - 3_600_000
    connection = await made(kafka)
    async with topic_of(kafka) as name, opened(connection) as log:
        await write(kafka, name, [message], told_ms)

        for count, group in ((1, of(name)), (2, CloudEventTopic(name, f"another.{name}", "acme"))):
            async with reading(connection, group, log, Health()):
                await until(partial(_has, log, events=count))

        first, again = await values(log, EVENTS)
    assert first == again
    assert millis(decode_event(first).occurred) == told_ms


async def test_no_offset_passes_a_record_that_the_log_does_not_hold(kafka: str, tmp_path: Path) -> None:
    connection = Connection(bootstrap=kafka, prefix="unused")
    messages = [binding.to_binary_event(event(number, {"text": "x" * 200_000})) for number in range(12)]
    health = Health()
    log = await open_local_log(tmp_path, partitions={EVENTS: 1, DLQ: 1}, page_count_max=100)
    async with topic_of(kafka) as name:
        async with reading(connection, of(name), log, health):
            for message in messages:
                await write(kafka, name, [message])
            await until(lambda: _is_said(health))
        kept = {each.id for each in await events(log)}
        at = await committed(kafka, of(name))
    await log.close()

    passed = max(at[0], 0)
    assert passed < len(messages)
    assert {event_id("/shop", str(number)) for number in range(passed)} <= kept
    assert "log takes no events" in health.problems["gateway"]


async def test_killed_again_and_again_it_brings_in_every_event_under_its_own_id(kafka: str, tmp_path: Path) -> None:
    total = 1_000 * KILLS
    connection = await made(kafka)
    env = kafka_environment(kafka, connection.prefix, partitions=1, samples_partitions=1)
    async with topic_of(kafka) as name, opened(connection) as log:
        with Roles(env, tmp_path) as roles:
            role = roles.start("cloudevents", "one", "--from", name, "--tenant", "acme")
            for kill in range(KILLS):
                part = range(kill * 1_000, (kill + 1) * 1_000)
                await write(kafka, name, [binding.to_binary_event(event(number)) for number in part])
                await until(partial(_has_more, log, part.start))
                await asyncio.to_thread(role.kill)
                await asyncio.to_thread(role.restart)
            await until(lambda: _has_distinct(log, total))
            await asyncio.to_thread(role.wait_until_ready)
            code = await asyncio.to_thread(role.end)

        ids = {each.id for each in await events(log)}
    assert code == 0
    assert ids == {event_id("/shop", str(number)) for number in range(total)}


async def test_readers_that_come_and_go_share_the_topic_and_lose_nothing(kafka: str) -> None:
    connection = await made(kafka)
    parts = [[binding.to_binary_event(event(part * 500 + number)) for number in range(500)] for part in range(4)]
    async with topic_of(kafka) as name, opened(connection) as log:
        async with reading(connection, of(name), log, Health()):
            await write(kafka, name, parts[0])
            await until(lambda: _has_more(log, 0))
            async with reading(connection, of(name), log, Health()):
                await write(kafka, name, parts[1])
                await until(lambda: _has_more(log, 500))
                await write(kafka, name, parts[2])
            await write(kafka, name, parts[3])
            await until(lambda: _has_distinct(log, 2_000))

        at = await committed(kafka, of(name))
    assert sum(at.values()) == 2_000


async def test_a_topic_that_is_not_there_is_named_with_the_remedy(kafka: str) -> None:
    connection = await made(kafka)
    async with opened(connection) as log:
        with pytest.raises(BadEnvironment, match=r"no topic nowhere.*correct --from"):
            await run_cloudevents(
                connection, of("nowhere"), Intake(log, Health()), stop=asyncio.Event(), health=Health()
            )


@pytest.mark.parametrize(
    "refused",
    [
        (["--from", "PREFIX.dlq"], "", "a topic of flowgauge's own log"),
        (
            ["--from", "shop", "--tenant", "acm"],
            "[tenants.acme]\ntokens = [{env = 'T'}]\n",
            "no tenant is called 'acm'",
        ),
    ],
)
async def test_what_nobody_should_bring_in_is_refused_at_the_start(
    kafka: str, tmp_path: Path, refused: tuple[list[str], str, str]
) -> None:
    arguments, settings, said = refused
    connection = await made(kafka)
    (tmp_path / "flowgauge.toml").write_text(settings, encoding="utf-8")
    env = kafka_environment(kafka, connection.prefix, partitions=1, samples_partitions=1)
    with Roles({**env, "T": "token"}, tmp_path) as roles:
        role = roles.start("cloudevents", "one", *(each.replace("PREFIX", connection.prefix) for each in arguments))
        code = await asyncio.to_thread(role.process.wait, WAIT_S)

    assert (code, said in role.text()) == (2, True), role.text()


async def _has(log: Log, *, events: int, letters: int = 0) -> bool:
    return (len(await values(log, EVENTS)), len(await values(log, DLQ))) == (events, letters)


async def _has_more(log: Log, count: int) -> bool:
    return len({each.id for each in await events(log)}) > count


async def _has_distinct(log: Log, count: int) -> bool:
    return len({each.id for each in await events(log)}) >= count


async def _is_said(health: Health) -> bool:
    return "cloudevents" in health.problems
