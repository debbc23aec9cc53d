"""What goes out, and what is made durable before it does. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.policy import Lane
from flowgauge.sinks.webhooks.schedule import Verdict

# What comes of telling this lane of this without an attempt; None: it can be told.
Refusal = Callable[[Lane, Transition], Verdict | None]


@dataclass(frozen=True, slots=True)
class Member:
    """What one incident has in an attempt."""

    transition: Transition
    attempt: int
    delivery_id: str
    reference: str = ""  # by which the channel knows what it was told of this incident

    @property
    def incident_id(self) -> str:
        """Whose it is."""
        return self.transition.incident_id


@dataclass(frozen=True, slots=True)
class Send:
    """One attempt that goes out now: of one incident, or of those that share a message."""

    channel: str
    members: tuple[Member, ...]
    is_replay: bool = False
    room: str = field(default="", repr=False)  # whose share of the attempts that are out it takes

    @property
    def delivery_id(self) -> str:
        """The id under which it goes out, the same for every attempt of one incident."""
        return self.members[0].delivery_id

    @property
    def lane(self) -> Lane:
        """Where it goes."""
        return self.members[0].transition.tenant, self.channel

    @property
    def incident_id(self) -> str:
        """Whose it is, or its first member's."""
        return self.members[0].incident_id

    @property
    def transition(self) -> Transition:
        """What it tells, or its first member does."""
        return self.members[0].transition

    @property
    def attempt(self) -> int:
        """Which one it is of its first member."""
        return self.members[0].attempt


@dataclass(frozen=True, slots=True)
class Changes:
    """What one step makes durable together; a state of None deletes."""

    state: Mapping[str, bytes | None]
    records: tuple[Delivery, ...]
    of_actions: tuple[tuple[Delivery, Transition], ...] = ()  # those of the records that are about actions
