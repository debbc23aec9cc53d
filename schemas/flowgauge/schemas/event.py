"""The event: one thing that happened to a run, a task, a log, a worker or an asset.

On the wire it is one JSON object of at most `EVENT_BYTES_MAX` bytes. There are two decoders: `Event` reads
everything, `Glance` only what decides whether a rule could care, which is all the matcher reads of most events.
Read `check` next: it says when bytes are an event.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import msgspec

EVENT_BYTES_MAX = 1_048_576  # 1 MiB: what the log accepts as one record
EVENT_NAME_MAX = 1_024
DEFAULT_TENANT = "default"  # whose events they are when no tenant is configured or recorded
LABELS_MAX = 500
RELATED_MAX = 100
NAME_MAX = 1_024  # flow, run, task and tenant: long enough for any orchestrator's names
OCCURRED_PAST_MAX_MS = 400 * 86_400_000
OCCURRED_AHEAD_MAX_MS = 86_400_000

Kind = Literal["flow-run", "task-run", "log", "worker", "asset", "other"]
State = Literal[
    "scheduled",
    "late",
    "pending",
    "running",
    "retrying",
    "paused",
    "cancelling",
    "completed",
    "failed",
    "crashed",
    "cancelled",
]
KINDS: tuple[str, ...] = get_args(Kind)
STATES: tuple[str, ...] = get_args(State)
TERMINAL_STATES = frozenset({"completed", "failed", "crashed", "cancelled"})

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_MAX)]
Labels = Annotated[dict[str, str], msgspec.Meta(max_length=LABELS_MAX)]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Everything an event says. `extra` holds top-level fields that flowgauge does not know.

    `history`: told by somebody who looked back, such as an import. It is stored for questions, and no rule sees it.
    """

    id: UUID
    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
    occurred: Time
    event: Annotated[str, msgspec.Meta(min_length=1, max_length=EVENT_NAME_MAX)]
    kind: Kind = "other"
    flow: Name | None = None
    run: Name | None = None
    task: Name | None = None
    state: State | None = None
    scheduled_for: Time | None = None
    resource: Labels
    related: Annotated[list[Labels], msgspec.Meta(max_length=RELATED_MAX)] = []
    payload: dict[str, Any] = {}
    follows: UUID | None = None
    history: bool = False
    extra: dict[str, Any] = {}


class Glance(msgspec.Struct, frozen=True, gc=False):
    """What the matcher's index looks at. It checks nothing: an event that matches is read again by `check`."""

    event: str = ""
    tenant: str = ""
    kind: str = "other"
    state: str | None = None


EVENT_FIELDS: frozenset[str] = frozenset(Event.__struct_fields__)
decode_event = msgspec.json.Decoder(Event).decode
decode_glance = msgspec.json.Decoder(Glance).decode
encode_event = msgspec.json.Encoder().encode


def partition_key(event: Event) -> str:
    """Return what keeps related events in one partition and so in order: the run, else the resource."""
    return event.run or event.resource["id"]
