"""The spool of a publisher that writes to Kafka itself."""

import asyncio
import uuid
from pathlib import Path

import msgspec
import pytest
from tests.integration.notifier_scene import until
from tests.kafka_topics import create_topics

from flowgauge.producers import KafkaTarget, Publisher
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

FLUSH_MS = 60_000


async def numbers_in(connection: Connection) -> list[int]:
    """Return what the events of the only partition say, in its order."""
    log = await open_kafka_log(connection)
    records = await log.read(EVENTS, 0, 0, 10_000)
    await log.close()
    return [
        msgspec.json.decode(record.value)["payload"]["number"]
        for record in records
        if record.value is not None and record.kind is RecordKind.EVENT
    ]


def say(publisher: Publisher, *numbers: int) -> None:
    for number in numbers:
        publisher.emit({"event": "etl.step", "run": "r-1", "resource": {"id": "etl"}, "payload": {"number": number}})


async def test_what_brokers_do_not_take_waits_on_disk_for_the_next_process(kafka: str, tmp_path: Path) -> None:
    connection = Connection(bootstrap=kafka, prefix=f"t{uuid.uuid4().hex[:8]}")
    target = KafkaTarget(bootstrap=kafka, tenant="acme", prefix=connection.prefix)
    first = Publisher(kafka=target, spool=tmp_path)
    say(first, *range(1_000))
    await until(lambda: first.spooled == 1_000)  # there is no topic
    await asyncio.to_thread(first.close)

    await create_topics(connection, {EVENTS: 1})
    second = Publisher(kafka=target, spool=tmp_path)
    say(second, 1_000)
    assert await asyncio.to_thread(second.flush, FLUSH_MS)
    await asyncio.to_thread(second.close)

    assert await numbers_in(connection) == list(range(1_001))
    assert (first.dropped, second.sent, second.drained, second.dropped) == (0, 1_001, 1_000, 0)
