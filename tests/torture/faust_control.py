"""The known-bad control: Faust tables count events by flow while workers are killed; every count is compared.

    python -m tests.torture.faust_control --kills 10

Two workers of an agent of five lines, on our events, with the settings that Faust has by itself. The counts are read
from the table's changelog, where a worker would find them again, and every tenth of each flow from what the agent sent.
The last line is the counts. It ends with 0 whatever they are: they show what kills do to an engine without transactions
of state, output and offset. It ends with 3, and says so, where Faust is not installed.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from _pytest.outcomes import Skipped
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError
from tests.integration.role_processes import Roles, kafka_environment
from tests.kafka_broker import java_broker
from tests.torture.checker import as_json

from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection, TopicPartition, new_admin, new_consumer
from flowgauge.transport.log import Outgoing
from flowgauge.transport.wall_clock import now_ms

PREFIX, PARTITIONS, FLOWS = "control", 4, 200
EVENTS_EACH, EVERY_S = 40, 0.2
TENTH = 10
CAUGHT_UP_S_MAX = 240.0
LIFE_S = (1.0, 6.0)  # from a worker's first commit, or START_S_MAX, to its kill
START_S_MAX = 20.0
AGENT = f"""
from faust import StreamT

from flowgauge.schemas.event import Event
from flowgauge.transport.faust import app_of, events

app = app_of("counts", topic_partitions={PARTITIONS}, store="memory://", broker_commit_interval=0.5)
runs = app.Table("runs", default=int)
tenths = app.topic("{PREFIX}-counts-tenths", partitions={PARTITIONS}, value_serializer="json")


@app.agent(events(app))
async def count(stream: StreamT[Event]) -> None:
    async for event in stream:
        runs[event.flow] += 1
        if runs[event.flow] % {TENTH} == 0:
            await tenths.send(key=event.flow, value=runs[event.flow])
"""


@dataclass(slots=True)
class Workers:
    """Two workers, each with a folder of its own."""

    folder: Path
    env: dict[str, str]
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list["subprocess.Popen[bytes]"])

    def start(self, number: int) -> None:
        """Start one, in the place of whoever was there."""
        command = [str(Path(sys.executable).parent / "faust"), "--datadir", str(self.folder / f"data-{number}")]
        with (self.folder / f"worker-{number}.log").open("ab") as said:
            process = subprocess.Popen(
                [*command, "-A", "counts", "worker", "-l", "warn"],
                cwd=self.folder,
                env=self.env,
                stdout=said,
                stderr=said,
            )
        self.running[number : number + 1] = [process]

    def kill(self, number: int) -> None:
        """SIGKILL one."""
        self.running[number].kill()
        self.running[number].wait()


async def control(bootstrap: str, folder: Path, kills: int, seed: int) -> dict[str, object]:
    """Run all of it; return the counts."""
    env = kafka_environment(bootstrap, PREFIX, partitions=PARTITIONS)
    topics = Roles(env, folder).run("topics", "apply")
    assert topics.returncode == 0, topics.stderr
    (folder / "counts.py").write_text(AGENT, encoding="utf-8")
    connection = Connection(bootstrap=bootstrap, prefix=PREFIX, instance="control")
    await _make_topic(connection, f"{PREFIX}-counts-tenths")
    log = await open_kafka_log(connection)
    workers = Workers(folder, {**os.environ, **env})
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send(log, stop))
            ended = await _kill(workers, log, connection, kills=kills, chance=random.Random(seed))
            stop.set()
        truth = sending.result()
        is_caught_up = await _wait_until_caught_up(log, connection)
        counts = await _newest(connection, f"{PREFIX}-counts-runs-changelog")
        told = await _all(connection, f"{PREFIX}-counts-tenths")
    finally:
        for process in workers.running:
            process.kill()
            process.wait()
        await log.close()
    return {**_compared(truth, counts, told), "kills": kills, "ended by themselves": ended, "caught up": is_caught_up}


async def _make_topic(connection: Connection, name: str) -> None:
    """Make the topic of the agent's outputs: Faust makes those of tables only."""
    admin = new_admin(connection)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    finally:
        await admin.close()


async def _send(log: KafkaLog, stop: asyncio.Event) -> Counter[str]:
    """Append events until `stop`; return how many each flow has."""
    chance, sent = random.Random(1), Counter[str]()
    while not stop.is_set():
        flows = [f"flow-{chance.randrange(FLOWS)}" for _ in range(EVENTS_EACH)]
        first = sent.total()
        sent.update(flows)
        await log.append(EVENTS, [_event(flow, first + number) for number, flow in enumerate(flows)])
        await asyncio.sleep(EVERY_S)
    return sent


