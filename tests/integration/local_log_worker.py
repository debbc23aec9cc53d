"""A process that uses the log until it is killed: started by test_local_log_kill.py, prints what was acked.

append N      appender: the record "N" is durable
step N        stepper: the record at offset N was taken, its output and the sum are durable
read N        reader: committed up to offset N
"""

import asyncio
import sys
from pathlib import Path

from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.local import lock_data_folder, open_local_log
from flowgauge.transport.log import Assigned, Batch, Committed, Log, Outgoing, Output

PARTITIONS = {EVENTS: 1, SAMPLES: 1, TRANSITIONS: 2}


async def append(log: Log, task: int) -> None:
    """Append numbers that only this task uses, some at a time, going on where the log ends."""
    mine = b"%d:" % task
    number = sum((r.value or b"").startswith(mine) for r in await log.read(SAMPLES, 0, 0, 1_000_000))
    while True:
        values = [mine + b"%d" % (number + n) for n in range(1 + number % 7)]
        await log.append(SAMPLES, [Outgoing(0, "run", value) for value in values])
        for value in values:
            print("append", value.decode(), flush=True)
        number += len(values)


async def step(log: Log) -> None:
    """Count the records of samples: state, outputs in two partitions, and the offset must agree for ever."""
    steps = await log.open_steps(SAMPLES, "detector")
    count = 0
    while True:
        for each in await steps.poll(records_max=5, timeout_ms=1_000):
            match each:
                case Assigned():
                    count = int(each.state.get("count", b"0"))
                case Batch():
                    values = [record.value for record in each.records]
                    outputs = [Output(TRANSITIONS, Outgoing(p, "key", value)) for value in values for p in (0, 1)]
                    count += len(values)
                    await steps.commit(0, next_offset=each.next_offset, state={"count": b"%d" % count}, outputs=outputs)
                    print("step", count, flush=True)
                case _:
                    raise AssertionError(each)


async def read(log: Log) -> None:
    """Commit what was read, with metadata that says the same."""
    reader = await log.open_reader(SAMPLES, "sink")
    while True:
        for item in await reader.poll(records_max=50, timeout_ms=1_000):
            if isinstance(item, Batch):
                at = item.next_offset
                await reader.commit({0: Committed(at, f"at {at}")})
                print("read", at, flush=True)


async def main(folder: Path) -> None:
    with lock_data_folder(folder):
        log = await open_local_log(folder, partitions=PARTITIONS)
        print("open", log.log_id, flush=True)
        async with asyncio.TaskGroup() as group:
            for task in range(3):
                group.create_task(append(log, task))
            group.create_task(step(log))
            group.create_task(read(log))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
