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
_Members = dict[str, None]  # incident ids, in the order of coming


@dataclass(slots=True)
class _Lane:
    """The groups of one lane. Each stands once in `due`, by when its next message may go and in the order of coming."""

    groups: dict[_Key, _Members] = field(default_factory=dict[_Key, _Members])
    due: list[tuple[int, int, _Key]] = field(default_factory=list[tuple[int, int, _Key]])
    waiting: int = 0  # incidents
    came: int = 0  # entries of `due` there ever were

    def push(self, key: _Key, ready_ms: int) -> None:
        self.came += 1
        heapq.heappush(self.due, (ready_ms, self.came, key))

    def take(self, now_ms: int, interval_ms: int) -> Sequence[str]:
        """Return members of the first group that is ready and has any; forget those before it."""
        while self.due and self.due[0][0] <= now_ms:
            key = heapq.heappop(self.due)[2]
            members = self.groups[key]
            if not members:
                del self.groups[key]
                continue
            taken = list(members)[:MEMBERS_MAX]
            for incident_id in taken:
                del members[incident_id]
            self.waiting -= len(taken)
            self.push(key, now_ms + interval_ms)
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
        members = found.groups.get(key)
        if members is None:
            members = found.groups[key] = {}
            found.push(key, now_ms + grouping.wait_ms)
        found.waiting += transition.incident_id not in members
        members[transition.incident_id] = None

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
        return [each for members in found.groups.values() for each in members]

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
