"""Audit a data folder that no process holds: print what log and ClickHouse say of each other, as JSON.

Run as `python tests/integration/audit_up.py DATA`. The transitions are computed again from the events topic alone, by
the matcher and the detector in one pass, so the log itself is the oracle of what should have been told.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from flowgauge.console.up import partitions_of
from flowgauge.processors.detector import Detector
from flowgauge.processors.matcher import Matcher
from flowgauge.processors.ruletopic import RuleBook
from flowgauge.schemas.event import decode_event
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS, RecordKind
from flowgauge.schemas.transition import Transition, decode_transition
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.webhooks.telling import is_told
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log, Record

READ_MAX = 10_000

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
        expected = await _expected(log)
        events = [record async for record in _records(log, EVENTS) if record.kind == RecordKind.EVENT]
        told = [
            decode_transition(record.value).transition_id
            async for record in _records(log, TRANSITIONS)
            if record.value is not None
        ]
        return {
            "log_events": len(events),
            "log_ids": sorted({str(decode_event(record.value).id) for record in events if record.value}),
            "stored": (await store.query(COUNTS)).rows[0],
            "runs": (await store.query(RUNS)).rows[0],
            "runs_from_raw": (await store.query(RUNS_FROM_RAW)).rows[0],
            "stored_transitions": (await store.query("SELECT count() FROM flowgauge.transitions")).rows[0][0],
            "ends": (await store.query(ENDS)).rows[0],
            "ends_from_raw": (await store.query(ENDS_FROM_RAW)).rows[0],
            "superseded": [row[0] for row in (await store.query(SUPERSEDED)).rows],
            "told": sorted(told),
            "told_twice": sorted(item for item, count in Counter(told).items() if count > 1),
            "expected": sorted(item.transition_id for item in expected),
            "to_deliver": sorted(item.transition_id for item in expected if item.notify and is_told(item)),
        }
    finally:
        store.close()
        await log.close()


async def _records(log: Log, topic: str) -> AsyncIterator[Record]:
    for partition in range(log.partitions(topic)):
        async for record in _partition(log, topic, partition):
            yield record


async def _partition(log: Log, topic: str, partition: int) -> AsyncIterator[Record]:
    offset = 0
    while found := await log.read(topic, partition, offset, READ_MAX):
        for record in found:
            yield record
        offset = found[-1].offset + 1


async def _expected(log: Log) -> list[Transition]:
    book = RuleBook(log)
    await book.refresh()
    sources = log.partitions(EVENTS)
    detector = Detector(log_id=log.log_id, sources=sources, rulesets=book.rulesets)
    found: list[Transition] = []
    for source in range(sources):
        matcher = Matcher(
            log_id=log.log_id, source=source, samples_partitions=log.partitions(SAMPLES), rulesets=book.rulesets
        )
        records = [record async for record in _partition(log, EVENTS, source)]
        for messages in matcher.match(records).messages:
            outcome = detector.apply(messages)
            found += outcome.transitions
    return found


if __name__ == "__main__":
    answer = asyncio.run(audit(Path(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.buffer.write(msgspec.json.encode(answer))
