"""The job that the engines are compared on: its events and, in plain Python, its right answer.

    share of failed among finished runs of a (tenant, flow) over the last 10 minutes, in event time, up to 60 s late,
    with at least 5 samples: tell when it crosses 20 %, either way

Events are those of `benchmarks.generator`, only of runs: one in six ends a run. One in 200 is sent twice, one in 20
comes up to 30 s after the others. So every event is admitted by the 60 s, in whatever order partitions are read.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from benchmarks.generator import made_events
from flowgauge.schemas.times import parse_time_ms

SEED = 20_261_129
RUN_EVENTS = 6
RUN_EVERY_MS = 259  # 2 million events a day
WITHIN_MS = 600_000
LATENESS_MS = 60_000
SAMPLES_MIN = 5
SENT_TWICE_EACH = 200
DELAYED_EACH = 20
DELAY_MS_MAX = 30_000

Crossing = tuple[str, str, int, bool]  # tenant, flow, end of the window in ms, whether it fires or resolves


class JobEvent(NamedTuple):
    """One event as it reaches the log."""

    append_ms: int
    number: int  # of equal append times the earlier made comes first
    run: str
    place: str  # tenant and flow
    value: bytes


class _Seen(msgspec.Struct, gc=False):
    tenant: str
    flow: str
    run: str
    occurred: str
    state: str


_decode = msgspec.json.Decoder(_Seen).decode


def job_events(count: int, start_ms: int) -> list[JobEvent]:
    """Return `count` events and what is sent twice of them, in append order; equal arguments give equal bytes."""
    draw = random.Random(SEED)
    events: list[JobEvent] = []
    for made in made_events(count, start_ms=start_ms, run_every_ms=RUN_EVERY_MS, only_runs=True):
        seen = _decode(made.value)
        delay_ms = draw.randrange(DELAY_MS_MAX) if draw.randrange(DELAYED_EACH) == 0 else 0
        for _ in range(2 if draw.randrange(SENT_TWICE_EACH) == 0 else 1):
            place = f"{seen.tenant}/{seen.flow}"
            events.append(JobEvent(made.append_ms + delay_ms, len(events), made.run, place, made.value))
            delay_ms = draw.randrange(DELAY_MS_MAX)
    return sorted(events)


def right_crossings(events: Iterable[JobEvent], hop_ms: int) -> set[Crossing]:
    """Return every crossing of windows that end each `hop_ms`; slow and plain on purpose."""
    found: set[Crossing] = set()
    for (tenant, flow), ended in _ended(events).items():
        fires = False
        in_order = sorted(ended.values())
        first_ms, last_ms = in_order[0][0], in_order[-1][0]
        begin = end = 0
        for end_ms in range(first_ms // hop_ms * hop_ms + hop_ms, last_ms + WITHIN_MS + hop_ms, hop_ms):
            while end < len(in_order) and in_order[end][0] < end_ms:
                end += 1
            while begin < end and in_order[begin][0] < end_ms - WITHIN_MS:
                begin += 1
            is_above = _is_above(in_order[begin:end])
            if is_above is not None and is_above != fires:
                fires = is_above
                found.add((tenant, flow, end_ms, fires))
    return found


def _ended(events: Iterable[JobEvent]) -> Mapping[tuple[str, str], Mapping[str, tuple[int, bool]]]:
    """Return when each run of a flow ended and whether it failed."""
    ended: dict[tuple[str, str], dict[str, tuple[int, bool]]] = defaultdict(dict)
    for event in events:
        if b'"state":"failed"' in event.value or b'"state":"completed"' in event.value:
            seen = _decode(event.value)
            ended[seen.tenant, seen.flow][seen.run] = (parse_time_ms(seen.occurred), seen.state == "failed")
    return ended


def _is_above(ended: Sequence[tuple[int, bool]]) -> bool | None:
    """Tell whether more than a fifth failed; None where too few ended to tell."""
    if len(ended) < SAMPLES_MIN:
        return None
    return 5 * sum(failed for _, failed in ended) > len(ended)
