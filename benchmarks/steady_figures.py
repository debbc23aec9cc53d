"""The figures of a steady run: shares of CPU, memory and its slope, latencies. Pure."""

import bisect
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowgauge.schemas.topics import EVENTS

WARM_S = 30.0  # of the run, left out of shares and latencies
SETTLED_S = 120.0  # from when on memory should be flat
INTO_EVENTS = "INSERT INTO flowgauge.events "


@dataclass(frozen=True, slots=True)
class Insert:
    """An insert of events that ClickHouse has done: the offsets [start, end) of a partition."""

    partition: int
    start: int
    end: int
    done_ms: int


@dataclass(slots=True)
class Looks:
    """What was seen while the sender sent, look by look."""

    seconds: list[float] = field(default_factory=list[float])  # since the first event was accepted
    resident: list[dict[str, int]] = field(default_factory=list[dict[str, int]])  # bytes by process
    cpu: list[dict[str, float]] = field(default_factory=list[dict[str, float]])  # seconds by process
    inserts: list[Insert] = field(default_factory=list[Insert])


class StoredAt:
    """When each event was a row."""

    def __init__(self, inserts: Iterable[Insert]) -> None:
        self._inserts: dict[int, list[Insert]] = defaultdict(list)
        for each in sorted(inserts, key=lambda each: each.end):
            self._inserts[each.partition].append(each)

    def at_ms(self, partition: int, offset: int) -> int:
        """Return the end of the insert with the event at `offset`. Raises IndexError when there was none."""
        inserts = self._inserts[partition]
        return inserts[bisect.bisect_right(inserts, offset, key=lambda each: each.end)].done_ms


def inserts_in(statements: Iterable[Mapping[str, Any]]) -> list[Insert]:
    """Return the inserts of events among what ClickHouse's front has seen; their tokens name the records."""
    found: list[Insert] = []
    for each in statements:
        token = each["parameters"].get("insert_deduplication_token", "")
        if each["done_ms"] and f"-{EVENTS}-" in token and each["statement"].startswith(INTO_EVENTS):
            partition, start, end = map(int, token.rsplit("-", 3)[1:])
            found.append(Insert(partition, start, end, each["done_ms"]))
    return found


def warm_s(seconds: float) -> float:
    """Return how much of a run of `seconds` is left out at its begin."""
    return min(WARM_S, seconds / 4)


def cost_of(looks: Looks, name: str) -> dict[str, float]:
    """Return the CPU share of a process once warm, its memory when it should be flat and at the end, and its slope.

    Takes three looks at least.
    """
    length, last = looks.seconds[-1], len(looks.seconds) - 2
    warm = min(bisect.bisect_left(looks.seconds, warm_s(length)), last)
    settled = min(bisect.bisect_left(looks.seconds, min(SETTLED_S, length / 2)), last)
    spent = looks.cpu[-1][name] - looks.cpu[warm][name]
    megabytes = [each[name] / 1e6 for each in looks.resident]
    slope = statistics.linear_regression(looks.seconds[settled:], megabytes[settled:]).slope
    return {
        "cpu_percent": round(spent / (length - looks.seconds[warm]) * 100, 2),
        "settled_s": round(looks.seconds[settled]),
        "rss_mb_settled": round(megabytes[settled], 1),
        "rss_mb_end": round(megabytes[-1], 1),
        "rss_mb_per_minute": round(slope * 60, 3),
    }


def spread(found_ms: Sequence[int]) -> dict[str, float]:
    """Return how many there are, and their median, 99th percentile and maximum where there are two at least."""
    if len(found_ms) < 2:
        return {"count": len(found_ms)}
    cuts = statistics.quantiles(found_ms, n=100, method="inclusive")
    return {"count": len(found_ms), "p50_ms": round(cuts[49]), "p99_ms": round(cuts[98]), "max_ms": max(found_ms)}
