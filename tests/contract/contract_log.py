"""What the contract tests share: how a log is opened, which topics it has, and how much is polled.

Written against the port only. An adapter joins by adding its opener in conftest.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flowgauge.schemas.topics import CONTROLS, DLQ, EVENTS, RULES, SAMPLES, TRANSITIONS
from flowgauge.transport.log import Assigned, Batch, Log, Outgoing, Output, Reader, Record, Revoked, Steps

PARTITIONS: Mapping[str, int] = {EVENTS: 2, SAMPLES: 1, TRANSITIONS: 2, RULES: 1, CONTROLS: 1, DLQ: 1}
SOON_MS = 5_000  # more than any adapter needs for what is already there
NOTHING_MS = 30  # how long a test waits before it believes that nothing comes


class OpenLog(Protocol):
    """Opens the log called `name`; again under the same name as another process would. Closed by the fixture."""

    async def __call__(self, name: str = "log") -> Log:
        """Open, creating the log if it is not there."""
        ...


@dataclass(slots=True)
class Seen:
    """What polls gave, by partition."""

    assigned: dict[int, Assigned] = field(default_factory=dict[int, Assigned])
    records: dict[int, list[Record]] = field(default_factory=dict[int, list[Record]])

    def values(self, partition: int = 0) -> list[bytes | None]:
        """Return the values read from one partition, in the order they came."""
        return [record.value for record in self.records.get(partition, [])]

    def count(self) -> int:
        """Return how many records came."""
        return sum(map(len, self.records.values()))

    def note(self, polled: Sequence[Assigned | Revoked | Batch]) -> None:
        """Add what one poll gave. Nobody else opens groups while a test polls, so nothing is revoked."""
        for each in polled:
            match each:
                case Assigned():
                    self.assigned[each.partition] = each
                case Batch():
                    assert each.records, "a batch is never empty"
                    assert each.next_offset == each.records[-1].offset + 1
                    self.records.setdefault(each.partition, []).extend(each.records)
                case Revoked():
                    raise AssertionError(each)


def events(*values: bytes, partition: int = 0, append_ms: int | None = None) -> list[Outgoing]:
    """Return one record per value."""
    return [Outgoing(partition, "run", value, append_ms=append_ms) for value in values]


def output(topic: str, value: bytes, partition: int = 0) -> Output:
    """Return one output of a step."""
    return Output(topic, Outgoing(partition, "key", value))


async def see(polled: Reader | Steps, count: int, *, records_max: int = 1_000) -> Seen:
    """Poll until `count` records came, and the assignments."""
    seen = Seen()
    while seen.count() < count:
        seen.note(await polled.poll(records_max=records_max, timeout_ms=SOON_MS))
    return seen


async def take_assigned(polled: Reader | Steps) -> dict[int, Assigned]:
    """Poll until assignments came; nothing else may come before them."""
    seen = Seen()
    while not seen.assigned:
        seen.note(await polled.poll(records_max=1, timeout_ms=SOON_MS))
    assert not seen.records
    return seen.assigned
