"""What connectors inside other people's processes say an event with: stable ids, times in UTC, short texts. Pure.

An id is made of what identifies the event there. So whoever tells it again, another process or the same one after a
crash, tells the same event, and no answer changes.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from flowgauge.producers.run_scope import MESSAGE_CHARS_MAX, as_text

TAGS_MAX = 80  # an event has room for 100 related things

# The names under which ids are made: random but fixed.
_NAMESPACE: Final = uuid.UUID("3f1d7a0e-5b0c-4c55-9a43-0c7f3d1f6b9e")
_encode = msgspec.json.Encoder().encode


def stable_id(orchestrator: str, *parts: str | int) -> str:
    """Return the id of the event that `parts` identify within an orchestrator; the same for the same parts."""
    return str(uuid.uuid5(_NAMESPACE, _encode((orchestrator, *parts)).decode()))


def utc(moment: datetime | None) -> datetime | None:
    """Return a time in UTC as Python's own type, whatever subclass came; a naive one counts as UTC."""
    if moment is None:
        return None
    zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return datetime.combine(zoned.date(), zoned.timetz())


def text(value: object) -> str:
    """Return `value` as a text of at most MESSAGE_CHARS_MAX; its type's name where it cannot be read."""
    return as_text(value, MESSAGE_CHARS_MAX)


def without_empty(event: Mapping[str, object]) -> dict[str, object]:
    """Return an event without the fields that say nothing."""
    return {name: value for name, value in event.items() if value is not None and value not in ("", {}, [])}
