"""Windows: the newest rows of many are looked for near the newest time first, then in ever longer times. Pure."""

from collections.abc import Iterator

WINDOW_GROWS = 16  # each look costs some ten milliseconds


def windows(since_ms: int, newest_ms: int, first_ms: int) -> Iterator[int]:
    """Yield beginnings of the time in which rows are looked for, the last one `since_ms`.

    The first window is about `first_ms` long and ends at `newest_ms`. All but the last begin with a whole minute.
    """
    length_ms = first_ms
    while newest_ms - length_ms > since_ms:
        begin_ms = (newest_ms - length_ms) // 60_000 * 60_000
        yield max(begin_ms, since_ms)
        if begin_ms <= since_ms:
            return
        length_ms *= WINDOW_GROWS
    yield since_ms
