"""How channels are: what the notifier says in health, each tenant's under its name. Pure.

a message waits after a failure   a problem until it is delivered or dead; it follows from the stored outbox alone
a message was given up            a problem until its channel takes another, channels change or a restart
"""

from collections.abc import Iterable, Mapping

from flowgauge.schemas.delivery import Delivery
from flowgauge.sinks.webhooks.outbox import Backlog, Lane
from flowgauge.sinks.webhooks.schedule import GONE, NO_CHANNEL, NO_SECRET
from flowgauge.transport.health import Health, TenantHealth

REMEDIES = {
    NO_CHANNEL: "define it under `channels:`, or take it out of `notify:` for the next ones",
    NO_SECRET: "set the variable or the file that its `secret:` names",
    GONE: "change its `url:`, or take it out of `notify:`",
}


class ChannelHealth:
    """Writes the notifier's part of Health."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._given_up: dict[Lane, str] = {}  # why a channel's newest message was

    def note(self, records: Iterable[Delivery]) -> None:
        """Take in what became of deliveries."""
        for record in records:
            lane = record.tenant, record.channel
            if record.outcome == "dead":
                self._given_up[lane] = record.reason
            elif record.outcome == "delivered":
                self._given_up.pop(lane, None)

    def forget_given_up(self) -> None:
        """Channels changed: what was given up before is no sign of how they are."""
        self._given_up.clear()

    def tell(self, backlogs: Mapping[Lane, Backlog]) -> None:
        """Write what is owed and which channels are in trouble."""
        self._health.undelivered, self._health.undelivered_since_ms = _owed(backlogs.values())
        for tenant in {tenant for tenant, _ in (*backlogs, *self._given_up)} | self._health.tenants.keys():
            own = {channel: backlog for (name, channel), backlog in backlogs.items() if name == tenant}
            lost = {channel: reason for (name, channel), reason in self._given_up.items() if name == tenant}
            _write(self._health.of(tenant), own, lost)


def _write(share: TenantHealth, backlogs: Mapping[str, Backlog], given_up: Mapping[str, str]) -> None:
    share.undelivered, share.undelivered_since_ms = _owed(backlogs.values())
    lines = {channel: _line("a message was given up", reason) for channel, reason in given_up.items()}
    for channel, backlog in backlogs.items():
        if backlog.waiting:
            count = "a message waits" if backlog.waiting == 1 else f"{backlog.waiting} messages wait"
            lines[channel] = _line(f"{count} to be tried again", backlog.reason)
    share.problems = {f"channel {channel}": line for channel, line in lines.items()}


def _line(what: str, reason: str) -> str:
    return f"{what}: {reason}" + (f" ({REMEDIES[reason]})" if reason in REMEDIES else "")


def _owed(backlogs: Iterable[Backlog]) -> tuple[int, int]:
    found = list(backlogs)
    return sum(each.count for each in found), min((each.since_ms for each in found), default=0)
