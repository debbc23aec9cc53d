"""What 200 million and 2 billion events a day take: `python -m benchmarks.sizing [--write]`.

The unit costs of processes, Kafka and the wire are those of `scaling`; to them come the bytes that a month of events
took on disk. Pure but for its command; `--write` puts the tables into docs/sizing.md, and a test compares the two.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.document import print_or_write
from benchmarks.markdown import filled, table
from benchmarks.scaling import (
    BUSY_SHARE,
    DAY_S,
    REPLICATION,
    RETENTION_DAYS,
    Plan,
    Unit,
    as_bytes,
    cost,
    processes,
    walls,
)

DOCUMENT = Path(__file__).parents[1] / "docs" / "sizing.md"
EVENTS_A_DAY = (200_000_000, 2_000_000_000)
KEPT_DAYS = (30, 90, 400)
DISK_BYTES = 4e12  # of one replica, for the wall: what a common machine has
CLICKHOUSE_CORES = 2  # of one replica, for the wall: the machine of the measurements

KEPT = {
    "raw": Unit("a raw event", 62.5, "bytes", "`questions ask`: events, without the next two"),
    "text": Unit("its words in the text index", 10.16, "bytes", "`questions ask`: index ix_words"),
    "place": Unit("its place in the log", 1.07, "bytes", "`questions compare`: `_offset` as a log numbers"),
    "folded": Unit("rollups, runs, usage, failures", 2.0, "bytes an event", "`questions ask`: all other tables"),
}
STEADY = {
    "roles": Unit("all roles together", 102, "µs an event", "23.3 % of a core"),
    "broker": Unit("one broker", 57, "µs an event", "13.0 % of a core"),
    "clickhouse": Unit("ClickHouse and the tests' front", 129, "µs an event", "29.4 % of a core"),
}


def kept_bytes() -> float:
    """Return what an event takes on the disk of one replica of ClickHouse, with all that is made of it."""
    return sum(unit.value for unit in list(KEPT.values()))


def plan_of(events_a_day: int) -> Plan:
    """Return the plan for the mean of a day."""
    return Plan(round(events_a_day / DAY_S))


def disk_bytes(events_a_day: int, days: int) -> float:
    """Return the disk of one replica of ClickHouse for so many days."""
    return events_a_day * days * kept_bytes()


def first_walls() -> list[tuple[str, float]]:
    """Return at how many events a day something is full that one machine or process has, lowest first."""
    per_process = {
        "a gateway process is half busy": Plan(1).gateway_cores,
        "a sink process is half busy": Plan(1).sink_cores,
        f"inserts keep {CLICKHOUSE_CORES} cores of ClickHouse half busy": Plan(1).clickhouse_cores / CLICKHOUSE_CORES,
    }
    found = [(what, BUSY_SHARE / cores * DAY_S) for what, cores in per_process.items()]
    found += [
        (f"{days} days fill {as_bytes(DISK_BYTES)} of one replica of ClickHouse", DISK_BYTES / kept_bytes() / days)
        for days in KEPT_DAYS
    ]
    found += [(f"{what} (scaling)", float(rate * DAY_S)) for what, rate in walls()]
    return sorted(found, key=lambda wall: wall[1])


def tables() -> dict[str, str]:
    """Return the tables of the document by name, in Markdown."""
    return {
        "kept": _units(list(KEPT.values())),
        "steady": _units(list(STEADY.values())),
        "cores": _of_days(_CORES),
        "disk": _of_days(_DISK),
        "network": _of_days(_NETWORK),
        "walls": table(["wall", "events a day"], [[what, f"{rate / 1e6:,.0f} M"] for what, rate in first_walls()]),
    }


def written(document: str) -> str:
    """Return the document with the tables of now between its marks."""
    return filled(document, tables(), called="docs/sizing.md")


Row = tuple[str, Callable[[int], str]]


def _role(name: str, cores: Callable[[Plan], float]) -> Row:
    return name, lambda day: f"{cores(plan_of(day)):.2g} ({processes(cores(plan_of(day)))})"


_CORES: Sequence[Row] = (
    ("events a second", lambda day: f"{plan_of(day).rate:,}"),
    _role("gateway", lambda plan: plan.gateway_cores),
    _role("match", lambda plan: plan.matcher_cores),
    ("detect", lambda day: f"{plan_of(day).detector_cores:.2g} ({plan_of(day).detector_processes})"),
    _role("sink", lambda plan: plan.sink_cores),
    ("brokers together", lambda day: f"{plan_of(day).broker_cores:.2g}"),
    ("ClickHouse, inserts", lambda day: f"{plan_of(day).clickhouse_cores:.2g}"),
    *(
        (f"steady run: {unit.what}", lambda day, unit=unit: f"{plan_of(day).rate * unit.value / 1e6:.2g}")
        for unit in STEADY.values()
    ),
)
_DISK: Sequence[Row] = (
    ("ClickHouse, a day", lambda day: as_bytes(disk_bytes(day, 1))),
    *((f"ClickHouse, {days} days", lambda day, days=days: as_bytes(disk_bytes(day, days))) for days in KEPT_DAYS),
    (
        f"brokers together, {RETENTION_DAYS} days, {REPLICATION} replicas",
        lambda day: as_bytes(plan_of(day).kafka_disk_bytes),
    ),
)
_NETWORK: Sequence[Row] = (
    ("events as sent, lz4", lambda day: f"{as_bytes(plan_of(day).packed_bytes)}/s"),
    ("into all brokers, replicas included", lambda day: f"{as_bytes(plan_of(day).brokers_in_bytes)}/s"),
    ("out of all brokers", lambda day: f"{as_bytes(plan_of(day).brokers_out_bytes)}/s"),
    ("rows into ClickHouse, not packed", lambda day: f"{as_bytes(plan_of(day).rate * cost('event_bytes'))}/s"),
)


def _of_days(rows: Sequence[Row]) -> str:
    head = ["events a day", *(f"{day / 1e6:,.0f} M" for day in EVENTS_A_DAY)]
    return table(head, [[name, *map(tell, EVENTS_A_DAY)] for name, tell in rows])


def _units(units: Sequence[Unit]) -> str:
    rows = [[unit.what, f"{unit.value:g} {unit.unit}", unit.source] for unit in units]
    return table(["unit cost", "measured", "by"], rows)


def main() -> int:
    """Print the tables, or write them into the document."""
    return print_or_write(tables(), DOCUMENT, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
