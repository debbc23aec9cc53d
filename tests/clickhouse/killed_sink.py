"""A process to kill: appends events and stores them, all in one data folder; or finishes and prints the counts.

python killed_sink.py FOLDER load [URL]      until it is killed; prints "ready" when the sink stores rows
python killed_sink.py FOLDER finish [URL]    until all is stored; prints the audit as JSON

URL is that of a front; without it ClickHouse runs in this process.
"""

import asyncio
import json
import sys
import uuid
from pathlib import Path

import msgspec
from tests.clickhouse_front import Front

from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import DELIVERIES, DLQ, EVENTS, TRANSITIONS
from flowgauge.sinks.clickhouse.batch import Limits
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Outgoing
from flowgauge.transport.wall_clock import now_ms

PARTITIONS = {EVENTS: 2, TRANSITIONS: 1, DELIVERIES: 1, DLQ: 1}
BURST = 600
AHEAD_MAX = 8_000  # some batches: there is always one to insert, and what a kill leaves is soon stored
STATES = ("running", "completed", "failed")


async def main(folder: Path, what: str, url: str = "") -> None:
    log = await open_local_log(folder / "log", partitions=PARTITIONS)
    store = await asyncio.to_thread(open_store, folder, url)
    await asyncio.to_thread(store.apply_schema)
    stop, health = asyncio.Event(), Health(sink_behind=-1)
    limits = Limits(rows_max=2_000, age_max_ms=0, backoff_max_ms=200)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_sink(log, store, stop=stop, health=health, limits=limits))
        if what == "load":
            appended = 0
            while True:
                if max(health.sink_behind, appended - health.stored) >= AHEAD_MAX:
                    await asyncio.sleep(0.01)
                    continue
                await append(log)
                appended += BURST
                if health.stored:
                    print("ready", flush=True)
        while health.sink_behind:  # noqa: ASYNC110  # a plain record, written by the sink
            await asyncio.sleep(0.01)
        stop.set()
    print(json.dumps(await audit(log, store)), flush=True)
    await log.close()


def open_store(folder: Path, url: str) -> ClickHouseStore:
    if url:
        return ClickHouseStore.connect(Server(url, Front.user, Front.password))
    return ClickHouseStore.open(folder / "clickhouse")


async def append(log: LocalLog) -> None:
    """Append one burst of events over four days and both partitions."""
    at_ms, run = now_ms(), uuid.uuid4().hex
    times = [at_ms - 86_400_000 * (n % 4) for n in range(BURST)]
    records = [
        Outgoing(n % 2, run, event(f"{run}-{n // 3}", STATES[n % 3], occurred_ms))
        for n, occurred_ms in enumerate(times)
    ]
    await log.append(EVENTS, records)


def event(run: str, state: str, occurred_ms: int) -> bytes:
    return msgspec.json.encode(
        {
            "id": str(uuid.uuid4()),
            "tenant": "acme",
            "occurred": rfc3339(occurred_ms),
            "event": f"run.{state}",
            "kind": "flow-run",
            "flow": "orders",
            "run": run,
            "state": state,
            "resource": {"id": run},
            "payload": {"message": "orders-db refused the connection"},
        }
    )


async def audit(log: LocalLog, store: ClickHouseStore) -> dict[str, object]:
    """Count what the log holds and what the tables hold."""
    in_log, runs_in_log, ends_in_log = 0, set[str](), set[tuple[str, str, str]]()
    for partition in range(2):
        offset = 0
        while found := await log.read(EVENTS, partition, offset, 5_000):
            offset = found[-1].offset + 1
            for record in found:
                value = msgspec.json.decode(record.value or b"")
                in_log += 1
                runs_in_log.add(value["run"])
                if value["state"] != "running":
                    ends_in_log.add((value["run"], value["state"], value["occurred"][:13]))
    one = await store.query(
        "SELECT count(), uniqExact(_partition, _offset), "
        "(SELECT count() FROM flowgauge.runs_final WHERE tenant = 'acme'), "
        "(SELECT sum(n) FROM "
        "(SELECT uniqExactMerge(runs) AS n FROM flowgauge.run_ends_hourly GROUP BY flow, hour, state)) "
        "FROM flowgauge.events",
        seen=EVERY_TENANT,
    )
    rows, places, runs, ends = one.rows[0]
    return {
        "rows": rows,
        "places": places,
        "in_log": in_log,
        "runs": runs,
        "runs_in_log": len(runs_in_log),
        "ends": ends,
        "ends_in_log": len(ends_in_log),
    }


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
