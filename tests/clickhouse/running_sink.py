"""A log with one tenant's events, and a sink that runs over it."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import DELIVERIES, DLQ, EVENTS, TRANSITIONS
from flowgauge.sinks.clickhouse.batch import Limits
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Outgoing

PARTITIONS = {EVENTS: 2, TRANSITIONS: 1, DELIVERIES: 1, DLQ: 1}
FAST = Limits(age_max_ms=0, idle_age_max_ms=0, backoff_ms=1, backoff_max_ms=20)
NOW_MS = 1_795_000_000_000


@dataclass
class Tenant:
    """One test's own events: the engine is shared, the tenant is not."""

    log: LocalLog
    name: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:8]}")

    async def publish(self, count: int, **more: object) -> list[str]:
        """Append `count` events of runs r0, r1 … over both partitions; return their ids."""
        events = [self.event(n, **more) for n in range(count)]
        records = [Outgoing(n % 2, f"r{n}", value, append_ms=NOW_MS) for n, value in enumerate(events)]
        await self.log.append(EVENTS, records)
        return [msgspec.json.decode(value)["id"] for value in events]

    def event(self, n: int, **more: object) -> bytes:
        fields: dict[str, object] = {
            "id": str(uuid.uuid4()),
            "tenant": self.name,
            "occurred": rfc3339(NOW_MS - 3_600_000 * (n % 30)),
            "event": "run.failed",
            "kind": "flow-run",
            "flow": "orders",
            "run": f"r{n}",
            "state": "failed",
            "resource": {"id": f"r{n}"},
            "payload": {"message": "orders-db refused", "n": n, "deep": {"a": [1, None]}},
        }
        return msgspec.json.encode(fields | more)


@asynccontextmanager
async def new_log(path: Path) -> AsyncGenerator[LocalLog]:
    log = await open_local_log(path, partitions=PARTITIONS)
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def running_sink(log: LocalLog, writer: object, limits: Limits = FAST) -> AsyncGenerator[Health]:
    """Run the sink; stop it when the block ends."""
    stop, health = asyncio.Event(), Health(sink_behind=-1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_sink(log, writer, stop=stop, health=health, limits=limits))  # type: ignore[arg-type]  # tests wrap the store
        try:
            yield health
        finally:
            stop.set()


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110  # what is waited for is a plain record, written by the sink
        await asyncio.sleep(0.005)


async def stored(store: ClickHouseStore, tenant: str) -> tuple[int, int, int, int]:
    """Return rows, distinct positions, distinct ids, and runs in the rollup."""
    raw = await store.query(
        "SELECT count(), uniqExact(_partition, _offset), uniqExact(id) FROM flowgauge.events "
        "WHERE tenant = {tenant:String}",
        {"tenant": tenant},
        seen=EVERY_TENANT,
    )
    rollup = await store.query(
        "SELECT sum(n) FROM (SELECT uniqExactMerge(runs) AS n FROM flowgauge.run_ends_hourly "
        "WHERE tenant = {tenant:String} GROUP BY flow, hour, state)",
        {"tenant": tenant},
        seen=EVERY_TENANT,
    )
    rows, places, ids = (int(str(value)) for value in raw.rows[0])
    return rows, places, ids, int(str(rollup.rows[0][0]))
