"""A log of a test's own on a real broker, with one partition of each topic."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.topic_admin import apply_plan, read_plan
from flowgauge.transport.topic_plan import Sizes

ONE = Sizes(partitions=1, samples_partitions=1, replication=1)


async def made(bootstrap: str, *, transaction_ms: int = 15_000) -> Connection:
    """Make the topics of a log; who is put out of a group by another hears of it soon."""
    connection = Connection(
        bootstrap=bootstrap,
        prefix=f"t{uuid.uuid4().hex[:8]}",
        instance="one",
        heartbeat_ms=200,
        transaction_ms=transaction_ms,
    )
    await make_topics(connection)
    return connection


async def make_topics(connection: Connection) -> None:
    """Make the topics of `connection.prefix`."""
    await apply_plan(connection, await read_plan(connection, ONE), ONE)


@asynccontextmanager
async def opened(connection: Connection) -> AsyncGenerator[KafkaLog]:
    """Open the log, and close it whatever happens."""
    log = await open_kafka_log(connection)
    try:
        yield log
    finally:
        await log.close()
