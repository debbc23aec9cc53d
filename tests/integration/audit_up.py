"""Audit a data folder that no process holds: print what log and ClickHouse say of each other, as JSON.

Run as `python -m tests.integration.audit_up DATA PARTITIONS`. The transitions are computed again from the events topic
alone (audit_log.py), so the log itself is the oracle of what should have been told.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import msgspec
from tests.integration.audit_log import expected_transitions, records_of, transitions_in

from flowgauge.console.up import partitions_of
from flowgauge.schemas.event import decode_event
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.sinks.webhooks.telling import is_told
from flowgauge.transport.local import open_local_log

COUNTS = """
SELECT count(), uniqExact(_partition, _offset), uniqExact(id) FROM flowgauge.events
"""
RUNS = "SELECT count(), countIf(state = 'failed') FROM flowgauge.runs_final"
ENDS = """
SELECT sum(ends) FROM (SELECT uniqExactMerge(runs) AS ends FROM flowgauge.run_ends_hourly GROUP BY flow, hour, state)
"""
ENDS_FROM_RAW = """
SELECT uniqExact(flow, toStartOfHour(occurred), state, run) FROM flowgauge.events
WHERE kind = 'flow-run' AND state IN ('completed', 'failed', 'crashed', 'cancelled')
"""
SUPERSEDED = "SELECT DISTINCT transition_id FROM flowgauge.deliveries WHERE outcome = 'superseded'"
RUNS_FROM_RAW = """
SELECT uniqExact(run), uniqExactIf(run, state = 'failed') FROM flowgauge.events WHERE kind = 'flow-run'
"""


async def audit(data: Path, partitions: int) -> dict[str, object]:
    """Return the counts."""
    settings = Settings(data=data, partitions=partitions)
    log = await open_local_log(data, partitions=partitions_of(settings))
    store = ClickHouseStore.open(data / "clickhouse")
    try:
        expected = await expected_transitions(log)
        events = [record async for record in records_of(log, EVENTS) if record.kind == RecordKind.EVENT]
        told = [each.transition_id for each in await transitions_in(log)]
        return {
            "log_events": len(events),
            "log_ids": sorted({str(decode_event(record.value).id) for record in events if record.value}),
            "stored": (await store.query(COUNTS, seen=EVERY_TENANT)).rows[0],
            "runs": (await store.query(RUNS, seen=EVERY_TENANT)).rows[0],
            "runs_from_raw": (await store.query(RUNS_FROM_RAW, seen=EVERY_TENANT)).rows[0],
            "stored_transitions": (
                await store.query("SELECT count() FROM flowgauge.transitions", seen=EVERY_TENANT)
            ).rows[0][0],
            "ends": (await store.query(ENDS, seen=EVERY_TENANT)).rows[0],
            "ends_from_raw": (await store.query(ENDS_FROM_RAW, seen=EVERY_TENANT)).rows[0],
            "superseded": [row[0] for row in (await store.query(SUPERSEDED, seen=EVERY_TENANT)).rows],
            "told": sorted(told),
            "told_twice": sorted(item for item, count in Counter(told).items() if count > 1),
            "expected": sorted(item.transition_id for item in expected),
            "to_deliver": sorted(item.transition_id for item in expected if item.notify and is_told(item)),
        }
    finally:
        store.close()
        await log.close()


if __name__ == "__main__":
    answer = asyncio.run(audit(Path(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.buffer.write(msgspec.json.encode(answer))
