"""The publisher that writes to Kafka itself, on a real broker that is started as tests start it."""

import asyncio
import uuid

import pytest
from tests.kafka_broker import running_broker
from tests.kafka_topics import create_topics

from benchmarks.http_paths import publish_all
from benchmarks.measure import LeftOut, Line
from flowgauge.producers import KafkaTarget, Publisher
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.kafka_client import Connection

PARTITIONS = 12


def bench_kafka_publisher(events: int) -> Line:
    """`emit` is what the caller's thread spends; the rest is the publisher's own thread: canonical, lz4, Kafka."""
    try:
        with running_broker() as bootstrap:
            connection = Connection(bootstrap=bootstrap, prefix=f"bench-{uuid.uuid4().hex[:8]}")
            asyncio.run(create_topics(connection, {EVENTS: PARTITIONS}))
            target = KafkaTarget(bootstrap=bootstrap, tenant="acme", prefix=connection.prefix)
            return publish_all("kafka-publisher", Publisher(kafka=target), events)
    except pytest.skip.Exception as skipped:
        raise LeftOut(str(skipped)) from None
