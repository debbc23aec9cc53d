"""Brings a topic of CloudEvents in Kafka into the log, at least once and under the same ids.

    getmany ─► of_kafka ─► intake: durable in the log or in the dlq ─► commit ─► …

The topic is somebody else's: its group is ours, nothing is written to it. A record may be taken again, by us after a
kill or by whoever has its partition next, and is the same event then, so no place needs fencing. Offsets never pass a
record that is not durable on our side.

At the end: what is at work is taken and committed, then the group is left. Read `cloud_event` next.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import structlog
from aiokafka import errors as kafka_errors

from flowgauge.producers.cloud_event import as_sent, of_kafka
from flowgauge.producers.gateway.intake import Intake, Unfit
from flowgauge.schemas.errors import BadEnvironment, Fenced, InvalidEvent, Transient
from flowgauge.transport.health import Health
from flowgauge.transport.kafka_client import (
    Connection,
    Consumer,
    TopicPartition,
    explain,
    leave,
    new_admin,
    new_consumer,
    start,
    told,
)
from flowgauge.transport.kafka_records import Fetched
from flowgauge.transport.patience import Patience

RECORDS_MAX = 2_000  # taken and committed together
POLL_MS = 500

Found = Mapping[TopicPartition, Sequence[Fetched]]
_log = structlog.get_logger("flowgauge.cloudevents")


@dataclass(frozen=True, slots=True)
class CloudEventTopic:
    """A topic to read, and whose events are in it. `group` is Kafka's name of the group that reads it."""

    name: str
    group: str
    tenant: str


async def run_cloudevents(
    connection: Connection, topic: CloudEventTopic, intake: Intake, *, stop: asyncio.Event, health: Health
) -> None:
    """Take what is in `topic`, and what comes, until `stop`. Raises BadEnvironment where there is no such topic."""
    patience = Patience("cloudevents", health, stop)
    # Members without a name: two processes on one machine share the partitions, and nobody takes another's place.
    connection = replace(connection, instance="")
    with contextlib.suppress(Transient):  # patience ends with the stop: what was at work comes again
        consumer = await patience.unless_stopped(partial(_subscribed, connection, topic))
        if consumer is None:
            return
        try:
            while not stop.is_set():
                found = await patience(partial(_fetched, connection, consumer, topic, stop))
                if found:
                    events = await _events(found, intake)
                    await patience(partial(intake.take, topic.tenant, events))
                    await _commit(connection, consumer, topic, found)
        finally:
            await leave(consumer)


async def _subscribed(connection: Connection, topic: CloudEventTopic) -> Consumer:
    doing = f"read {topic.name}"
    await _require(connection, topic.name)
    consumer = new_consumer(connection, topic.group)
    try:
        async with told(connection, doing):
            await start(consumer)
    except BaseException:
        await leave(consumer)
        raise
    cast("Any", consumer).subscribe([topic.name])
    return consumer


async def _require(connection: Connection, topic: str) -> None:
    """Look the topic up among all: asking for one by its name could create it."""
    admin = new_admin(connection)
    try:
        async with told(connection, f"look for topic {topic}"):
            await start(admin)
            names = {each["topic"] for each in await admin.describe_topics()}
    finally:
        await admin.close()
    if topic not in names:
        raise BadEnvironment(
            f"Kafka at {connection.bootstrap} has no topic {topic}, or does not show it to us: correct --from, or "
            "grant this user Describe and Read on it"
        )


async def _fetched(connection: Connection, consumer: Consumer, topic: CloudEventTopic, stop: asyncio.Event) -> Found:
    """Return what can be read now; nothing at the end, when what a poll may still take is not committed."""
    getting = asyncio.ensure_future(consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return cast("Found", getting.result()) if getting.done() else {}
    except kafka_errors.KafkaError as error:
        raise explain(error, connection, f"read {topic.name}") from error
    finally:
        getting.cancel()
        stopping.cancel()
        await asyncio.gather(getting, stopping, return_exceptions=True)


async def _events(found: Found, intake: Intake) -> list[bytes | Unfit]:
    records = [record for each in found.values() for record in each]
    size = sum(len(record.value or b"") for record in records)
    return await intake.heavy(size, lambda: [_event(record) for record in records])


async def _commit(connection: Connection, consumer: Consumer, topic: CloudEventTopic, found: Found) -> None:
    """Note how far we are. Where it fails, the next commit says more, or others take the same again."""
    offsets = {at: (records[-1].offset + 1, "") for at, records in found.items() if records}
    try:
        async with told(connection, f"commit in group {topic.group}"):
            with contextlib.suppress(kafka_errors.IllegalStateError):  # a partition is no longer ours
                await consumer.commit(offsets)
    except (Fenced, Transient) as error:
        _log.warning("not committed, records may be taken again", topic=topic.name, reason=str(error))


def _event(record: Fetched) -> bytes | Unfit:
    value = record.value or b""
    try:
        return of_kafka(record.headers, value, record.timestamp)
    except InvalidEvent as invalid:
        headers = [(name.lower().encode(errors="replace"), text or b"") for name, text in record.headers]
        return Unfit(as_sent(headers, value), invalid)
