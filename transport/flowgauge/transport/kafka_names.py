"""What things are called in Kafka: topics, groups and transactions of one prefix. Pure.

    flowgauge.events           ↔ PREFIX.events
    group matcher on events    → PREFIX.matcher.events
    its step on partition 3    → PREFIX.detector.samples.3

A group has a name of its own for each topic it reads, so that a rebalance on one leaves the others alone.
"""

from dataclasses import dataclass

_LOGICAL = "flowgauge."


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one log among others in a cluster."""

    prefix: str

    def topic(self, topic: str) -> str:
        """Return what the topic of `schemas.topics` is called in Kafka."""
        return f"{self.prefix}.{_last(topic)}"

    def group(self, group: str, topic: str) -> str:
        """Return the Kafka group of `group` on `topic`."""
        return f"{self.prefix}.{group}.{_last(topic)}"

    def is_group_on(self, name: str, topic: str) -> bool:
        """Tell whether the Kafka group `name` is one of ours on `topic`."""
        return name.startswith(f"{self.prefix}.") and name.endswith(f".{_last(topic)}")

    def transaction(self, group: str, topic: str, partition: int) -> str:
        """Return the transactional id of the steps of one partition: whoever starts with it fences the one before."""
        return f"{self.group(group, topic)}.{partition}"


def _last(topic: str) -> str:
    return topic.removeprefix(_LOGICAL)
