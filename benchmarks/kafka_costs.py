"""What Kafka costs: append, read and commit through our own log on a real broker, and bytes on the wire and disk.

The broker is the one of the tests: `FLOWGAUGE_TEST_KAFKA`, else the prepared jars under local Java. Its CPU time is
counted where it is a child of this process. Each pass has topics of its own; of each step the least counts, because
a JVM is slow at first and neighbours only ever add.
"""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Generator, Sequence

from tests.kafka_broker import running_broker
from tests.kafka_topics import create_topics

from benchmarks.batches import outgoing
from benchmarks.measure import Line, line_of
from benchmarks.processes import below, cpu_seconds
from flowgauge.processors.matcher_app import POLL_RECORDS_MAX as MATCHER_POLL_RECORDS
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.schemas.topics import EVENTS, RULES, SAMPLES, TRANSITIONS
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Assigned, Batch, Committed, Outgoing, Reader, Steps

PARTITIONS = {EVENTS: 4, SAMPLES: 1, TRANSITIONS: 1, RULES: 1}
CALL_RECORDS = 5_000  # of an append, as the gateway and the tests do under load; also of a poll
MESSAGES = 2_000  # samples messages, of which a step takes 64
MESSAGE_BYTES = 4_000  # some 40 samples
STEP_MESSAGES = 64
STATE_RECORDS = 50  # that a step writes, of half a kB each
POLL_MS = 2_000
TRICKLE, TRICKLE_EACH_S = 20, 0.01  # events at once, and how often: some 2,000 a second over all partitions
STEADY_S = 5
PASSES = 2


class Spent:
    """The least CPU seconds of this process and of the broker, and the least seconds of wall time, by step."""

    def __init__(self) -> None:
        self.ours: dict[str, float] = {}
        self.brokers: dict[str, float] = {}
        self.wall: dict[str, float] = {}
        self.batches_per_second = 0.0

    @contextlib.contextmanager
    def on(self, step: str) -> Generator[None]:
        """Count what is done inside to `step`."""
        began = time.process_time(), children_cpu_seconds(), time.perf_counter()
        yield
        ended = time.process_time(), children_cpu_seconds(), time.perf_counter()
        for least, begin, end in zip((self.ours, self.brokers, self.wall), began, ended, strict=True):
            least[step] = min(end - begin, least.get(step, end - begin))


def bench_kafka_costs(events: int) -> Line:
    """Append and read events, then step over sample messages; µs of this process by step, the broker's as notes."""
    records, spent = outgoing(events, PARTITIONS[EVENTS]), Spent()
    with running_broker() as bootstrap:
        for _ in range(PASSES):
            asyncio.run(_pass(bootstrap, records, spent))
    steps = {step: spent.ours[step] for step in ("append", "read")}
    commits = MESSAGES // STEP_MESSAGES
    return line_of("kafka-costs", events, sum(steps.values()), steps).noting(
        broker_append_us=spent.brokers["append"] / events * 1e6,
        broker_read_us=spent.brokers["read"] / events * 1e6,
        message_append_us=spent.ours["append messages"] / MESSAGES * 1e6,
        message_step_us=spent.ours["step"] / MESSAGES * 1e6,
        broker_message_us=(spent.brokers["append messages"] + spent.brokers["step"]) / MESSAGES * 1e6,
        commit_wall_ms=spent.wall["step"] / commits * 1e3,
        matcher_batches_per_source_second=spent.batches_per_second,
    )


def children_cpu_seconds() -> float:
    """Return user + system time of every process below this one that still runs."""
    return sum(map(cpu_seconds, below(os.getpid())))


async def _pass(bootstrap: str, records: Sequence[Outgoing], spent: Spent) -> None:
    connection = Connection(bootstrap=bootstrap, prefix=uuid.uuid4().hex, instance="bench", heartbeat_ms=500)
    await create_topics(connection, PARTITIONS)
    log = await open_kafka_log(connection)
    try:
        with spent.on("append"):
            for start in range(0, len(records), CALL_RECORDS):
                await log.append(EVENTS, records[start : start + CALL_RECORDS])
        await _read(log, len(records), spent)
        messages = [Outgoing(0, "", os.urandom(MESSAGE_BYTES // 4) * 4) for _ in range(MESSAGES)]
        with spent.on("append messages"):
            for start in range(0, MESSAGES, 16):
                await log.append(SAMPLES, messages[start : start + 16])
        await _step(log, spent)
        spent.batches_per_second = max(spent.batches_per_second, await _match_steadily(log, records))
    finally:
        await log.close()


async def _read(log: KafkaLog, count: int, spent: Spent) -> None:
    reader = await log.open_reader(EVENTS, "bench")
    await _assigned(reader, PARTITIONS[EVENTS])
    with spent.on("read"):
        seen = 0
        while seen < count:
            polled = await reader.poll(records_max=CALL_RECORDS, timeout_ms=POLL_MS)
            read = [item for item in polled if isinstance(item, Batch)]
            seen += sum(len(batch.records) for batch in read)
            await reader.commit({batch.partition: Committed(batch.next_offset) for batch in read})
    await reader.close()


async def _step(log: KafkaLog, spent: Spent) -> None:
    steps = await log.open_steps(SAMPLES, "bench")
    await _assigned(steps, 1)
    state: dict[str, bytes | None] = {f"k/{number}": os.urandom(512) for number in range(STATE_RECORDS)}
    with spent.on("step"):
        seen = 0
        while seen < MESSAGES:
            for item in await steps.poll(records_max=STEP_MESSAGES, timeout_ms=POLL_MS):
                assert isinstance(item, Batch)
                seen += len(item.records)
                await steps.commit(0, next_offset=item.next_offset, state=state, outputs=[])
    await steps.close()


async def _match_steadily(log: KafkaLog, records: Sequence[Outgoing]) -> float:
    """Return how many batches a matcher makes of one source in a second, when events come all the time.

    Each of them is a message to every samples partition, samples or not.
    """
    stop, before = asyncio.Event(), (await log.ends(SAMPLES))[0]
    await log.append(EVENTS, records[:TRICKLE])
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_matcher(log, stop=stop, health=Health()))
        while time.perf_counter() - began < STEADY_S:
            await log.append(EVENTS, records[:TRICKLE])
            await asyncio.sleep(TRICKLE_EACH_S)
        stop.set()
    messages = (await log.ends(SAMPLES))[0] - before
    backlog = len(records) / MATCHER_POLL_RECORDS  # what stood there already, in full batches
    return (messages - backlog) / STEADY_S / PARTITIONS[EVENTS]


async def _assigned(polled: Reader | Steps, partitions: int) -> None:
    owned = 0
    while owned < partitions:
        owned += sum(isinstance(item, Assigned) for item in await polled.poll(records_max=1, timeout_ms=POLL_MS))
