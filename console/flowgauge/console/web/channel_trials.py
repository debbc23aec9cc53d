"""Channels over HTTP: which there are and how they stand, and a message that is marked as a test to one of them.

They are read where they are told from: `flowgauge up`. On Kafka that is `flowgauge notify`, beside which the commands
`flowgauge channels list` and `test` say the same.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypedDict

import msgspec

from flowgauge.console.channel_trial import verdict_remedy
from flowgauge.console.channel_trying import Severity, Told, try_channel
from flowgauge.console.web.metric_operations import TENANT
from flowgauge.console.web.openapi import Content, Operation, Parameter
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.webhooks.attempt import Sender
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.schedule import Verdict
from flowgauge.transport.health import Health

CHANNELS: Final = "/v1/channels"
TRIAL: Final = "/v1/channels/{name}/test"
TRIAL_BYTES_MAX = 1_024


class TryChannel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How grave the made-up incident is, and whether its end is told too."""

    severity: Severity = "info"
    resolve: bool = True


class ChannelTold(TypedDict):
    """A channel, without its addresses and secrets."""

    name: str
    tenant: str
    kind: str
    fallback: str
    delivery_failures: bool
    trouble: str


class ChannelList(TypedDict):
    """The channels that tell of a tenant's incidents."""

    tenant: str
    rows: list[ChannelTold]


class TrialStep(TypedDict):
    """What came of one message."""

    state: Told
    outcome: str
    reason: str
    remedy: str
    status: int
    elapsed_ms: int


class TrialTold(TypedDict):
    """What came of a trial."""

    tenant: str
    channel: str
    is_delivered: bool
    steps: list[TrialStep]


class ChannelTrials:
    """The channels in force here, and the way to them. One trial goes out at a time."""

    def __init__(self, channels: Callable[[], ChannelBook], sender: Sender, health: Health) -> None:
        self._channels = channels
        self._sender = sender
        self._health = health
        self._trying = asyncio.Lock()

    def told(self, tenant: str) -> ChannelList:
        """Return the channels of `tenant`, and those of everybody that it has none of its own for."""
        book = self._channels()
        problems = self._health.seen_by(tenant, is_operator=False).problems
        names = sorted({each.name for each in book.channels if each.tenant in {tenant, ANY_TENANT}})
        found = [channel for name in names if (channel := book.find(tenant, name))]
        return {"tenant": tenant, "rows": [_told(each, problems.get(f"channel {each.name}", "")) for each in found]}

    def find(self, tenant: str, name: str) -> Channel | None:
        """Return the channel that `tenant`'s rules call `name`."""
        return self._channels().find(tenant, name)

    async def attempt(self, tenant: str, channel: Channel, asked: TryChannel) -> TrialTold:
        """Send the made-up incident and its end, and return what came of it."""
        async with self._trying:
            steps = await try_channel(self._sender, channel, tenant, severity=asked.severity, resolve=asked.resolve)
        return {
            "tenant": tenant,
            "channel": channel.name,
            "is_delivered": all(verdict.outcome == "delivered" for _, verdict in steps),
            "steps": [_step(state, verdict) for state, verdict in steps],
        }


def read_trial(body: bytes) -> TryChannel:
    """Return what a body asks for; raise BadInput for what it cannot."""
    try:
        return msgspec.json.decode(body or b"{}", type=TryChannel)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f'the body, such as {{"severity":"info"}}: {error}') from None


def _told(channel: Channel, trouble: str) -> ChannelTold:
    return {
        "name": channel.name,
        "tenant": channel.tenant,
        "kind": channel.kind_name,
        "fallback": channel.fallback,
        "delivery_failures": channel.delivery_failures,
        "trouble": trouble,
    }


def _step(state: Told, verdict: Verdict) -> TrialStep:
    return {
        "state": state,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "remedy": verdict_remedy(verdict),
        "status": verdict.status,
        "elapsed_ms": verdict.elapsed_ms,
    }


CHANNEL_OPERATIONS = (
    Operation(
        method="GET",
        path=CHANNELS,
        title="The channels that tell of a tenant's incidents, and what trouble there is with them",
        about="Where channels are told from: `flowgauge up`. Never with an address or a secret.",
        parameters=(TENANT,),
        answer=ChannelList,
        refusals=(400, 401, 403),
    ),
    Operation(
        method="POST",
        path=TRIAL,
        title="Send a channel a message that is marked as a test, and its end",
        about="It is answered once the channel has: within half a minute. A channel of all tenants is the operator's.",
        parameters=(Parameter(name="name", about="The channel's", example="data-oncall"), TENANT),
        body={"application/json": Content(TryChannel, {"severity": "info", "resolve": True})},
        answer=TrialTold,
        refusals=(400, 401, 403, 404, 413, 415),
    ),
)
