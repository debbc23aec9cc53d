"""Groups: incidents of one lane that share messages, and when the next message may go. Pure.

    idle ──a member comes──► waits `wait_ms` ──the message goes──► nothing for `interval_ms` ──► idle, or the next

Kept in memory only: after a restart the first message of a group goes after its wait.
"""

from dataclasses import dataclass, field

from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.policy import Grouping, Lane

MEMBERS_MAX = 2_000  # incidents in one message: what is committed with it stays some megabytes


@dataclass(slots=True)
class _Group:
    ready_ms: int
    members: dict[str, None] = field(default_factory=dict[str, None])  # incident ids, in the order of coming


@dataclass(slots=True)
class Groups:
    """The groups of all lanes."""

    _lanes: dict[Lane, dict[tuple[str, ...], _Group]] = field(
        default_factory=dict[Lane, "dict[tuple[str, ...], _Group]"]
    )

    def add(self, lane: Lane, grouping: Grouping, transition: Transition, now_ms: int) -> None:
        """Let an incident wait for the next message of its group."""
        groups = self._lanes.setdefault(lane, {})
        key = grouping.key_of(transition)
        group = groups.get(key) or groups.setdefault(key, _Group(now_ms + grouping.wait_ms))
        group.members[transition.incident_id] = None

    def take_ready(self, lane: Lane, grouping: Grouping, now_ms: int) -> list[str]:
        """Return the members of one group whose message may go now, at most MEMBERS_MAX; [] when there is none."""
        groups = self._lanes.get(lane, {})
        for key, group in list(groups.items()):
            if group.ready_ms > now_ms:
                continue
            if not group.members:
                del groups[key]
                continue
            taken = list(group.members)[:MEMBERS_MAX]
            for incident_id in taken:
                del group.members[incident_id]
            group.ready_ms = now_ms + grouping.interval_ms
            return taken
        if not groups:
            self._lanes.pop(lane, None)
        return []

    def lanes(self) -> list[Lane]:
        """Return the lanes in which somebody waits."""
        return [lane for lane, groups in self._lanes.items() if any(group.members for group in groups.values())]

    def ready_ms(self, lane: Lane) -> int | None:
        """Return when the next message of the lane may go; None when nobody waits for one."""
        return min((group.ready_ms for group in self._lanes.get(lane, {}).values() if group.members), default=None)

    def step_back(self, back_ms: int) -> None:
        """Move along with a clock that stepped back."""
        for groups in self._lanes.values():
            for group in groups.values():
                group.ready_ms -= back_ms
