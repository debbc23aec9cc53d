"""Three real Kafka nodes on loopback, each of which can be killed and started again: leaders and coordinators move."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from tests import kafka_broker

NODES = (1, 2, 3)
WHOLE_S_MAX = 60.0
LOOK_S = 0.2
PROPERTIES = """
node.id={node}
controller.quorum.voters={voters}
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
replica.lag.time.max.ms=3000
"""


class Cluster:
    """Nodes by their number."""

    def __init__(self, folder: Path) -> None:
        ports = {node: kafka_broker.free_ports() for node in NODES}
        voters = ",".join(f"{node}@127.0.0.1:{controller}" for node, (_, controller) in ports.items())
        cluster_id = uuid.uuid4().hex[:22]
        self.bootstrap = ",".join(f"127.0.0.1:{client}" for client, _ in ports.values())
        self._addresses = {node: f"127.0.0.1:{client}" for node, (client, _) in ports.items()}
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for node, (client, controller) in ports.items():
            data = folder / str(node)
            data.mkdir()
            (data / "meta.properties").write_text(f"version=1\ncluster.id={cluster_id}\nnode.id={node}\n")
            text = kafka_broker.properties(data, client, controller) + PROPERTIES.format(node=node, voters=voters)
            (folder / f"{node}.properties").write_text(text)

    def start(self, *nodes: int) -> None:
        """Start nodes and wait until they answer and every partition has all its replicas."""
        for node in nodes:
            command = ["sh", "-c", kafka_broker.UNTIL_STDIN_CLOSES, "node"]
            command += kafka_broker.java("-Xmx256m", "kafka.Kafka", str(self._folder / f"{node}.properties"))
            with (self._folder / f"{node}.log").open("ab") as said:
                self._processes[node] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        for node in nodes:
            if not kafka_broker.answers(self._addresses[node], self._processes[node]):
                pytest.fail(f"node {node} did not start:\n{(self._folder / f'{node}.log').read_text()}")
        asyncio.run(self._whole())

    def kill(self, *nodes: int) -> None:
        """Kill nodes as a power cut would, those that run."""
        for node in nodes:
            if process := self._processes.pop(node, None):
                process.communicate()  # closes its standard input

    async def _whole(self) -> None:
        """Wait until no replica is behind."""
        admin: Any = cast("Any", AIOKafkaAdminClient)(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            async with asyncio.timeout(WHOLE_S_MAX):
                while not _is_whole(await admin.describe_topics()):  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(LOOK_S)
        finally:
            await admin.close()


def _is_whole(topics: Sequence[Mapping[str, Any]]) -> bool:
    return all(len(each["isr"]) == len(each["replicas"]) for topic in topics for each in topic["partitions"])


@contextlib.contextmanager
def running_cluster() -> Generator[Cluster]:
    """Yield three nodes that run; skip where there are no jars or no Java."""
    if not kafka_broker.LIB.is_dir() or not shutil.which("java"):
        pytest.skip(kafka_broker.REMEDY)
    with tempfile.TemporaryDirectory(prefix="flowgauge-cluster-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start(*NODES)
            yield cluster
        finally:
            cluster.kill(*NODES)
