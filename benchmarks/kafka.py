"""The paths on a real Kafka broker, which is started as tests start it and whose own time is not counted.

Without Java they print why and are left out: there is nothing to measure.
"""

import asyncio
import gc
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from tests.kafka_broker import running_broker

from benchmarks.batches import outgoing
from benchmarks.generator import RUN_EVERY_MS
from benchmarks.http_paths import post_all
from benchmarks.local_log import APPEND_RECORDS, append_and_read
from benchmarks.measure import LeftOut, Line, Steps, line_of
from benchmarks.pure import sample_messages
from benchmarks.rules import fifty_rules
from benchmarks.sockets import gateway_process
from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.errors import Transient
from flowgauge.schemas.sample import encode_message
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection, new_admin
from flowgauge.transport.kafka_reading import KafkaReading
from flowgauge.transport.log import Log, Outgoing
from flowgauge.transport.topic_admin import apply_plan, read_plan
from flowgauge.transport.topic_plan import Sizes

SESSION_MS = 6_000  # as it is where no setting says otherwise
PARTITIONS = 4  # of events: a body of 1,000 events is spread over them
FILL_RECORDS = 5_000  # appended at once where the append is not what is measured
START_LOOK_S = 0.02
LOOK_S = 0.5  # each look costs the measured process a millisecond or two


@dataclass(frozen=True, slots=True)
class _Spent:
    """What a part spent once it was at work: on which share of the records, and before that."""

    share: float
    cpu_seconds: float
    wall_seconds: float
    start_seconds: float  # CPU of joining the group, compiling the rules and the first records

    def line(self, name: str, events: int, **notes: float) -> Line:
        """Return the result over that share of `events`."""
        made = line_of(name, round(events * self.share), self.cpu_seconds)
        return made.noting(wall_seconds=self.wall_seconds, start_seconds=self.start_seconds, **notes)


class Run(Protocol):
    """A part, as its role runs it."""

    def __call__(self, log: Log, *, stop: asyncio.Event, health: Health) -> Coroutine[object, object, None]:
        """Run it until `stop`."""
        ...


def bench_append(events: int) -> Line:
    """Append events 1,000 at a time as a gateway does, then read them as a group, committing each poll."""
    with started_broker() as bootstrap:
        return asyncio.run(_append_and_read(bootstrap, events))


def bench_kafka_matcher(events: int) -> Line:
    """Events that stand in Kafka → samples in Kafka, 50 rules, offsets committed."""
    with started_broker() as bootstrap:
        return asyncio.run(_match(bootstrap, events))


def bench_kafka_detector(samples: int) -> Line:
    """Sample messages that stand in Kafka → transitions, state and offsets in transactions. `events` counts samples."""
    with started_broker() as bootstrap:
        return asyncio.run(_detect(bootstrap, samples))


def bench_kafka_gateway(events: int) -> Line:
    """NDJSON batches of 1,000; CPU of the gateway's process only: HTTP, canonical, append to Kafka."""
    with started_broker() as bootstrap, tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        prefix = asyncio.run(_topics(bootstrap))
        with gateway_process(Path(folder), bootstrap, prefix) as url:
            cpu_seconds, bodies = post_all(url, events)
    return line_of("kafka-gateway", events, cpu_seconds).noting(body_events=events / bodies)


@contextmanager
def started_broker() -> Generator[str]:
    """Start a broker and yield its address; raise LeftOut where there is none."""
    try:
        with running_broker() as bootstrap:
            yield bootstrap
    except pytest.skip.Exception as skipped:
        raise LeftOut(str(skipped)) from None


async def _topics(bootstrap: str, partitions: int = PARTITIONS) -> str:
    """Make the topics of a log and return their prefix."""
    connection = Connection(bootstrap=bootstrap, prefix=f"bench-{uuid.uuid4().hex[:8]}")
    sizes = Sizes(partitions=partitions, replication=1)
    await apply_plan(connection, await read_plan(connection, sizes), sizes)
    return connection.prefix


