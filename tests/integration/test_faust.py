"""Users' agents on Faust: the documented example as a worker on real Kafka, and what agents are given."""

import asyncio
import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.fenced_blocks import ROOT, blocks, commands
from tests.kafka_broker import java_broker
from tests.kafka_topics import create_topics

from flowgauge.schemas.delivery import Delivery, encode_delivery
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import DELIVERIES, EVENTS, RULES, SAMPLES, TRANSITIONS, RecordKind
from flowgauge.schemas.transition import Transition, encode_transition
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection, new_admin, new_producer
from flowgauge.transport.log import Outgoing, Output
from flowgauge.transport.wall_clock import now_ms

GUIDE = ROOT / "docs" / "faust.md"
FAUST = Path(sys.executable).parent / "faust"
PARTITIONS = {EVENTS: 2, SAMPLES: 1, TRANSITIONS: 1, DELIVERIES: 1, RULES: 1}
# Faust logs what agents print, among warnings of its own. Ours begin with a flow, a channel or a number.
PRINTED = re.compile(r"\[[^]]*\] \[\d+\] \[WARNING\] ((?:orders|billing|oncall|\d+):? .*?)\s*")
LINE_S_MAX = 60.0  # a worker starts within 3 s on an idle machine
END_S_MAX = 60.0

PRINTS_ALL = """
from faust import StreamT

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.transition import Transition
from flowgauge.transport.faust import app_of, deliveries, transitions

app = app_of("prints", broker_commit_interval=0.2)


@app.agent(transitions(app))
async def print_transitions(stream: StreamT[Transition]) -> None:
    async for transition in stream:
        print(f"{transition.seq} {transition.to_state}")


@app.agent(deliveries(app))
async def print_deliveries(stream: StreamT[Delivery]) -> None:
    async for delivery in stream:
        print(f"{delivery.channel} {delivery.outcome}")
"""
SECURED = """
listeners=PLAINTEXT://127.0.0.1:{{client}},SASL_PLAINTEXT://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{{controller}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_ann="right";
"""
SETTINGS = """
[kafka]
sasl = "PLAIN"
username = "ann"
password = { env = "ANN" }
"""
COUNTS_IN_A_TABLE = """
from faust import StreamT

from flowgauge.schemas.event import Event
from flowgauge.transport.faust import app_of, events

app = app_of("table", topic_partitions=2, topic_replication_factor=1, store="memory://")
runs = app.Table("runs", default=int)


@app.agent(events(app))
async def count(stream: StreamT[Event]) -> None:
    async for event in stream.group_by(lambda event: event.flow, name="flow"):
        runs[event.flow] += 1
        print(f"{event.flow} {runs[event.flow]}")
"""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def connection(kafka: str) -> Connection:
    return Connection(bootstrap=kafka, prefix=f"t{uuid.uuid4().hex[:8]}", instance="one")


@pytest.fixture
async def log(connection: Connection) -> AsyncIterator[KafkaLog]:
    await create_topics(connection, PARTITIONS)
    opened = await open_kafka_log(connection)
    yield opened
    await opened.close()


