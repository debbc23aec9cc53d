"""The variables of compose.yaml make a broker: through the program that the image of Kafka runs, from its jars."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.compose.composed import Places, read_compose
from tests.integration.up_process import COMMAND, environment
from tests.kafka_broker import LIB, REMEDY, START_S_MAX, UNTIL_STDIN_CLOSES, java

POLL_S = 0.1
FILES = read_compose()
WITHOUT_JARS = pytest.mark.skipif(not (LIB.is_dir() and shutil.which("java")), reason=REMEDY)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), WITHOUT_JARS]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the image's first program made, and where the broker will listen."""

    folder: Path
    places: Places
    inside: int
    machine: int

    def set_up(self) -> str:
        """Do what the image does before it starts the broker; return what that says."""
        given = FILES.services["kafka"]["environment"]
        env = {**os.environ, **{name: self.places.here(str(value)) for name, value in given.items()}}
        folders = [f"--{name}-configs-dir={self.folder / name}" for name in ("default", "mounted", "final")]
        done = subprocess.run(
            java("kafka.docker.KafkaDockerWrapper", "setup", *folders),
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 or "already formatted" in said, said  # as the image's own script looks at it
        return said


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    folder = tmp_path / "kafka"  # goes with the broker
    for name in ("default", "mounted", "final", "data"):
        (folder / name).mkdir(parents=True)
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (folder / "default" / name).touch()
    inside, machine, controller = free_ports()
    addresses = {
        "INSIDE://:9092": f"INSIDE://127.0.0.1:{inside}",
        "MACHINE://:19092": f"MACHINE://127.0.0.1:{machine}",
        "CONTROLLER://:9093": f"CONTROLLER://127.0.0.1:{controller}",
        "localhost:9093": f"127.0.0.1:{controller}",
        "127.0.0.1:19092": f"127.0.0.1:{machine}",
        "kafka:9092": f"127.0.0.1:{inside}",
        "http://clickhouse:8123": "http://127.0.0.1:8123",  # which making topics does not ask
        "/var/lib/kafka/data": str(folder / "data"),
    }
    return Prepared(folder, Places(tmp_path, addresses), inside, machine)


@pytest.fixture
def broker(prepared: Prepared) -> Iterator[Prepared]:
    prepared.set_up()
    kafka = java("kafka.Kafka", str(prepared.folder / "final" / "server.properties"))
    with (prepared.places.folder / "broker.log").open("wb") as said:
        process = subprocess.Popen(
            ["sh", "-c", UNTIL_STDIN_CLOSES, str(prepared.folder), *kafka],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
        )
    try:
        yield prepared
    finally:
        process.communicate()  # closes its standard input


def free_ports() -> tuple[int, int, int]:
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for each in (one, two, three):
            each.bind(("127.0.0.1", 0))
        first, second, third = (each.getsockname()[1] for each in (one, two, three))
    return first, second, third


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_topics_are_made_as_soon_as_the_health_check_is_content(broker: Prepared) -> None:
    broker.places.settle()
    deadline = time.monotonic() + START_S_MAX
    while not listens(broker.inside):  # which is all that the health check looks at
        assert time.monotonic() < deadline, (broker.places.folder / "broker.log").read_text(encoding="utf-8")
        time.sleep(POLL_S)
    process = FILES.process("topics", broker.places)

    first, from_this_machine = (
        subprocess.run(
            [*COMMAND, *process.arguments],
            env=environment(**{**process.env, "FLOWGAUGE_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}"}),
            cwd=process.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        for port in (broker.inside, broker.machine)
    )

    assert first.returncode == 0, first.stdout + first.stderr
    assert from_this_machine.returncode == 0, from_this_machine.stdout + from_this_machine.stderr


def test_a_container_that_starts_again_keeps_its_log(prepared: Prepared) -> None:
    prepared.set_up()
    marked = (prepared.folder / "data" / "meta.properties").read_bytes()

    assert "already formatted" in prepared.set_up()
    assert (prepared.folder / "data" / "meta.properties").read_bytes() == marked