@asynccontextmanager
async def topics_log(
    bootstrap: str, partitions: int = PARTITIONS, session_ms: int = SESSION_MS
) -> AsyncGenerator[tuple[KafkaLog, KafkaReading]]:
    """Open a log of its own, with what tells how far a group of it is."""
    prefix = await _topics(bootstrap, partitions)
    connection = Connection(bootstrap=bootstrap, prefix=prefix, instance="bench", session_ms=session_ms)
    log = await open_kafka_log(connection)
    admin = new_admin(connection)
    await admin.start()
    try:
        yield log, KafkaReading(connection, admin, {EVENTS: partitions, SAMPLES: 1})
    finally:
        await admin.close()
        await log.close()


async def _append_and_read(bootstrap: str, events: int) -> Line:
    records, steps = outgoing(events, PARTITIONS), Steps()
    async with topics_log(bootstrap) as (log, _):
        append_seconds = await append_and_read(log, records, steps)
    return steps.line("kafka-append", events).noting(append_ms_per_batch=append_seconds * 1e3 * APPEND_RECORDS / events)


async def _match(bootstrap: str, events: int) -> Line:
    async with topics_log(bootstrap) as (log, reading):
        await publish_rules(log, fifty_rules())
        records = outgoing(events, PARTITIONS, RUN_EVERY_MS)  # the mix of the path `matcher`
        for start in range(0, events, FILL_RECORDS):
            await log.append(EVENTS, records[start : start + FILL_RECORDS])
        del records
        wanted = sum((await log.ends(EVENTS)).values())
        spent = await _until_passed(run_matcher, log, partial(_passed, reading, "matcher", EVENTS), wanted)
        messages = sum((await log.ends(SAMPLES)).values())
    return spent.line("kafka-matcher", events, messages=messages)


async def _detect(bootstrap: str, asked: int) -> Line:
    async with topics_log(bootstrap, partitions=1) as (log, reading):
        await publish_rules(log, fifty_rules())
        messages = sample_messages(asked, log.log_id)
        samples = sum(len(message.samples) for message in messages)
        for message in messages:
            await log.append(SAMPLES, [Outgoing(0, "", encode_message(message))])
        del messages
        wanted = sum((await log.ends(SAMPLES)).values())
        spent = await _until_passed(run_detector, log, partial(_passed, reading, "detector", SAMPLES), wanted)
        transitions = (await log.ends(TRANSITIONS))[0]
    return spent.line("kafka-detector", samples, transitions=transitions)


async def _until_passed(run: Run, log: KafkaLog, passed: Callable[[], Awaitable[int]], wanted: int) -> _Spent:
    """Run until `wanted` records are committed; count from the first commit that is seen."""
    stop, health = asyncio.Event(), Health()
    gc.collect()
    gc.freeze()  # as `run_as_process` does
    start_cpu, count = time.process_time(), 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(log, stop=stop, health=health))
        while not (count := await passed()):  # noqa: ASYNC110  # a broker tells when asked
            await asyncio.sleep(START_LOOK_S)
        began, cpu_began, first = time.monotonic(), time.process_time(), count
        while count < wanted:
            assert not health.problems, health.problems
            await asyncio.sleep(LOOK_S)
            count = await passed()
        spent = time.process_time() - cpu_began, time.monotonic() - began
        stop.set()
    assert first < wanted, "all was passed at the first look: take more events"
    return _Spent((wanted - first) / wanted, *spent, start_seconds=cpu_began - start_cpu)


async def _passed(reading: KafkaReading, group: str, topic: str) -> int:
    """Return how many records of `topic`, which has no gaps, the group has passed."""
    try:
        return sum(at.next_offset for at in (await reading.committed(group, topic)).values())
    except Transient:  # the broker is still making the topic that holds offsets
        return 0
