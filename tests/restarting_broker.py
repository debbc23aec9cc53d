"""A real Kafka broker that can be killed and started again on its port, with what it had on disk."""

import contextlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest
from tests import kafka_broker

# Ends when the pipe to its standard input closes, so also when pytest is killed. What is on disk stays.
UNTIL_STDIN_CLOSES = '"$@" </dev/null & broker=$!; cat >/dev/null; kill -9 $broker; wait $broker 2>/dev/null'


class RestartingBroker:
    """One broker under local Java. It is started by `start`, and each `kill` is a kill -9."""

    def __init__(self, folder: Path) -> None:
        client, controller = kafka_broker.free_ports()
        self.bootstrap = f"127.0.0.1:{client}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()
        (folder / "data" / "meta.properties").write_text(f"version=1\ncluster.id={uuid.uuid4().hex[:22]}\nnode.id=1\n")
        (folder / "server.properties").write_text(kafka_broker.properties(folder / "data", client, controller))

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = ["sh", "-c", UNTIL_STDIN_CLOSES, "broker", *kafka_broker.JAVA, "-cp", f"{kafka_broker.LIB}/*"]
        command += ["kafka.Kafka", str(self._folder / "server.properties")]
        with (self._folder / "broker.log").open("ab") as said:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        if not kafka_broker.answers(self.bootstrap, self._process):
            pytest.fail(f"the test broker did not start:\n{(self._folder / 'broker.log').read_text()}")

    def kill(self) -> None:
        """Kill it, if it runs, and wait for its end."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def restarting_broker() -> Generator[RestartingBroker]:
    """Yield a broker that runs; skip where there are no jars or no Java."""
    if not kafka_broker.LIB.is_dir() or not shutil.which("java"):
        pytest.skip(kafka_broker.REMEDY)
    with tempfile.TemporaryDirectory(prefix="flowgauge-kafka-") as folder:
        broker = RestartingBroker(Path(folder))
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()
