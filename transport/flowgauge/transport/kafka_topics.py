"""The topics of a log in Kafka: what each must be like, and how they are made."""

import asyncio
import uuid
from collections.abc import Mapping

from aiokafka.admin import NewTopic

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.topics import COMPACTED, OUTBOX, STATE
from flowgauge.transport.kafka_client import REQUEST_BYTES_MAX, Admin, Connection, new_admin, new_producer, told
from flowgauge.transport.kafka_state import LOG_ID

TOPIC_ALREADY_EXISTS = 36
VISIBLE_PAUSE_MS = 20  # between looks for topics that brokers do not know yet


def topic_config(topic: str, *, min_insync: int = 1) -> dict[str, str]:
    """Return the settings that `topic` needs.

    The broker stamps the append time: it is the only clock of detection. Retention is unlimited here, because a
    broker deletes whether every group has read it or not; `trim` deletes what all have passed.
    """
    is_compacted = topic in COMPACTED or topic in {STATE, OUTBOX}
    return {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(REQUEST_BYTES_MAX),
        "min.insync.replicas": str(min_insync),
        **({"cleanup.policy": "compact"} if is_compacted else {"cleanup.policy": "delete", "retention.ms": "-1"}),
    }


async def create_topics(
    connection: Connection, partitions: Mapping[str, int], *, replication: int = 1, min_insync: int = 1
) -> None:
    """Create those of `partitions` that are missing, and the topics of state, then make the log's identity.

    What is there stays as it is. `partitions` may name STATE and OUTBOX; else each has as many as the largest topic.
    """
    largest = max(partitions.values())
    wanted = {STATE: largest, OUTBOX: largest, **partitions}
    admin = new_admin(connection)
    try:
        async with told(connection, "create topics"):
            await admin.start()
            answer = await admin.create_topics(
                [
                    NewTopic(
                        connection.names.topic(topic),
                        count,
                        replication,
                        topic_configs=topic_config(topic, min_insync=min_insync),
                    )
                    for topic, count in wanted.items()
                ]
            )
            for name, code, *message in answer.topic_errors:
                if code not in (0, TOPIC_ALREADY_EXISTS):
                    raise BadEnvironment(f"Kafka does not create the topic {name}: {message[0] or code}")
            while not wanted.keys() <= (await existing_topics(connection, admin)).keys():  # noqa: ASYNC110  # theirs
                await asyncio.sleep(VISIBLE_PAUSE_MS / 1000)
    finally:
        await admin.close()
    await _make_log_id(connection)


async def existing_topics(connection: Connection, admin: Admin) -> dict[str, int]:
    """Return the partitions of each of our topics that brokers know and serve."""
    prefix = connection.names.topic("")
    found: dict[str, int] = {}
    for topic in await admin.describe_topics():
        name: str = topic["topic"]
        if name.startswith(prefix) and all(each["leader"] >= 0 for each in topic["partitions"]):
            found[f"flowgauge.{name.removeprefix(prefix)}"] = len(topic["partitions"])
    return found


async def _make_log_id(connection: Connection) -> None:
    """Write a log id; the first that was ever written counts, so doing it again changes nothing."""
    producer = new_producer(connection)
    try:
        async with told(connection, "write the identity of the log"):
            await producer.start()
            key = f"{LOG_ID}{uuid.uuid4().hex}".encode()
            await (await producer.send(connection.names.topic(STATE), b"", key, partition=0, headers=[]))
    finally:
        await producer.stop()
