"""What connectors inside other people's processes say an event with: times in UTC, short texts. Pure."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias

from flowgauge.producers.run_scope import MESSAGE_CHARS_MAX, as_text

EventJson: TypeAlias = dict[str, object]  # an event as `Publisher.emit` takes it

# The namespace of connectors' ids, of which the orchestrator is the first part: random, fixed.
CONNECTORS: Final = uuid.UUID("3f1d7a0e-5b0c-4c55-9a43-0c7f3d1f6b9e")


def utc(moment: datetime | None) -> datetime | None:
    """Return a time in UTC as Python's own type, whatever subclass came; a naive one counts as UTC."""
    if moment is None:
        return None
    zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return datetime.combine(zoned.date(), zoned.timetz())


def text(value: object) -> str:
    """Return `value` as a text of at most MESSAGE_CHARS_MAX; its type's name where it cannot be read."""
    return as_text(value, MESSAGE_CHARS_MAX)


def without_empty(event: Mapping[str, object]) -> EventJson:
    """Return an event without the fields that say nothing."""
    return {name: value for name, value in event.items() if value is not None and value not in ("", {}, [])}
