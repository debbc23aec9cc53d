"""Groups: incidents of one lane that share messages, and when the next message may go. Pure.

    idle ──a member comes──► waits `wait_ms` ──the message goes──► nothing for `interval_ms` ──► idle, or the next

Kept in memory only: after a restart the first message of a group goes after its wait.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.policy import Grouping, Lane

MEMBERS_MAX = 2_000  # incidents in one message: what is committed with it stays some megabytes

_Key = tuple[str, ...]


@dataclass(slots=True)
class _Group:
    ready_ms: int  # when its next message may go
    members: dict[str, None] = field(default_factory=dict[str, None])  # incident ids, in the order of coming


@dataclass(slots=True)
class _Lane:
    """The groups of one lane. `due` has an entry for each by its `ready_ms`; others than that mean nothing any more."""

    groups: dict[_Key, _Group] = field(default_factory=dict[_Key, _Group])
    due: list[tuple[int, int, _Key]] = field(default_factory=list[tuple[int, int, _Key]])
    waiting: int = 0  # incidents
    came: int = 0  # entries of `due` there ever were

    def ready_at(self, key: _Key, group: _Group, ready_ms: int) -> None:
        group.ready_ms = ready_ms
        self.came += 1
        heapq.heappush(self.due, (ready_ms, self.came, key))

    def take(self, now_ms: int, interval_ms: int) -> Sequence[str]:
        """Return members of the first group that is ready and has any; forget those before it."""
        while self.due and self.due[0][0] <= now_ms:
            ready_ms, _, key = heapq.heappop(self.due)
            group = self.groups.get(key)
            if group is None or group.ready_ms != ready_ms:
                continue
            if not group.members:
                del self.groups[key]
                continue
            taken = list(group.members)[:MEMBERS_MAX]
            for incident_id in taken:
                del group.members[incident_id]
            self.waiting -= len(taken)
            self.ready_at(key, group, now_ms + interval_ms)
            return taken
        return ()


@dataclass(slots=True)
class Groups:
    """The groups of all lanes."""

    _lanes: dict[Lane, _Lane] = field(default_factory=dict[Lane, _Lane])

    def add(self, lane: Lane, grouping: Grouping, transition: Transition, now_ms: int) -> None:
        """Let an incident wait for the next message of its group."""
        found = self._lanes.setdefault(lane, _Lane())
        key = grouping.key_of(transition)
        group = found.groups.setdefault(key, _Group(0))
        if not group.members and group.ready_ms <= now_ms:
            found.ready_at(key, group, now_ms + grouping.wait_ms)
        found.waiting += transition.incident_id not in group.members
        group.members[transition.incident_id] = None

    def take_ready(self, lane: Lane, grouping: Grouping, now_ms: int) -> Sequence[str]:
        """Return the members of one group whose message may go now, at most MEMBERS_MAX; none when there is none."""
        found = self._lanes.get(lane)
        if found is None:
            return ()
        taken = found.take(now_ms, grouping.interval_ms)
        if not found.groups:
            del self._lanes[lane]
        return taken

    def dissolve(self, lane: Lane) -> list[str]:
        """Forget the groups of a lane that shares no messages any more; return who waited in them."""
        found = self._lanes.pop(lane, _Lane())
        return [each for group in found.groups.values() for each in group.members]

    def lanes(self) -> list[Lane]:
        """Return the lanes in which somebody waits."""
        return [lane for lane, found in self._lanes.items() if found.waiting]

    def ready_ms(self, lane: Lane) -> int | None:
        """Return when to look again for a message that may go, never too late; None when nobody waits for one."""
        found = self._lanes.get(lane)
        return found.due[0][0] if found and found.waiting else None

    def step_back(self, back_ms: int) -> None:
        """Move along with a clock that stepped back."""
        for found in self._lanes.values():
            found.due = [(ready_ms - back_ms, number, key) for ready_ms, number, key in found.due]
            for group in found.groups.values():
                group.ready_ms -= back_ms
