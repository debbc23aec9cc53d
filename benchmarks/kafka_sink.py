"""The sink from a real broker into chDB with its views and merges, beside two that are written in an afternoon.

Same events, tables and engine, one after another; the tables are emptied between. The others batch and commit, and no
more: no check, no repeat after a crash, no dlq.

    sink            as it is
    client_insert   each record decoded, 25,000 rows at a time through the driver's `insert`
    per_poll        as a Kafka Connect sink: the records of each poll, of each partition, are one insert
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from benchmarks.batches import outgoing
from benchmarks.generator import RUN_EVERY_MS
from benchmarks.kafka import FILL_RECORDS, LOOK_S, PARTITIONS, started_broker, topics_log
from benchmarks.measure import Line, line_of
from flowgauge.schemas.event import Event, decode_event
from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse.batch import body_of
from flowgauge.sinks.clickhouse.client import open_engine
from flowgauge.sinks.clickhouse.rows import SPECS, row
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import KafkaLog
from flowgauge.transport.log import Batch, Committed, Outgoing, Record

TABLE = SPECS[0].table
WARM_EVENTS_MAX = 50_000  # read before any is counted: the engine's first insert in a process takes a second of CPU
CLIENT_ROWS = 25_000  # of one insert through the driver
CONNECT_RECORDS = 500  # max.poll.records of Kafka's consumer as it comes
SESSION_MS = 60_000  # the driver's `insert` keeps the interpreter to itself for seconds
POLL_RECORDS = 2_000  # as the sink polls
PLACES = "SELECT uniqExact(_partition, _offset) FROM flowgauge.events"
FILLED = """
    SELECT name FROM system.tables
    WHERE database = 'flowgauge' AND engine LIKE '%MergeTree' AND name != 'schema_versions'
"""
COLUMNS = (
    *("id", "tenant", "occurred", "event", "kind", "flow", "run", "task", "state", "scheduled_for", "resource"),
    *("related", "payload", "follows", "_log", "_partition", "_offset", "_append"),
)


def bench_kafka_sink(events: int) -> Line:
    """Events that stand in Kafka → rows and rollups, by the sink and by two simple ones."""
    with (
        started_broker() as bootstrap,
        tempfile.TemporaryDirectory(prefix="flowgauge-bench-", ignore_cleanup_errors=True) as folder,
    ):
        return asyncio.run(_bench(bootstrap, Path(folder), events))


async def _bench(bootstrap: str, folder: Path, events: int) -> Line:
    store = ClickHouseStore.open(folder)
    store.apply_schema()
    warm_events = min(WARM_EVENTS_MAX, events)
    async with topics_log(bootstrap, session_ms=SESSION_MS) as (log, _):
        starts = outgoing(events, PARTITIONS)
        records = outgoing(warm_events + events, PARTITIONS, RUN_EVERY_MS)
        await _fill(log, records[:warm_events])
        first = await _spent(store, warm_events, lambda: _sink(log, store, warm_events))
        await _fill(log, records[warm_events:])
        del records
        gc.collect()
        gc.freeze()  # as `run_as_process` does
        ours = await _spent(store, events, lambda: _sink(log, store, events))
        await _fill(log, starts)
        of_starts = await _spent(store, events, lambda: _sink(log, store, events))
        del starts
        both = warm_events + 2 * events
        inserted = await _spent(store, both, lambda: _client_insert(log, folder, both))
        per_poll = await _spent(store, both, lambda: _per_poll(log, store, both))
    store.close()
    return line_of("kafka-sink", events, ours[0]).noting(
        wall_seconds=ours[1],
        starts_per_cpu_second=events / of_starts[0],
        first_us_per_event=first[0] * 1e6 / warm_events,
        client_insert_per_cpu_second=both / inserted[0],
        client_insert_wall_seconds=inserted[1],
        per_poll_per_cpu_second=both / per_poll[0],
        per_poll_wall_seconds=per_poll[1],
    )


async def _fill(log: KafkaLog, records: Sequence[Outgoing]) -> None:
    for start in range(0, len(records), FILL_RECORDS):
        await log.append(EVENTS, records[start : start + FILL_RECORDS])


async def _spent(store: ClickHouseStore, events: int, work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Return CPU and wall seconds of `work`; the tables hold all afterwards, and nothing when this returns."""
    began, cpu_began = time.monotonic(), time.process_time()
    await work()
    spent = time.process_time() - cpu_began, time.monotonic() - began
    count = (await store.query(PLACES, seen=EVERY_TENANT)).rows[0][0]
    assert count == events, f"{count} rows of {events} events"
    for (name,) in (await store.query(FILLED, seen=EVERY_TENANT)).rows:
        await store.command(f"TRUNCATE TABLE flowgauge.{name}", {})
    return spent


async def _sink(log: KafkaLog, store: ClickHouseStore, events: int) -> None:
    stop, health = asyncio.Event(), Health()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_sink(log, store, stop=stop, health=health, specs=SPECS[:1]))
        while health.stored < events:  # noqa: ASYNC110  # health is plain numbers, nothing to wait on
            await asyncio.sleep(LOOK_S / 10)
        stop.set()


async def _client_insert(log: KafkaLog, folder: Path, events: int) -> None:
    client = cast("Any", open_engine(folder))
    rows: list[Sequence[object]] = []
    noted: dict[int, Committed] = {}
    reader = await log.open_reader(EVENTS, "benchmark-client")
    seen = 0
    while seen < events:
        for batch in _batches(await reader.poll(records_max=POLL_RECORDS, timeout_ms=250)):
            rows += [_decoded(record, batch.partition) for record in batch.records if record.value]
            noted[batch.partition] = Committed(batch.next_offset)
        if len(rows) >= CLIENT_ROWS or seen + len(rows) == events:
            await asyncio.to_thread(client.insert, TABLE, rows, column_names=COLUMNS)
            await reader.commit(noted)
            seen += len(rows)
            rows, noted = [], {}
    await reader.close()


async def _per_poll(log: KafkaLog, store: ClickHouseStore, events: int) -> None:
    reader = await log.open_reader(EVENTS, "benchmark-connect")
    seen = 0
    while seen < events:
        for batch in _batches(await reader.poll(records_max=CONNECT_RECORDS, timeout_ms=250)):
            rows = [
                row(
                    record.value or b"{}",
                    log_id="connect",
                    partition=batch.partition,
                    offset=record.offset,
                    append_ms=record.append_ms,
                )
                for record in batch.records
            ]
            await store.insert(TABLE, body_of(rows), f"connect-{batch.partition}-{batch.next_offset}")
            await reader.commit({batch.partition: Committed(batch.next_offset)})
            seen += len(rows)
    await reader.close()


def _batches(polled: Sequence[object]) -> list[Batch]:
    return [item for item in polled if isinstance(item, Batch)]


def _decoded(record: Record, partition: int) -> Sequence[object]:
    event: Event = decode_event(record.value or b"{}")
    append = datetime.fromtimestamp(record.append_ms / 1000, UTC)
    return (
        *(str(event.id), event.tenant, event.occurred, event.event, event.kind, event.flow or "", event.run or ""),
        *(event.task or "", event.state or "", event.scheduled_for, event.resource, list(event.related)),
        *(msgspec.json.encode(event.payload).decode(), event.follows, "client", partition, record.offset, append),
    )
