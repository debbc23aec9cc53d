"""What people did, as the notifier goes by it: silences, acts on incidents, and what is to be sent again.

    flowgauge.controls ──► ControlBook ──► take ──► the outboxes: conclude, look after, replay, ask again

Everything is applied to an outbox when it is restored, and again as it comes; each method of the outbox changes nothing
the second time, so no position is kept. Nothing is sent before all that the log held at the start is read.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from flowgauge.schemas.control import Acknowledged, Control, Merged, Replayed, ResolvedByHand, Silenced, SilenceExpired
from flowgauge.schemas.controls_in_force import ControlsInForce
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.outbox import Outbox
from flowgauge.sinks.webhooks.policy import Hidden

REPLAYS_MAX = 1_000  # asked for and remembered for an outbox that is restored later; the oldest go


@dataclass(slots=True)
class People:
    """The controls of one notifier. `in_force` is the book's."""

    in_force: ControlsInForce
    _fresh: list[Control] = field(default_factory=list[Control])
    _replays: deque[Replayed] = field(default_factory=lambda: deque[Replayed](maxlen=REPLAYS_MAX))

    def take(self, control: Control) -> None:
        """Take in a control that the book has read."""
        self._fresh.append(control)

    def hidden(self, transition: Transition, now_ms: int) -> Hidden | None:
        """Return until when an incident is silenced; None where it is told."""
        found = self.in_force.silences.silenced_until_ms(transition, now_ms)
        return Hidden(*found) if found else None

    def concluded(self, transition: Transition) -> str:
        """Return who ended an incident by hand, or of which it is part; "" when nobody did."""
        handling = self.in_force.handling(transition.tenant, transition.incident_id)
        if handling.resolved:
            return _why_resolved(handling.resolved)
        return f"merged into {handling.part_of}" if handling.part_of else ""

    def is_looked_after(self, transition: Transition) -> bool:
        """Tell whether somebody acknowledged an incident."""
        return self.in_force.handling(transition.tenant, transition.incident_id).acknowledged is not None

    def apply_all(self, outbox: Outbox, now_ms: int) -> None:
        """Bring an outbox that was restored to what people said meanwhile."""
        outbox.ask_again(now_ms)
        for transition in outbox.open_incidents():
            handling = self.in_force.handling(transition.tenant, transition.incident_id)
            for act in handling.acts:
                _apply(outbox, act, now_ms)
        for replayed in self._replays:
            _apply(outbox, replayed, now_ms)

    def apply_fresh(self, outboxes: Iterable[Outbox], now_ms: int) -> bool:
        """Let the outboxes know what came since the last time; tell whether something is to be sent again."""
        fresh, self._fresh = self._fresh, []
        self._replays.extend(each for each in fresh if isinstance(each, Replayed))
        is_about_silences = any(isinstance(each, Silenced | SilenceExpired) for each in fresh)
        for outbox in outboxes:
            if is_about_silences:  # once: it looks at everything
                outbox.ask_again(now_ms)
            for control in fresh:
                _apply(outbox, control, now_ms)
        return any(isinstance(each, Replayed) for each in fresh)


def _apply(outbox: Outbox, control: Control, now_ms: int) -> None:
    match control:
        case Acknowledged():
            outbox.look_after(control.incident_id)
        case ResolvedByHand():
            outbox.conclude(control.incident_id, _why_resolved(control), at_ms=control.at_ms, now_ms=now_ms)
        case Merged():
            outbox.conclude(control.incident_id, f"merged into {control.into}", at_ms=control.at_ms, now_ms=now_ms)
        case Replayed():
            _replay(outbox, control, now_ms)
        case _:
            pass


def _replay(outbox: Outbox, asked: Replayed, now_ms: int) -> None:
    ids = [asked.delivery_id] if asked.delivery_id else list(_since(outbox, asked))
    for delivery_id in ids:
        letter = outbox.letters.get(delivery_id)
        if letter and asked.tenant in {"*", letter.transition.tenant}:
            outbox.replay(delivery_id, asked_ms=asked.at_ms, now_ms=now_ms)


def _since(outbox: Outbox, asked: Replayed) -> Iterable[str]:
    return outbox.letters.since(asked.since_ms, asked.at_ms, asked.channel, asked.tenant)


def _why_resolved(act: ResolvedByHand) -> str:
    return f"resolved by {act.by}" + (f": {act.reason}" if act.reason else "")
