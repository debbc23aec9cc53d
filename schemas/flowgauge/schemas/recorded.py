"""What a recorded line says beside its event: when the log got it, and whose it is. Pure.

`replay`, `up --load` and rule tests read the same file, so all must take a line for the same.
"""

from datetime import datetime

from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import DEFAULT_TENANT
from flowgauge.schemas.times import millis

APPEND_MS_MAX = 7_258_118_400_000  # the year 2200: what ClickHouse keeps, and what can be printed

Moment = datetime | int  # as JSON holds it: an RFC 3339 time, or ms since 1970; digits in quotes are neither


def append_ms_of(append: Moment, name: str = "_append") -> int:
    """Return the ms of `_append`, or of what stands in for it.

    Raises InvalidEvent for a time without a zone, or out of bounds.
    """
    if isinstance(append, datetime) and append.tzinfo is None:
        raise InvalidEvent("wrong field", f"`{name}` has no zone")
    append_ms = append if isinstance(append, int) else millis(append)
    if not 0 <= append_ms <= APPEND_MS_MAX:
        raise InvalidEvent("wrong field", f"`{name}` {append_ms} is no time in ms since 1970")
    return append_ms


def tenant_of(tenant: str | None) -> str:
    """Return whose event it is: without a tenant, or with an empty one, the default tenant's."""
    return tenant or DEFAULT_TENANT
