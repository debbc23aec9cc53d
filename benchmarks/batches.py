"""Generated events in the forms in which they come into flowgauge, ending at the present so that none is too old."""

from collections.abc import Iterator, Sequence

from benchmarks.generator import EVENTS_PER_RUN, made_events
from flowgauge.schemas.ids import events_partition
from flowgauge.transport.log import Outgoing
from flowgauge.transport.wall_clock import now_ms

EVENTS_PER_BODY = 1_000  # of one HTTP request: half of what our own publisher sends at most
LIVE_RUN_EVERY_MS = 12  # 10,000 events a second of event time: what is sent lies in the last seconds


def live_events(count: int, run_every_ms: int = LIVE_RUN_EVERY_MS) -> Iterator[tuple[str, bytes]]:
    """Yield (run, event) of a busy time that lies shortly before now.

    It begins with the starts of runs, which rules see more of: the longer `run_every_ms`, the smaller that part.
    """
    span_ms = count * run_every_ms // EVENTS_PER_RUN
    for made in made_events(count, start_ms=now_ms() - span_ms, run_every_ms=run_every_ms):
        yield made.run, made.value


def outgoing(count: int, partitions: int = 1, run_every_ms: int = LIVE_RUN_EVERY_MS) -> Sequence[Outgoing]:
    """Return events as the gateway appends them."""
    events = live_events(count, run_every_ms)
    return [Outgoing(events_partition(run, partitions), run, value) for run, value in events]


def bodies(count: int) -> Sequence[bytes]:
    """Return events as NDJSON bodies of EVENTS_PER_BODY, as our own senders write them."""
    values = [without_tenant(value) for _, value in live_events(count)]
    return [b"\n".join(values[at : at + EVENTS_PER_BODY]) for at in range(0, count, EVENTS_PER_BODY)]


def without_tenant(value: bytes) -> bytes:
    """Return an event as it is sent: the gateway knows the tenant by the token."""
    before, _, rest = value.partition(b'"tenant":')
    return before + rest.partition(b",")[2]
