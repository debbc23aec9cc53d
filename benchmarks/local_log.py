"""The local log, and how a log is measured: append in batches, then read it all as a group, committing each poll."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.batches import outgoing
from benchmarks.measure import Line, Steps
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Batch, Committed, Log, Outgoing

APPEND_RECORDS = 1_000
POLL_RECORDS = 5_000


def bench_log(events: int) -> Line:
    """Append and read, CPU of this process, its threads and SQLite included."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        line = asyncio.run(_bench(Path(folder), events))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        return line.noting(disk_bytes_per_event=size / events)


async def _bench(folder: Path, events: int) -> Line:
    steps = Steps()
    log = await open_local_log(folder, partitions={EVENTS: 1})
    await append_and_read(log, outgoing(events), steps)
    await log.close()
    return steps.line("log", events)


async def append_and_read(log: Log, records: Sequence[Outgoing], steps: Steps) -> float:
    """Append 1,000 at a time as a gateway does, then read as a group; return for how many seconds it appended."""
    began = time.monotonic()
    with steps.step("append"):
        for start in range(0, len(records), APPEND_RECORDS):
            await log.append(EVENTS, records[start : start + APPEND_RECORDS])
    append_seconds = time.monotonic() - began
    with steps.step("read"):
        await _read(log, len(records))
    return append_seconds


async def _read(log: Log, events: int) -> None:
    reader = await log.open_reader(EVENTS, "benchmark")
    seen = 0
    while seen < events:
        polled = await reader.poll(records_max=POLL_RECORDS, timeout_ms=250)
        batches = [item for item in polled if isinstance(item, Batch)]
        seen += sum(len(batch.records) for batch in batches)
        if batches:
            await reader.commit({batch.partition: Committed(batch.next_offset) for batch in batches})
    await reader.close()
