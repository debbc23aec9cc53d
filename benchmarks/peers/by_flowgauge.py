"""The job in flowgauge: `python -m benchmarks.peers.by_flowgauge BOOTSTRAP PREFIX`.

Matcher and detector as their roles run them, in one process: offsets, samples, state and transitions go to Kafka, the
detector's in transactions. Prints one JSON object.
"""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from benchmarks.peers.by_bytewax import rss_mb_most
from benchmarks.peers.job import Crossing
from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.schemas.transition import decode_transition
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Record

LOOK_S = 0.2
READ_RECORDS = 10_000


class Spent(msgspec.Struct, frozen=True):
    """What an engine spent on the job, and what it told."""

    cpu_seconds: float
    rss_mb: float
    crossings: list[Crossing]


async def detect(bootstrap: str, prefix: str) -> Spent:
    """Do the job from the first event to the last."""
    gc.collect()
    gc.freeze()  # as `run_as_process` does
    began = time.process_time()
    log = await open_kafka_log(Connection(bootstrap=bootstrap, prefix=prefix, instance="peers"))
    async with _at_work(log):
        await _until_passed(log, EVENTS, "matcher")
        await _until_passed(log, SAMPLES, "detector")
    cpu_seconds = time.process_time() - began
    crossings = [_crossing(record) for record in await log.read(TRANSITIONS, 0, 0, READ_RECORDS)]
    await log.close()
    return Spent(cpu_seconds, rss_mb_most(), crossings)


@asynccontextmanager
async def _at_work(log: KafkaLog) -> AsyncGenerator[None]:
    stop, health = asyncio.Event(), Health()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_matcher(log, stop=stop, health=health))
        tasks.create_task(run_detector(log, stop=stop, health=health))
        yield
        stop.set()
    assert not health.problems, health.problems


async def _until_passed(log: KafkaLog, topic: str, group: str) -> None:
    ends, passed = await log.ends(topic), dict[int, int]()
    while passed != ends:
        await asyncio.sleep(LOOK_S)
        passed = {partition: at.next_offset for partition, at in (await log.committed(topic, group)).items()}


def _crossing(record: Record) -> Crossing:
    assert record.value is not None
    told = decode_transition(record.value)
    return told.tenant, told.key["flow"], told.at_ms, told.to_state == "firing"


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(detect(*sys.argv[1:]))).decode())
