"""How a channel is told: when again, together with what, and who instead. Pure.

The outbox asks for the policy of a lane each time, so a change of channels applies to what already waits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from flowgauge.schemas.lane import action_of
from flowgauge.schemas.silencing import value_of
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.schedule import RetryClass

Lane = tuple[str, str]  # tenant and channel name: what leads to one endpoint


@dataclass(frozen=True, slots=True)
class Grouping:
    """Incidents that share the values of `by` share messages: the first after a wait, then one in each interval."""

    by: tuple[str, ...] = ()  # rule, severity, or names of the key or of labels; (): all of the channel
    wait_ms: int = 1_000
    interval_ms: int = 15_000

    def key_of(self, transition: Transition) -> tuple[str, ...]:
        """Return what the incident shares messages by."""
        return tuple(value_of(transition, name) for name in self.by)


@dataclass(frozen=True, slots=True)
class LinePolicy:
    """How the lines of one lane are told."""

    retry: RetryClass = "page"  # what nobody defined yet is looked for often
    is_repeatable: bool = True  # else an attempt of unknown outcome is not made again
    fallback: str = ""  # the channel that is told when this one was not reached
    fallback_after_ms: int = 0
    repeat_ms: int = 0  # what still fires is told again so long after it was told; 0: never
    group: Grouping | None = None
    endpoint: str = field(default="", repr=False)  # what answers slowly or not at all together; it may hold a secret


def policy_of_unknown(lane: Lane) -> LinePolicy:
    """Return the policy of a lane that leads nowhere (yet)."""
    return LinePolicy(is_repeatable=action_of(lane[1]) is None)


@dataclass(frozen=True, slots=True)
class Hidden:
    """An incident is hidden from channels."""

    until_ms: int
    by: str  # which silence


def _nothing_hides(_transition: Transition, _now_ms: int) -> Hidden | None:
    return None


def _nothing_is_concluded(_transition: Transition) -> str:
    return ""


def _nobody_looks_after(_transition: Transition) -> bool:
    return False


def _no_routes(_transition: Transition) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Ways:
    """What the outbox asks about the world around it."""

    policy: Callable[[Lane], LinePolicy] = policy_of_unknown
    hidden: Callable[[Transition, int], Hidden | None] = _nothing_hides
    concluded: Callable[[Transition], str] = _nothing_is_concluded  # why a person ended the incident; "": nobody did
    looked_after: Callable[[Transition], bool] = _nobody_looks_after  # whether somebody acknowledged the incident
    routed: Callable[[Transition], tuple[str, ...]] = _no_routes  # channels besides those that the rule names
