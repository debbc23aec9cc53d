"""The wall clock, read by shells only; detection never reads it."""

import time


def now_ms() -> int:
    """Return the milliseconds since 1970 by this machine's clock. It may step back."""
    return time.time_ns() // 1_000_000  # noqa: TID251  # this is the one place
