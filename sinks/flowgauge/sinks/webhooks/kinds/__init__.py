"""The kinds of channel, one file each: how a service is told, what it takes, and what its answers mean.

A new kind is a file here and a line in KINDS; `kind` says what it must have.
"""

from flowgauge.sinks.webhooks.kinds.kind import ChannelKind
from flowgauge.sinks.webhooks.kinds.webhook import Webhook

KINDS: dict[str, type[ChannelKind]] = {"webhook": Webhook}