def listening(pid: int) -> list[int]:
    """Return the TCP ports that a process listens on, as Linux tells them."""
    sockets = {path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    tables = (Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    rows = (row.split() for table in tables for row in table)
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


class Worker:
    """A `faust worker` process, and what it says."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    async def lines(self, count: int) -> list[str]:
        """Return the next lines that it prints; fail when they do not come."""
        return await asyncio.to_thread(self._wait_for_lines, count)

    async def end(self) -> list[str]:
        """End it as a supervisor would; return the lines that nobody asked for."""
        await asyncio.to_thread(self.end_by, signal.SIGTERM)
        return [line for line in self._lines.queue if line is not None]

    def end_by(self, how: signal.Signals) -> None:
        """Send the signal and wait for the end."""
        self.process.send_signal(how)
        try:
            self.process.wait(END_S_MAX)
        finally:
            self.process.kill()
            self._reader.join()

    def _wait_for_lines(self, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            try:
                line = self._lines.get(timeout=LINE_S_MAX)
            except queue.Empty:
                line = None
            if line is None:
                self.end_by(signal.SIGKILL)
                pytest.fail(f"printed {found} only, of {count} lines\n{self.said}")
            found.append(line)
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.said += line
                if printed := PRINTED.fullmatch(line):
                    self._lines.put(printed[1])
        self._lines.put(None)  # it ended


@contextlib.contextmanager
def running(
    folder: Path, connection: Connection, name: str, code: str, *, command: list[str] | None = None
) -> Generator[Worker]:
    """Run a worker of the program `code`; the environment says where the brokers are."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    arguments = command or ["faust", "-A", name, "worker", "-l", "warn"]
    process = subprocess.Popen(
        [str(FAUST), *arguments[1:]],
        cwd=folder,
        env={
            **os.environ,
            "ANN": "right",
            "PYTHONDONTWRITEBYTECODE": "1",
            "FLOWGAUGE_KAFKA_BOOTSTRAP": connection.bootstrap,
            "FLOWGAUGE_KAFKA_PREFIX": connection.prefix,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    worker = Worker(process)
    try:
        yield worker
    finally:
        if process.poll() is None:
            worker.end_by(signal.SIGKILL)


def event(flow: str, state: str, partition: int = 0) -> Outgoing:
    raw = {
        "id": str(uuid.uuid4()),
        "tenant": "acme",
        "occurred": rfc3339(now_ms()),
        "event": f"run.{state}",
        "kind": "flow-run",
        "state": state,
        "flow": flow,
        "run": flow,
        "resource": {"id": flow},
    }
    return Outgoing(partition, flow, json.dumps(raw).encode())


def transition(seq: int) -> Output:
    made = Transition(
        transition_id=f"t{seq}",
        incident_id="i",
        seq=seq,
        tenant="acme",
        rule="orders failing",
        rule_kind="failure_rate",
        rules_version=1,
        key={"flow": "orders"},
        from_state="inactive",
        to_state="firing",
        at_ms=0,
        opened_at_ms=0,
        reason="failure rate above threshold",
    )
    return Output(TRANSITIONS, Outgoing(0, "i", encode_transition(made)))


async def topics_with(connection: Connection) -> set[str]:
    """Return the names of the topics that begin with the prefix, Faust's own included."""
    admin = new_admin(connection)
    await admin.start()
    try:
        names = {str(topic["topic"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    return {name for name in names if name.startswith(connection.prefix)}


async def test_the_documented_agent_counts_failures_past_pulses_and_poison(
    log: KafkaLog, connection: Connection, tmp_path: Path
) -> None:
    poison = Outgoing(0, "x", b"no JSON")
    steering = [Outgoing(p, "", b"{}", kind) for p in (0, 1) for kind in (RecordKind.PULSE, RecordKind.RULES)]
    await log.append(
        EVENTS,
        [
            *steering,
            event("orders", "failed"),
            event("orders", "completed"),
            poison,
            poison,
            event("orders", "crashed"),
        ],
    )
    await log.append(EVENTS, [event("billing", "failed", partition=1), *steering])
    (example,) = blocks(GUIDE, "python")
    (shell,) = blocks(GUIDE, "sh")
    topics = await topics_with(connection)

    with running(tmp_path, connection, "failures", example.text, command=commands(shell)[1].split()) as worker:
        first = await worker.lines(3)
        ports = listening(worker.process.pid)
        await log.append(EVENTS, [*steering, event("orders", "failed")])
        then = await worker.lines(1)
        rest = await worker.end()

    assert sorted(first) == ["billing: 1 failed", "orders: 1 failed", "orders: 2 failed"]
    assert (then, rest) == (["orders: 3 failed"], [])
    assert await topics_with(connection) == topics
    assert worker.process.returncode == 0, worker.said
    assert worker.said.count("record skipped: not JSON") == 1, worker.said
    assert ports == []


async def test_agents_see_committed_transitions_once_over_an_orderly_restart(
    log: KafkaLog, connection: Connection, tmp_path: Path
) -> None:
    steps = await log.open_steps(SAMPLES, "detector")
    await steps.commit(0, next_offset=None, state={}, outputs=[transition(0), transition(1)])
    aborted: Any = new_producer(connection, f"{connection.prefix}.aborted")
    await aborted.start()
    await aborted.begin_transaction()
    value = transition(7).record.value
    await (await aborted.send(connection.names.topic(TRANSITIONS), value, b"i", partition=0, headers=[]))
    await aborted.abort_transaction()
    await aborted.stop()
    await steps.commit(0, next_offset=None, state={}, outputs=[transition(2)])
    told = Delivery(
        delivery_id="d", transition_id="t0", incident_id="i", tenant="acme", rule="r", channel="oncall",
        to_state="firing", attempt=1, outcome="delivered", at_ms=now_ms(),
    )  # fmt: skip
    await log.append(DELIVERIES, [Outgoing(0, "i", encode_delivery(told))])

    with running(tmp_path, connection, "prints", PRINTS_ALL) as worker:
        assert sorted(await worker.lines(4)) == ["0 firing", "1 firing", "2 firing", "oncall delivered"]
        assert await worker.end() == []
    await steps.commit(0, next_offset=None, state={}, outputs=[transition(3)])
    with running(tmp_path, connection, "prints", PRINTS_ALL) as worker:
        assert await worker.lines(1) == ["3 firing"]
        assert await worker.end() == []


async def test_a_table_by_flow_works_through_topics_of_the_apps_own(
    log: KafkaLog, connection: Connection, tmp_path: Path
) -> None:
    await log.append(EVENTS, [event("orders", "failed"), event("billing", "failed"), event("orders", "failed", 1)])

    with running(tmp_path, connection, "table", COUNTS_IN_A_TABLE) as worker:
        found = await worker.lines(3)

    assert sorted(found) == ["billing 1", "orders 1", "orders 2"]


def test_a_worker_gives_the_credentials_of_the_settings(tmp_path: Path) -> None:
    async def fill(connection: Connection) -> None:
        await create_topics(connection, PARTITIONS)
        log = await open_kafka_log(connection)
        await log.append(EVENTS, [event("orders", "failed")])
        await log.close()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    (example,) = blocks(GUIDE, "python")
    (tmp_path / "flowgauge.toml").write_text(SETTINGS, encoding="utf-8")
    with java_broker(SECURED.format(secured=port)) as bootstrap:
        asyncio.run(fill(Connection(bootstrap=bootstrap)))

        secured = Connection(bootstrap=f"127.0.0.1:{port}")
        with running(tmp_path, secured, "failures", example.text) as worker:
            assert asyncio.run(worker.lines(1)) == ["orders: 1 failed"]
