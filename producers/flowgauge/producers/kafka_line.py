"""A line to the brokers: one idempotent producer, and the events topic that it writes to.

Imported by `kafka_sender` only, in its thread: it brings aiokafka with it. Records of one partition travel as one
batch, and the client repeats a batch under the same sequence number for as long as brokers are away, so that they
take it once. A batch that brokers refuse ends the line: whoever has it opens another and sends the rest again.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from flowgauge.producers.kafka_target import KafkaTarget
from flowgauge.schemas.errors import BadEnvironment, FlowgaugeError
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.kafka_client import (
    Connection,
    Producer,
    RecordMetadata,
    end_producer,
    explain,
    known_partitions,
    new_producer,
    told,
)
from flowgauge.transport.kafka_security import Security, refusal_in
from flowgauge.transport.log import Outgoing

REQUEST_MS_MAX = 10_000  # a broker that answers no request for so long is asked again
STOP_MS_MAX = 1_000  # of a client that has nothing left to send, or that is given up


class Handed(NamedTuple):
    """Records on their way to one partition, as one batch. `arrived` ends when all replicas have them, or never."""

    records: Sequence[Outgoing]
    arrived: "asyncio.Future[RecordMetadata]"


class KafkaLine:
    """What is open between a publisher and its brokers. `partitions` is their number as the line was opened."""

    def __init__(self, producer: Producer, topic: str, partitions: int) -> None:
        self.partitions = partitions
        self._producer = producer
        self._topic = topic

    async def send(self, records: Iterable[Sequence[Outgoing]]) -> Sequence[Handed]:
        """Hand over records, those of one partition together. Waits only where they fill several batches."""
        handed: list[Handed] = []
        for left in records:
            while left:
                batch, count = self._producer.create_batch(), 0
                for record in left:
                    if batch.append(timestamp=None, key=record.key.encode(), value=record.value) is None:
                        break  # full; the first always fits
                    count += 1
                arrived = await self._producer.send_batch(batch, self._topic, partition=left[0].partition)
                handed.append(Handed(left[:count], arrived))
                left = left[count:]
        return handed


@asynccontextmanager
async def open_line(target: KafkaTarget) -> AsyncGenerator[KafkaLine]:
    """Connect, and let go at the end, whatever is left. What fails inside is told as ours, with the remedy.

    Raises FlowgaugeError also when no broker answers, believes us or has the topic.
    """
    connection = _connection(target)
    topic = connection.names.topic(EVENTS)
    producer = new_producer(connection)
    try:
        async with told(connection, "connect"):
            await _start(producer)
            partitions = await known_partitions(producer, topic)
        _require(partitions, f"Kafka at {target.bootstrap} has no topic {topic}")
        yield KafkaLine(producer, topic, partitions)
    except FlowgaugeError:
        raise
    except Exception as error:
        raise explain(error, connection, f"publish to {topic}") from error
    finally:
        await end_producer(producer, STOP_MS_MAX)


def keep_quiet(is_ours: Callable[[logging.LogRecord], bool]) -> None:
    """Keep the client's own lines, one for each try, out of the log of the work: the sender says each trouble once."""

    def listen(record: logging.LogRecord) -> bool:
        if not is_ours(record):
            return True
        _heard.refusal = refusal_in(record) or getattr(_heard, "refusal", None)
        return False

    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "aiokafka":
            logging.getLogger(name).addFilter(listen)


_heard = threading.local()  # by thread: each publisher has one


async def _start(producer: Producer) -> None:
    """Connect. Why a broker did not take us is raised as that: aiokafka logs it and says that none answered."""
    _heard.refusal = None
    try:
        await producer.start()
    except Exception as error:  # noqa: BLE001  # it goes on, or what is known better does
        raise _heard.refusal or error from None


def _require(partitions: int, missing: str) -> None:
    if not partitions:
        raise BadEnvironment(
            f"{missing}, or does not show it to us: create the topics first (flowgauge topics apply), correct the "
            "prefix (FLOWGAUGE_KAFKA_PREFIX), or grant this user Describe and Write"
        )


def _connection(target: KafkaTarget) -> Connection:
    return Connection(
        bootstrap=target.bootstrap,
        prefix=target.prefix,
        instance="publisher",
        security=Security(
            tls=target.tls is True,
            ca=target.ca,
            certificate=target.certificate,
            key=target.key,
            mechanism=target.sasl,
            username=target.username,
            password=target.password or (_secret(target.password_file) if target.password_file else ""),
            token=_token(target) if target.sasl == "OAUTHBEARER" else None,
        ),
        client={"request_timeout_ms": REQUEST_MS_MAX},
    )


def _token(target: KafkaTarget) -> Callable[[], str]:
    token = target.token
    if callable(token):
        return token
    return (lambda: token) if token else (lambda: _secret(target.token_file))


def _secret(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadEnvironment(f"file {file} cannot be read: {reason} (make it readable for the publisher)") from None
