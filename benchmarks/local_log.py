"""The local log: append in batches, then read it all as a group, committing each poll."""

import asyncio
import tempfile
from pathlib import Path

from benchmarks.batches import outgoing
from benchmarks.measure import Line, Steps
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Batch, Committed

APPEND_RECORDS = 1_000
POLL_RECORDS = 5_000


def bench_log(events: int) -> Line:
    """Append and read, CPU of this process, its threads and SQLite included."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        line = asyncio.run(_bench(Path(folder), events))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        return line.noting(disk_bytes_per_event=size / events)


async def _bench(folder: Path, events: int) -> Line:
    records, steps = outgoing(events), Steps()
    log = await open_local_log(folder, partitions={EVENTS: 1})
    with steps.step("append"):
        for start in range(0, events, APPEND_RECORDS):
            await log.append(EVENTS, records[start : start + APPEND_RECORDS])
    with steps.step("read"):
        await _read(log, events)
    await log.close()
    return steps.line("log", events)


async def _read(log: LocalLog, events: int) -> None:
    reader = await log.open_reader(EVENTS, "benchmark")
    seen = 0
    while seen < events:
        polled = await reader.poll(records_max=POLL_RECORDS, timeout_ms=250)
        batches = [item for item in polled if isinstance(item, Batch)]
        seen += sum(len(batch.records) for batch in batches)
        await reader.commit({batch.partition: Committed(batch.next_offset) for batch in batches})
    await reader.close()
