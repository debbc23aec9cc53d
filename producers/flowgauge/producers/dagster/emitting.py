"""Puts what a tick tells into the publisher's buffer. Imports no Dagster."""

from collections.abc import Mapping, Sequence
from typing import Final

from flowgauge.producers.publisher import Publisher

FLUSH_MS_MAX: Final = 5_000  # how long a tick waits for an answer


def emitted(publisher: Publisher, events: Sequence[Mapping[str, object]]) -> bool:
    """Put events into the buffer, waiting for an answer where it is full; return False when one found no room then."""
    return all(
        _taken(publisher, event) or (publisher.flush(FLUSH_MS_MAX) and _taken(publisher, event)) for event in events
    )


def _taken(publisher: Publisher, event: Mapping[str, object]) -> bool:
    """Return whether there was room; an event that is none for good is said and counted by the publisher."""
    dropped = publisher.dropped
    return publisher.emit(event) or publisher.dropped == dropped