def _event(flow: str, number: int) -> Outgoing:
    value = {
        "id": str(UUID(int=number)), "tenant": "default", "occurred": rfc3339(now_ms()), "event": "ran", "flow": flow,
        "resource": {"id": flow},
    }  # fmt: skip
    return Outgoing(events_partition(flow, PARTITIONS), flow, json.dumps(value).encode())


async def _kill(workers: Workers, log: KafkaLog, connection: Connection, *, kills: int, chance: random.Random) -> int:
    """Kill a worker again and again, each time once the group works; return how many ended by themselves."""
    ended = 0
    for number in range(2):
        workers.start(number)
    for done in range(kills + 1):
        began = time.monotonic()
        before = await _committed(log, connection)
        while await _committed(log, connection) <= before and time.monotonic() - began < START_S_MAX:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(chance.uniform(*LIFE_S))
        for number, process in enumerate(workers.running):
            if process.poll() is not None:
                ended += 1
                workers.start(number)
        if done < kills:
            number = chance.randrange(2)
            workers.kill(number)
            workers.start(number)
    return ended


async def _committed(log: KafkaLog, connection: Connection) -> int:
    """Return up to where the workers have committed, over all partitions."""
    admin = new_admin(connection)
    await admin.start()
    try:
        at = [TopicPartition(f"{PREFIX}.events", partition) for partition in range(log.partitions(EVENTS))]
        found = await admin.list_consumer_group_offsets(f"{PREFIX}-counts", partitions=at)
    except KafkaError:  # the first group of a broker makes it busy for a while
        return 0
    finally:
        await admin.close()
    return sum(max(each.offset, 0) for each in found.values())


async def _wait_until_caught_up(log: KafkaLog, connection: Connection) -> bool:
    end, deadline = sum((await log.ends(EVENTS)).values()), time.monotonic() + CAUGHT_UP_S_MAX
    while time.monotonic() < deadline:
        if await _committed(log, connection) >= end:
            return True
        await asyncio.sleep(0.5)
    return False


async def _all(connection: Connection, topic: str) -> list[tuple[str, int]]:
    """Return every record of a topic, as Faust wrote it."""
    consumer = new_consumer(connection)
    await consumer.start()
    found: list[tuple[str, int]] = []
    try:
        partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for at in partitions:
            consumer.seek(at, 0)
        while any([await consumer.position(at) < ends[at] for at in partitions]):
            for records in (await consumer.getmany(*partitions, timeout_ms=500)).values():
                found += [(_text(each.key), int(json.loads(each.value or b"0"))) for each in records]
    finally:
        await consumer.stop()
    return found


async def _newest(connection: Connection, topic: str) -> dict[str, int]:
    return dict(await _all(connection, topic))


def _text(key: bytes | str | None) -> str:
    text = key if isinstance(key, str) else (key or b"").decode()
    return str(json.loads(text)) if text.startswith('"') else text


def _compared(truth: Counter[str], counts: dict[str, int], told: Sequence[tuple[str, int]]) -> dict[str, Any]:
    wanted = Counter((flow, tenth) for flow, count in truth.items() for tenth in range(TENTH, count + 1, TENTH))
    found = Counter(told)
    return {
        "events": truth.total(),
        "counts lost": sum(max(0, count - counts.get(flow, 0)) for flow, count in truth.items()),
        "counts doubled": sum(max(0, counts.get(flow, 0) - count) for flow, count in truth.items()),
        "flows with a wrong count": sum(counts.get(flow, 0) != count for flow, count in truth.items()),
        "outputs": wanted.total(),
        "outputs missing": len(wanted.keys() - found.keys()),
        "outputs twice": sum(count > 1 for count in found.values()),
        "outputs wrong": len(found.keys() - wanted.keys()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if importlib.util.find_spec("faust") is None:
        print("SKIPPED: Faust is not installed (pip install 'flowgauge[faust]'): no known-bad control", file=sys.stderr)
        return 3
    folder = Path(tempfile.mkdtemp(prefix="flowgauge-faust-"))
    try:
        with java_broker() as bootstrap:
            found = asyncio.run(control(bootstrap, folder, asked.kills, asked.seed))
    except Skipped as skipped:
        print(skipped, file=sys.stderr)
        return 3
    print(as_json({"faust tables": found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
