"""A consumer group of simulated processes: who is there, and which partitions each has.

    leaves ──── SESSION_MS ────► put out: its partitions are placed anew        comes back: they are placed anew
           back before that: nothing moves, as with the static membership that we use

Partitions are placed by aiokafka's own assignor, so moves and balance are those of production.
"""

from collections.abc import Mapping
from typing import Any, cast

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

TOPIC = "topic"
SESSION_MS = 6_000  # how long a member may be away before its partitions move
DOWN_MS = (1_000, 25_000)  # how long a process that died stays away
RESTART_MS = (1_000, 5_000)
FROZEN_MS = (10_000, 60_000)  # longer than a session: it wakes as a stranger


class Group:
    """Members come and go; `placed` says who owns what now, and `rebalances` counts how often that changed."""

    def __init__(self, name: str, *, members: int, partitions: int) -> None:
        self._partitions = partitions
        self._away: dict[str, range] = {}  # member → from when until when
        self._out: set[str] = set()  # of those away: put out
        self.names = [f"{name}-{number:02d}" for number in range(members)]
        self.rebalances = 0
        self.placed: Mapping[int, str] = {}
        self._place()

    def is_there(self, member: str) -> bool:
        """Tell whether a member runs."""
        return member not in self._away

    def leave(self, member: str, now_ms: int, away_ms: int) -> None:
        """Let a member that runs be away for so long."""
        self._away[member] = range(now_ms, now_ms + away_ms)

    def step(self, now_ms: int) -> None:
        """Put out who is away for too long, and let those join that are back. One member always stays."""
        back = {member for member, away in self._away.items() if away.stop <= now_ms}
        gone = {member for member, away in self._away.items() if away.start + SESSION_MS <= now_ms} - back
        is_changed = bool(back & self._out or gone - self._out)
        for member in back:
            del self._away[member]
        self._out = gone
        if is_changed and len(self._out) < len(self.names):
            self._place()

    def _place(self) -> None:
        self.rebalances += 1
        self.placed = _assigned([name for name in self.names if name not in self._out], self._partitions)
        assert sorted(self.placed) == list(range(self._partitions)), f"not every partition is owned: {self.placed}"


class _Topics:
    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return set(range(self._partitions))


def _assigned(members: list[str], partitions: int) -> dict[int, str]:
    """Return the owner of each partition. Raises AssertionError where one has two."""
    assignor: Any = RoundRobinPartitionAssignor
    wishes = {member: assignor.metadata([TOPIC]) for member in members}
    placed: dict[int, str] = {}
    for member, assignment in assignor.assign(_Topics(partitions), wishes).items():
        for _, owned in assignment.assignment:
            for partition in cast("list[int]", owned):
                assert partition not in placed, f"partition {partition} has two owners: {placed[partition]}, {member}"
                placed[partition] = member
    return placed
