"""The kinds of action, one file each: what it does to what, and what the answers mean.

A new kind is a file here and a line in KINDS; `action_kind` says what it must have.
"""

from flowgauge.sinks.webhooks.actions.action_kind import ActionKind
from flowgauge.sinks.webhooks.actions.command import Command
from flowgauge.sinks.webhooks.actions.http import HttpCall
from flowgauge.sinks.webhooks.actions.prefect import PrefectCall

KINDS: dict[str, type[ActionKind]] = {"http": HttpCall, "prefect": PrefectCall, "command": Command}
