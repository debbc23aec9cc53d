"""The places that a lane can lead to: channels, and actions. What applies now, whole."""

from dataclasses import dataclass, field, replace

from flowgauge.schemas.lane import action_of
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.actions.action import Action, ActionBook
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.policy import Lane, LinePolicy, policy_of_unknown

POLICIES_KEPT = 10_000  # made anew beyond: they are asked for with each attempt

Place = Channel | Action


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Channels, routes and actions that apply together. Compared by identity: a change is a new one."""

    channels: ChannelBook = field(default_factory=ChannelBook)
    actions: ActionBook = field(default_factory=ActionBook)
    run_actions: bool = True  # by the settings
    commands: frozenset[str] = frozenset()  # programs that actions may start here, by absolute path
    _policies: dict[Lane, LinePolicy] = field(init=False, repr=False, default_factory=dict[Lane, LinePolicy])

    def find(self, lane: Lane) -> Place | None:
        """Return where a lane leads; None where nobody defined it."""
        tenant, name = lane
        action = action_of(name)
        return self.channels.find(tenant, name) if action is None else self.actions.find(tenant, action)

    def policy(self, lane: Lane) -> LinePolicy:
        """Return how its lines are told."""
        policy = self._policies.get(lane)
        if policy is None:
            place = self.find(lane)
            policy = replace(place.policy, endpoint=place.kind.endpoint) if place else policy_of_unknown(lane)
            if len(self._policies) >= POLICIES_KEPT:
                self._policies.clear()
            self._policies[lane] = policy
        return policy

    def endpoint(self, lane: Lane) -> str:
        """Return what fails together with it; "" where nobody defined it."""
        place = self.find(lane)
        return place.kind.endpoint if place else ""

    def routed(self, transition: Transition) -> tuple[str, ...]:
        """Return the channels that hear of an incident by its routes."""
        return self.channels.routed(transition)
