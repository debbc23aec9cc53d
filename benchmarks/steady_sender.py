"""Sends generated events to a gateway at a steady rate: `python -m benchmarks.steady_sender URL RATE SECONDS FILE`.

The generated day is joined in its middle, so that the mix of events is the usual one from the first second. What is due
goes out every BODY_MS; a gateway that is slow for a while gets larger bodies. FILE gets a JSON line for each body that
is acknowledged.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec

from benchmarks.batches import EVENTS_PER_BODY, without_tenant
from benchmarks.generator import EVENTS_PER_RUN, Made, made_events
from flowgauge.transport.wall_clock import now_ms

BODY_MS = 100
RUN_LASTS_MS = 150_000  # shorter than usual: what is before the middle is made too
RAMP_MS = RUN_LASTS_MS + 90_000  # until runs end as often as they begin
SKIPPED_PER_S = 25_000  # of the events before the middle
FAILED = b'"event":"prefect.flow-run.Failed"'
ID = slice(len('{"id":"'), len('{"id":"') + 36)


class Body(msgspec.Struct):
    """A body that the gateway acknowledged."""

    acked_ms: int
    events: int
    last: str  # event id
    failed: list[str]  # ids of the events of failed runs


def live(rate: int) -> tuple[Made, Iterator[Made]]:
    """Return the first event, which is due soon, and those after it: about `rate` a second."""
    run_every_ms, ahead_ms = max(EVENTS_PER_RUN * 1_000 // rate, 1), RAMP_MS * rate // SKIPPED_PER_S
    while True:
        begin_ms = now_ms() + ahead_ms
        events = made_events(
            sys.maxsize,
            start_ms=begin_ms - RAMP_MS,
            run_every_ms=run_every_ms,
            from_ms=begin_ms,
            run_lasts_ms=RUN_LASTS_MS,
        )
        first = next(events)
        if first.append_ms > now_ms():
            return first, events
        ahead_ms *= 2  # the machine is busy: it would have to catch up


def send(url: str, rate: int, seconds: float, file: Path) -> None:
    """Say when the first event is due, then post until `seconds` later."""
    first, events = live(rate)
    print("ready", flush=True)
    end_ms = first.append_ms + int(seconds * 1_000)
    headers = {"Content-Type": "application/x-ndjson"}
    with (
        httpx2.Client(base_url=url, timeout=60, headers=headers, trust_env=False) as client,
        file.open("wb") as out,
    ):
        while first.append_ms < end_ms:
            time.sleep(max(first.append_ms + BODY_MS - now_ms(), 0) / 1_000)
            due, first = _due(first, events)
            for start in range(0, len(due), EVENTS_PER_BODY):
                body = _posted(client, due[start : start + EVENTS_PER_BODY])
                out.write(msgspec.json.encode(body) + b"\n")


def _due(first: Made, events: Iterator[Made]) -> tuple[list[Made], Made]:
    """Return what is due by now, and the one after it."""
    until_ms, due = now_ms(), [first]
    for made in events:
        if made.append_ms > until_ms:
            return due, made
        due.append(made)
    raise AssertionError("the generator ends")


def _posted(client: httpx2.Client, events: list[Made]) -> Body:
    values = [made.value for made in events]
    answer = client.post("/v1/events", content=b"\n".join(map(without_tenant, values))).raise_for_status()
    acked_ms = now_ms()
    accepted = answer.json()["accepted"]
    if accepted != len(values):
        sys.exit(f"{accepted} of {len(values)} events accepted")
    failed = [value[ID].decode() for value in values if FAILED in value]
    return Body(acked_ms, len(values), values[-1][ID].decode(), failed)


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
