"""Sends generated events to a gateway: `python -m benchmarks.sender URL EVENTS`. Begins at a line on standard input."""

import sys

import httpx2

from benchmarks.batches import bodies


def send(url: str, events: int) -> None:
    """Make the bodies, say so, wait for a line, post them one after the other."""
    prepared = bodies(events)
    print("ready", flush=True)
    sys.stdin.readline()
    headers = {"Content-Type": "application/x-ndjson"}
    with httpx2.Client(base_url=url, timeout=60, headers=headers, trust_env=False) as client:
        accepted = sum(
            client.post("/v1/events", content=body).raise_for_status().json()["accepted"] for body in prepared
        )
    if accepted != events:
        sys.exit(f"{accepted} of {events} events accepted")


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]))
