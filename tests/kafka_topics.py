"""The topics of a log as `flowgauge topics apply` makes them, with as many partitions as a test wants."""

from collections.abc import Mapping
from dataclasses import replace

from flowgauge.schemas.topics import OUTBOX, STATE
from flowgauge.transport import topic_admin
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.topic_plan import Sizes, wanted_topics


async def create_topics(connection: Connection, partitions: Mapping[str, int]) -> None:
    """Make the topics of `connection`'s log; state and outbox have as many partitions as the largest of them."""
    largest = max(partitions.values())
    counts = {connection.names.topic(topic): count for topic, count in partitions.items()}
    counts |= dict.fromkeys(map(connection.names.topic, (STATE, OUTBOX)), largest)
    wanted = wanted_topics(connection.names, Sizes(replication=1))
    await topic_admin.create_topics(
        connection, [replace(topic, partitions=counts.get(topic.name, 1)) for topic in wanted]
    )
