"""How channels are: what the notifier says in health, each tenant's under its name. Pure.

a message waits after a failure   a problem until it is delivered or dead; it follows from the stored outbox alone
a message was given up            a problem until its channel takes another, channels change or a restart
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from flowgauge.schemas.delivery import Delivery
from flowgauge.sinks.webhooks.addresses import WORTH_OPENING
from flowgauge.sinks.webhooks.backlog import Backlog
from flowgauge.sinks.webhooks.circuit import DISABLED
from flowgauge.sinks.webhooks.kinds.apprise_service import NOT_INSTALLED, NOT_OPENED
from flowgauge.sinks.webhooks.kinds.smtp_replies import LOGIN_NEEDED, LOGIN_REFUSED, NO_LOGIN, NO_STARTTLS
from flowgauge.sinks.webhooks.policy import Lane
from flowgauge.sinks.webhooks.schedule import GONE, NO_CHANNEL, NO_SECRET
from flowgauge.transport.health import Health, TenantHealth

OPEN_IT = "open it by `egress.allow`: `flowgauge webhooks check-address` says how"
REMEDIES = {
    NO_CHANNEL: "define it under `channels:`, or take it out of `notify:` for the next ones",
    NO_SECRET: "set the variable or the file that its `secret:` names",
    DISABLED: "mend the endpoint, then change its `url:` or restart the notifier",
    GONE: "change its `url:`, or take it out of `notify:`",
    LOGIN_NEEDED: "write its `user:` and `password:`",
    LOGIN_REFUSED: "correct its `user:`, or the password that its `password:` names",
    NOT_INSTALLED: "install it: pip install 'flowgauge[apprise]'",
    NOT_OPENED: "write `egress.apprise = true` in the settings, once docs/channels.md was read",
    NO_LOGIN: "leave out its `user:` and `password:`, or name a server with PLAIN, LOGIN or CRAM-MD5",
    NO_STARTTLS: "write `tls: tls` with its port, or `tls: none` where egress.allow opens the server",
    **dict.fromkeys((reason.refusal for reason in sorted(WORTH_OPENING)), OPEN_IT),
}

_T = TypeVar("_T")


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
        owed, given_up = _by_tenant(backlogs), _by_tenant(self._given_up)
        for tenant in owed.keys() | given_up.keys() | self._health.tenants.keys():
            _write(self._health.of(tenant), owed.get(tenant, {}), given_up.get(tenant, {}))


def _by_tenant(lanes: Mapping[Lane, _T]) -> dict[str, dict[str, _T]]:
    found: dict[str, dict[str, _T]] = {}
    for (tenant, channel), value in lanes.items():
        found.setdefault(tenant, {})[channel] = value
    return found


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
