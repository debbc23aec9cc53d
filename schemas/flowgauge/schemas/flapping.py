"""Flapping: an alert that opens and resolves again and again, so that people learn to pass it over. Pure.

    incidents of one rule and key    ├──┤   ├─┤ ├───┤      ├─┤                        ├──┤
    pauses                              3m    1m     9m             1h
    flaps                                   ▲   ▲          ▲
    flapping                                    ▲          ▲      the third in a row, and each flap that follows

A flap is an incident that fires within FLAP_MS of the end of the one before it: whoever was called for that is still at
it. FLAPPING_MIN in a row are flapping: a fault may come back once, and a third time says that the rule sits where the
value goes to and fro. It is told of the last of them, with those that opened within the day before it did, at most
FLAPS_MAX. An end because somebody changed or removed the rule says nothing of the value: what fires then is no flap.

What would have made them one incident is `keep_firing_for`, longer than the value ever was clear between two of them.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

FLAP_MS = 15 * 60_000
FLAPPING_MIN = 3
FLAPPING_SPAN_MS = 86_400_000
FLAPS_MAX = 1_000  # in a row that count: one a minute and a half of a day; more of them say no more
# What people write for `keep_firing_for`.
_LENGTHS_MS = tuple(minutes * 60_000 for minutes in (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 120, 240, 480, 1_440))


class Lived(NamedTuple):
    """An incident that fired. Times are ms since 1970; `cleared_ms` is when it last began to be clear.

    `cleared_ms` and `ended_ms` are 0 while it is open.
    """

    incident_id: str
    opened_ms: int
    fired_ms: int
    cleared_ms: int
    ended_ms: int
    by_edit: bool = False  # it ended because its rule was changed or removed


class Flapping(NamedTuple):
    """How an alert flaps: how many incidents, over which time, and how long the shortest that is over lasted."""

    incidents: int
    span_ms: int
    shortest_ms: int
    keep_firing_for_ms: int  # with which they would have been one


def flapping_among(incidents: Iterable[Lived], ids: Set[str]) -> dict[str, Flapping]:
    """Return by id how those of `ids` flap that do. `incidents` are all of one rule and key that were near them."""
    in_order = sorted(incidents, key=lambda each: (each.fired_ms, each.incident_id))
    rows = ((each.incident_id, list(_row(in_order, at))) for at, each in enumerate(in_order) if each.incident_id in ids)
    return {incident_id: _flapping(row) for incident_id, row in rows if len(row) >= FLAPPING_MIN}


def _flapping(row: Sequence[Lived]) -> Flapping:
    last, first = row[0], row[-1]
    clear_ms = max(after.opened_ms - before.cleared_ms for after, before in pairwise(row))
    return Flapping(
        incidents=len(row),
        span_ms=last.fired_ms - first.fired_ms,
        shortest_ms=min(each.ended_ms - each.fired_ms for each in row if each.ended_ms and not each.by_edit),
        keep_firing_for_ms=next((length for length in _LENGTHS_MS if length > clear_ms), _LENGTHS_MS[-1]),
    )


def _row(in_order: Sequence[Lived], at: int) -> Iterator[Lived]:
    """Yield the incident of this place, and those before it of a day as long as each is followed by a flap."""
    last = after = in_order[at]
    yield last
    for each in reversed(in_order[max(at + 1 - FLAPS_MAX, 0) : at]):
        is_followed = each.ended_ms > 0 and not each.by_edit and after.fired_ms - each.ended_ms <= FLAP_MS
        if not is_followed or last.opened_ms - each.opened_ms > FLAPPING_SPAN_MS:
            return
        yield each
        after = each
