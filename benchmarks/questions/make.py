"""Make the month: events some thousand runs at a time, their incidents, and what is told of runs folded and merged."""

import asyncio
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

from benchmarks.measure import Line, line_of
from benchmarks.questions.month import EVENTS_A_RUN, insert, run_bounds
from flowgauge.sinks.clickhouse.client import Client, open_engine
from flowgauge.sinks.clickhouse.folding import fold
from flowgauge.sinks.clickhouse.store import ClickHouseStore

_OF_RUNS: Final = ("runs", "runs_folded", "run_ends_hourly")
RUNS_AT_ONCE: Final = 5_000  # one insert of a million events: below 4 GB
_HAS: Final = (
    f"SELECT intDiv(_offset, {RUNS_AT_ONCE * EVENTS_A_RUN}) AS batch, count() FROM flowgauge.events "
    "WHERE _log = 'month' GROUP BY batch"
)
_FORGET: Final = (
    "DELETE FROM flowgauge.events WHERE _log = 'month' AND _offset >= {first:UInt64} AND _offset < {end:UInt64}"
)


def make(folder: Path, events: int, say: Callable[[str], None]) -> Line | None:
    """Make the first `events` events, whole runs of them, in the tables of `folder`; what is there stays.

    Returns what making took, None when all were there. An insert that was cut is taken out and made again: runs and
    rollups fold twice to the same. Blocks.
    """
    _with_store(folder, ClickHouseStore.apply_schema)
    client = open_engine(folder)
    runs = -(-events // EVENTS_A_RUN)
    began = time.process_time()
    made = sum(_make_batch(client, first, runs, say) for first in _missing(client, runs))
    _make_incidents(client)
    client.close()
    _with_store(folder, lambda store: asyncio.run(fold(store, every_ms=0, seen_after_ms=0)))
    _merge(folder)
    return line_of("questions-make", made * EVENTS_A_RUN, time.process_time() - began) if made else None


def _with_store(folder: Path, work: Callable[[ClickHouseStore], object]) -> None:
    store = ClickHouseStore.open(folder)
    try:
        work(store)
    finally:
        store.close()


def _missing(client: Client, runs: int) -> list[int]:
    """Return the first run of each batch that is not whole, having taken out what there is of it."""
    has = {int(str(batch)): int(str(count)) for batch, count in client.query(_HAS).result_rows}
    missing: list[int] = []
    for first in range(0, runs, RUNS_AT_ONCE):
        count = has.get(first // RUNS_AT_ONCE, 0)
        if count >= min(RUNS_AT_ONCE, runs - first) * EVENTS_A_RUN:
            continue
        if count:
            end = first + RUNS_AT_ONCE
            client.command(_FORGET, parameters={"first": first * EVENTS_A_RUN, "end": end * EVENTS_A_RUN})
        missing.append(first)
    return missing


def _make_batch(client: Client, first: int, runs: int, say: Callable[[str], None]) -> int:
    """Make up to RUNS_AT_ONCE runs; return how many."""
    count = min(RUNS_AT_ONCE, runs - first)
    settings: dict[str, object] = {"max_threads": 1, "max_insert_threads": 1}
    client.command(insert(), parameters=run_bounds(first, count), settings=settings)
    say(f"{first + count:,} of {runs:,} runs")
    return count


def _merge(folder: Path) -> None:
    """Merge what is told of runs to a part a month, as the engine does in time."""
    client = open_engine(folder)
    for table in _OF_RUNS:
        client.command(f"OPTIMIZE TABLE flowgauge.{table} FINAL", settings={"optimize_skip_merged_partitions": 1})
    client.close()


def _make_incidents(client: Client) -> None:
    if not client.query("SELECT 1 FROM flowgauge.transitions WHERE _log = 'month' LIMIT 1").result_rows:
        for name in ("incidents.sql", "deliveries.sql"):
            client.command((files("benchmarks.questions") / name).read_text("utf-8"))
