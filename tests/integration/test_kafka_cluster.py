"""Coordinators of groups and transactions move as nodes die: nothing is lost or doubled, and all go on.

Three nodes are killed one after another, each comes back before the next. One appends, one reads at least once, one
steps exactly once; whoever ends by an error of ours is started again, as a supervisor would. Takes a minute, so it runs
with FLOWGAUGE_FAULTS=1.
"""

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest
from tests.kafka_cluster import NODES, Cluster, running_cluster

from flowgauge.schemas.errors import InvariantBroken, Transient
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Assigned, Batch, Committed, Outgoing, Output
from flowgauge.transport.topic_admin import apply_plan, read_plan
from flowgauge.transport.topic_plan import Sizes

SIZES = Sizes(partitions=2, samples_partitions=2, replication=3)
PARTITIONS = 2
AFTER_EACH = 20  # records that are seen by all after a node died, before the next one does
MOVE_S_MAX = 60
PAUSE_S = 0.05

_T = TypeVar("_T")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(400),
    pytest.mark.skipif("FLOWGAUGE_FAULTS" not in os.environ, reason="takes a minute: runs with FLOWGAUGE_FAULTS=1"),
]


class Work:
    """What one process of each kind does, and what became of it."""

    def __init__(self, log: KafkaLog) -> None:
        self.log = log
        self.stop = asyncio.Event()
        self.appended = 0
        self.read: set[bytes] = set()
        self.counted = [0] * PARTITIONS
        self.ends: list[str] = []  # of those that were started again

    async def append(self) -> None:
        """Append numbers to events and samples, each until brokers have it; one may come twice."""
        while not self.stop.is_set():
            records = [Outgoing(self.appended % PARTITIONS, "", b"%d" % self.appended)]
            for topic in (EVENTS, SAMPLES):
                await self._patiently(partial(self.log.append, topic, records))
            self.appended += 1
            await asyncio.sleep(PAUSE_S)

    async def read_on(self) -> None:
        """Read at least once."""
        reader = await self._patiently(lambda: self.log.open_reader(EVENTS, "reader"))
        try:
            while not self.stop.is_set():
                for each in await self._patiently(lambda: reader.poll(records_max=100, timeout_ms=100)):
                    if isinstance(each, Batch):
                        done = {each.partition: Committed(each.next_offset)}
                        await self._patiently(partial(reader.commit, done))
                        self.read |= {record.value for record in each.records if record.value is not None}
        finally:
            await reader.close()

    async def step_on(self) -> None:
        """Tell each sample once, with how many there were."""
        steps = await self._patiently(lambda: self.log.open_steps(SAMPLES, "stepper"))
        try:
            while not self.stop.is_set():
                for each in await self._patiently(lambda: steps.poll(records_max=100, timeout_ms=100)):
                    if isinstance(each, Assigned):
                        self.counted[each.partition] = int(each.state.get("count", b"0"))
                    elif isinstance(each, Batch):
                        count = self.counted[each.partition] + len(each.records)
                        told = [Output(TRANSITIONS, Outgoing(0, "", record.value)) for record in each.records]
                        state = {"count": b"%d" % count}
                        await steps.commit(each.partition, next_offset=each.next_offset, state=state, outputs=told)
                        self.counted[each.partition] = count
        finally:
            await steps.close()

    async def supervised(self, run: Callable[[], Awaitable[None]]) -> None:
        """Start it again after each error of ours; any other fails the test."""
        while not self.stop.is_set():
            try:
                await run()
            except (InvariantBroken, Transient) as error:
                self.ends.append(str(error))
                await asyncio.sleep(PAUSE_S)

    async def _patiently(self, action: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await action()
            except Transient:
                if self.stop.is_set():
                    raise
                await asyncio.sleep(PAUSE_S)


def test_nothing_is_lost_or_doubled_while_every_node_dies_in_turn() -> None:
    with running_cluster() as cluster:
        asyncio.run(work_while_nodes_die(cluster))


async def work_while_nodes_die(cluster: Cluster) -> None:
    connection = Connection(bootstrap=cluster.bootstrap, prefix=f"c{uuid.uuid4().hex[:8]}", instance="one")
    await apply_plan(connection, await read_plan(connection, SIZES), SIZES)
    log = await open_kafka_log(connection)
    work = Work(log)
    async with asyncio.TaskGroup() as tasks:
        for run in (work.append, work.read_on, work.step_on):
            tasks.create_task(work.supervised(run))
        await go_on(work)
        for node in NODES:
            await asyncio.to_thread(cluster.kill, node)
            await go_on(work)
            await asyncio.to_thread(cluster.start, node)
        work.stop.set()

    samples = [await values(log, SAMPLES, partition) for partition in range(PARTITIONS)]
    events = [value for partition in range(PARTITIONS) for value in await values(log, EVENTS, partition)]
    told = await values(log, TRANSITIONS, 0)
    await log.close()
    assert {b"%d" % number for number in range(work.appended)} <= set(events)
    assert work.read <= set(events)
    stepped = [value for found, count in zip(samples, work.counted, strict=True) for value in found[:count]]
    assert Counter(told) == Counter(stepped), work.ends
    assert not [end for end in work.ends if "\n" in end], work.ends


async def go_on(work: Work) -> None:
    """Wait until as many more as AFTER_EACH went through all."""
    appended, read, counted = work.appended, len(work.read), sum(work.counted)
    async with asyncio.timeout(MOVE_S_MAX):
        while min(work.appended - appended, len(work.read) - read, sum(work.counted) - counted) < AFTER_EACH:  # noqa: ASYNC110  # three tell
            await asyncio.sleep(PAUSE_S)


async def values(log: KafkaLog, topic: str, partition: int) -> list[bytes]:
    found: list[bytes] = []
    offset = 0
    while records := await log.read(topic, partition, offset, 1_000):
        found += [record.value for record in records if record.value is not None]
        offset = records[-1].offset + 1
    return found
