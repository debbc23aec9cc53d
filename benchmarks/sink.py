"""The sink: from the local log through `check` into chDB, with its engine, views and merges, in this process."""

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.batches import outgoing
from benchmarks.generator import RUN_EVERY_MS
from benchmarks.measure import Line, line_of
from benchmarks.threads import cpu_by_thread
from flowgauge.schemas.topics import DELIVERIES, DLQ, EVENTS, TRANSITIONS
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log

APPEND_RECORDS = 5_000
TOPICS: dict[str, int] = dict.fromkeys((EVENTS, TRANSITIONS, DELIVERIES, DLQ), 1)
DISK_BYTES = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'flowgauge'"
THREADS = {
    "MainThread": "read, check, rows",
    "flowgauge-log": "log",
    "asyncio": "log",
    "clickhouse": "insert",
}


def bench_sink(events: int) -> Line:
    """Everything after the append, until each row is in ClickHouse."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_bench(Path(folder), events))


async def _bench(folder: Path, events: int) -> Line:
    log = await open_local_log(folder, partitions=TOPICS)
    await _append_all(log, events)
    store = ClickHouseStore.open(folder / "clickhouse")
    store.apply_schema()
    before, began = cpu_by_thread(THREADS), time.process_time()
    await _store_all(log, store, events)
    after, cpu_seconds = cpu_by_thread(THREADS), time.process_time() - began
    count = (await store.query("SELECT count() FROM flowgauge.events", seen=EVERY_TENANT)).rows[0][0]
    assert count == events, f"{count} rows of {events} events"
    disk_bytes = float(str((await store.query(DISK_BYTES, seen=EVERY_TENANT)).rows[0][0]))
    store.close()
    await log.close()
    line = line_of("sink", events, cpu_seconds, {step: after[step] - before[step] for step in after})
    return line.noting(disk_bytes_per_row=disk_bytes / events)


async def _append_all(log: LocalLog, events: int) -> None:
    records = outgoing(events, run_every_ms=RUN_EVERY_MS)  # gone when this returns: a sink carries none of them
    for start in range(0, events, APPEND_RECORDS):
        await log.append(EVENTS, records[start : start + APPEND_RECORDS])


async def _store_all(log: LocalLog, store: ClickHouseStore, events: int) -> None:
    stop, health = asyncio.Event(), Health()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_sink(log, store, stop=stop, health=health))
        while health.stored < events:  # noqa: ASYNC110  # health is plain numbers, nothing to wait on
            await asyncio.sleep(0.02)
        stop.set()
