"""The gateway and the publisher: events over HTTP on loopback, the two ends in two processes."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import msgspec

from benchmarks.batches import bodies, live_events
from benchmarks.measure import Line, Steps, line_of
from benchmarks.sockets import gateway_process
from flowgauge.producers.publisher import Publisher

EMIT_AT_ONCE = 10_000  # below the publisher's buffer: it is measured, not overrun
FLUSH_MS = 60_000
_decode = msgspec.json.Decoder(dict[str, object]).decode


def bench_gateway(events: int) -> Line:
    """NDJSON batches; CPU of the gateway's process only: HTTP, canonical, append with SQLite."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder, gateway_process(Path(folder)) as url:
        cpu_seconds, posted = post_all(url, events)
    return line_of("gateway", events, cpu_seconds).noting(body_events=events / posted)


def post_all(url: str, events: int) -> tuple[float, int]:
    """Post `events` to the gateway at `url`; return its CPU seconds and how many bodies it got."""
    prepared = bodies(events)
    headers = {"Content-Type": "application/x-ndjson"}
    with httpx2.Client(base_url=url, timeout=30, headers=headers, trust_env=False) as client:
        before = cpu_of(client)
        accepted = sum(_accepted(client.post("/v1/events", content=body)) for body in prepared)
        cpu_seconds = cpu_of(client) - before
    assert accepted == events, f"{accepted} of {events} events accepted"
    return cpu_seconds, len(prepared)


def cpu_of(client: httpx2.Client) -> float:
    """Return the CPU seconds of the gateway that `client` asks."""
    seconds: float = client.get("/cpu").raise_for_status().json()
    return seconds


def bench_publisher(events: int) -> Line:
    """`emit` is what the caller's thread spends; the rest is the publisher's own thread: gzip, HTTP, answers."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder, gateway_process(Path(folder)) as url:
        return publish_all("publisher", Publisher(url), events)


def bench_publisher_spool(events: int) -> Line:
    """Do the same with a spool, which is not needed: the gateway answers."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder, gateway_process(Path(folder)) as url:
        return publish_all("publisher-spool", Publisher(url, spool=Path(folder) / "spool"), events)


def publish_all(name: str, publisher: Publisher, events: int) -> Line:
    """Emit `events` in parts that the buffer holds, each flushed; close the publisher; return both shares."""
    said = [_without_stamp(value) for _, value in live_events(events)]
    whole, emits = Steps(), Steps(time.thread_time)
    with whole.step("whole"):
        for start in range(0, events, EMIT_AT_ONCE):
            with emits.step("emit"):
                _emit(publisher, said[start : start + EMIT_AT_ONCE])
            assert publisher.flush(FLUSH_MS)
    publisher.close()
    assert publisher.sent == events, f"{publisher.sent} of {events} events sent, {publisher.refused} refused"
    cpu_seconds, emit = whole.spent["whole"], emits.spent["emit"]
    return line_of(name, events, cpu_seconds, {"emit": emit, "send": cpu_seconds - emit})


def _emit(publisher: Publisher, said: Sequence[dict[str, object]]) -> None:
    for event in said:
        publisher.emit(event)


def _without_stamp(value: bytes) -> dict[str, object]:
    event = _decode(value)
    del event["id"], event["occurred"], event["tenant"]
    return event


def _accepted(answer: httpx2.Response) -> int:
    accepted: int = answer.raise_for_status().json()["accepted"]
    return accepted
