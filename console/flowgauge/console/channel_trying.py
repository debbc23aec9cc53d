"""Trying a channel: the made-up incident is told to it, and then its end. Never raises for what the channel does."""

from collections.abc import Callable
from typing import Literal

from flowgauge.console.channel_trial import trial_end, trial_firing, trial_send
from flowgauge.sinks.webhooks.attempt import Sender
from flowgauge.sinks.webhooks.channels import Channel
from flowgauge.sinks.webhooks.schedule import Verdict

Told = Literal["firing", "resolved"]
Severity = Literal["info", "warning", "error", "critical"]


async def try_channel(
    sender: Sender,
    channel: Channel,
    tenant: str,
    *,
    severity: Severity,
    resolve: bool,
    say: Callable[[Told, Verdict], None] = lambda _told, _verdict: None,
) -> list[tuple[Told, Verdict]]:
    """Tell the firing and, where it arrived and `resolve` asks for it, the end; return what came of each."""
    firing = trial_firing(channel, tenant, severity=severity, now_ms=sender.now_ms())
    told: list[tuple[Told, Verdict]] = []
    first = await sender.attempt(channel, trial_send(channel, firing))
    told.append(("firing", first))
    say(*told[-1])
    if resolve and first.outcome == "delivered":
        end = trial_send(channel, trial_end(firing, sender.now_ms()), first.reference)
        told.append(("resolved", await sender.attempt(channel, end)))
        say(*told[-1])
    return told
