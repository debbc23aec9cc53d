"""Groups: incidents of one lane that share messages, and when the next message may go. Pure.

    idle ──a member comes──► waits `wait_ms` ──the message goes──► nothing for `interval_ms` ──► idle, or the next

Kept in memory only: after a restart the first message of a group goes after its wait.
"""

from dataclasses import dataclass, field
from itertools import islice

from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.policy import Grouping, Lane

MEMBERS_MAX = 2_000  # incidents in one message: what is committed with it stays some megabytes
FORGOTTEN_MAX = 100  # idle groups at a time: far more than become so


@dataclass(slots=True)
class _Group:
    ready_ms: int
    members: dict[str, None] = field(default_factory=dict[str, None])  # incident ids, in the order of coming


_Key = tuple[str, ...]


@dataclass(slots=True)
class _OfLane:
    waiting: dict[_Key, _Group] = field(default_factory=dict[_Key, _Group])  # those with members
    quiet_until_ms: dict[_Key, int] = field(default_factory=dict[_Key, int])  # the others, after a message

    def forget_idle(self, now_ms: int) -> None:
        for key, until_ms in list(islice(self.quiet_until_ms.items(), FORGOTTEN_MAX)):
            if until_ms > now_ms:  # and so are those that follow: they are in the order of their messages
                break
            del self.quiet_until_ms[key]


@dataclass(slots=True)
class Groups:
    """The groups of all lanes."""

    _lanes: dict[Lane, _OfLane] = field(default_factory=dict[Lane, _OfLane])

    def add(self, lane: Lane, grouping: Grouping, transition: Transition, now_ms: int) -> None:
        """Let an incident wait for the next message of its group."""
        groups = self._lanes.setdefault(lane, _OfLane())
        key = grouping.key_of(transition)
        group = groups.waiting.get(key)
        if group is None:
            quiet_until_ms = groups.quiet_until_ms.pop(key, 0)
            ready_ms = quiet_until_ms if quiet_until_ms > now_ms else now_ms + grouping.wait_ms
            group = groups.waiting[key] = _Group(ready_ms)
        group.members[transition.incident_id] = None

    def take_ready(self, lane: Lane, grouping: Grouping, now_ms: int) -> list[str]:
        """Return the members of one group whose message may go now, at most MEMBERS_MAX; [] when there is none."""
        groups = self._lanes.get(lane)
        if groups is None:
            return []
        groups.forget_idle(now_ms)
        for key, group in groups.waiting.items():
            if group.ready_ms > now_ms:
                continue
            taken = list(group.members)[:MEMBERS_MAX]
            for incident_id in taken:
                del group.members[incident_id]
            group.ready_ms = now_ms + grouping.interval_ms
            if not group.members:
                del groups.waiting[key]
                groups.quiet_until_ms[key] = group.ready_ms
            return taken
        if not (groups.waiting or groups.quiet_until_ms):
            del self._lanes[lane]
        return []

    def dissolve(self, lane: Lane) -> list[str]:
        """Forget the groups of a lane that shares no messages any more; return who waited in them."""
        groups = self._lanes.pop(lane, _OfLane())
        return [each for group in groups.waiting.values() for each in group.members]

    def lanes(self) -> list[Lane]:
        """Return the lanes in which somebody waits."""
        return [lane for lane, groups in self._lanes.items() if groups.waiting]

    def ready_ms(self, lane: Lane) -> int | None:
        """Return when the next message of the lane may go; None when nobody waits for one."""
        groups = self._lanes.get(lane)
        return min((group.ready_ms for group in groups.waiting.values()), default=None) if groups else None

    def step_back(self, back_ms: int) -> None:
        """Move along with a clock that stepped back."""
        for groups in self._lanes.values():
            for group in groups.waiting.values():
                group.ready_ms -= back_ms
            for key in groups.quiet_until_ms:
                groups.quiet_until_ms[key] -= back_ms
