"""Which topics of a log brokers have."""

from flowgauge.transport.kafka_client import Admin, Connection


async def existing_topics(connection: Connection, admin: Admin) -> dict[str, int]:
    """Return the partitions of each of our topics that brokers know and serve."""
    prefix = connection.names.topic("")
    found: dict[str, int] = {}
    for topic in await admin.describe_topics():
        name: str = topic["topic"]
        if name.startswith(prefix) and all(each["leader"] >= 0 for each in topic["partitions"]):
            found[f"flowgauge.{name.removeprefix(prefix)}"] = len(topic["partitions"])
    return found
