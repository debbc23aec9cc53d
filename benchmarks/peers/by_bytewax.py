"""The job in Bytewax: `PYTHON by_bytewax.py BOOTSTRAP TOPIC LATENESS_S`, with a Python that has Bytewax and not us.

As its guide writes such a job, with a quick JSON decoder that looks at five fields, and windows that hold a run once
and take it in any order. Without a recovery store: what it has is lost when it ends. Prints one JSON object.
"""

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

WITHIN = timedelta(minutes=10)
HOP = timedelta(minutes=1)
SAMPLES_MIN = 5
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Ended = tuple[datetime, str, bool]  # when, which run, whether it failed
Told = tuple[int, bool] | None


class Event(msgspec.Struct, gc=False):
    """What the job looks at."""

    tenant: str
    flow: str
    run: str
    occurred: datetime
    state: str = ""


_decode = msgspec.json.Decoder(Event).decode


def ended(message: Any) -> tuple[str, Ended] | None:
    """Return a finished run under its flow; what has headers are flowgauge's own records."""
    if message.headers:
        return None
    event = _decode(message.value)
    if event.state not in {"completed", "failed"}:
        return None
    return f"{event.tenant}/{event.flow}", (event.occurred, event.run, event.state == "failed")


def add(runs: dict[str, bool], value: Ended) -> dict[str, bool]:
    """Take a run into a window, once."""
    runs[value[1]] = value[2]
    return runs


def joined(one: dict[str, bool], other: dict[str, bool]) -> dict[str, bool]:
    """Return the runs of two windows that became one."""
    return one | other


def occurred(value: Ended) -> datetime:
    """Return its event time."""
    return value[0]


def never(_at: datetime) -> None:
    """Close no window by the wall clock: what is read is a backlog."""


def crossing(fires: bool | None, window: tuple[int, Mapping[str, bool]]) -> tuple[bool, Told]:
    """Tell the end of a window at which the share crosses, either way."""
    number, runs = window
    is_above = sum(runs.values()) / len(runs) > 0.2
    if len(runs) < SAMPLES_MIN or is_above == bool(fires):
        return bool(fires), None
    return is_above, (int((number * HOP + WITHIN).total_seconds() * 1000), is_above)


def rss_mb_most() -> float:
    """Return the most memory that this process had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main(bootstrap: str, topic: str, lateness_s: str) -> None:
    """Read the topic to its end."""
    op: Any = import_module("bytewax.operators")  # not in our lock, so it has no types here
    windows: Any = import_module("bytewax.operators.windowing")
    kafka: Any = import_module("bytewax.connectors.kafka")
    testing: Any = import_module("bytewax.testing")
    dataflow: Any = import_module("bytewax.dataflow")
    told: list[tuple[str, Told]] = []
    flow = dataflow.Dataflow("failure_rate")
    source = kafka.KafkaSource([bootstrap], [topic], tail=False)
    runs = op.filter_map("ended", op.input("events", flow, source), ended)
    lateness = timedelta(seconds=int(lateness_s))
    clock = windows.EventClock(occurred, wait_for_system_duration=lateness, to_system_utc=never)
    windower = windows.SlidingWindower(length=WITHIN, offset=HOP, align_to=EPOCH)
    shares = windows.fold_window("share", runs, clock, windower, dict, add, joined, ordered=False)
    op.output("told", op.stateful_map("crossing", shares.down, crossing), testing.TestingSink(told))

    began = time.process_time()
    testing.run_main(flow)
    cpu_seconds = time.process_time() - began
    crossings = [(*key.split("/"), *at) for key, at in told if at is not None]
    spent = {"cpu_seconds": cpu_seconds, "rss_mb": rss_mb_most(), "crossings": crossings}
    print(msgspec.json.encode(spent).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
