"""A real Kafka broker for tests, started once a pytest process and only when a test asks for it.

Looked for in this order:

1. FLOWGAUGE_TEST_KAFKA, the bootstrap address of a broker that runs already.
2. testcontainers, where that package is installed and a Docker engine answers.
3. The jars in .cache/kafka/lib (`.ci/kafka` prepares them) under local Java: one KRaft node on loopback.

Elsewhere the tests are skipped and say what to run; with CI=true that is an error. Tests take topics of their own by
a prefix of their own, so one broker serves all of them.
"""

import asyncio
import contextlib
import fcntl
import functools
import importlib
import importlib.util
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

LIB = Path(__file__).parents[1] / ".cache" / "kafka" / "lib"
CLASSES = LIB.parent / "classes.jsa"
REMEDY = "no Kafka for tests: run .ci/kafka (needs Java 17 and Maven), or set FLOWGAUGE_TEST_KAFKA=HOST:PORT"
IMAGE = "confluentinc/cp-kafka:8.1.0"  # Kafka 4.1, in the layout that testcontainers starts
START_S_MAX = 180.0  # takes 2 s on an idle machine; a restart beside a team that waits for it takes far more
POLL_S = 0.05
PORTS = (15_000, 32_000)
STARTS_MAX = 3  # somebody else may take a port between its choice and its use
# Small, quick to start, and quiet but for what is wrong.
JAVA = [
    "java",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
]
# A controller lets a broker that was killed come back once the session of the one before is over: usually nine seconds.
COMES_BACK_SOON = "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n"
# Another Java's archive, or one of other jars, is left out: no word of that in the broker's log.
QUIET_ARCHIVE = ["-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
# The broker ends when the pipe to its standard input closes, so also when pytest itself is killed.
UNTIL_STDIN_CLOSES = '"$@" </dev/null & broker=$!; cat >/dev/null; kill -9 $broker; wait $broker 2>/dev/null'
AND_FORGET = '; rm -rf "$0"'


@contextlib.contextmanager
def running_broker() -> Generator[str]:
    """Yield the bootstrap address of a broker; skip without one, fail where CI must have it."""
    if given := os.environ.get("FLOWGAUGE_TEST_KAFKA"):
        yield given
    elif _docker_answers():
        yield from _container()
    elif LIB.is_dir() and shutil.which("java"):
        with java_broker() as bootstrap:
            yield bootstrap
    elif os.environ.get("CI") == "true":
        pytest.fail(REMEDY)
    else:
        pytest.skip(REMEDY)


def _docker_answers() -> bool:
    if importlib.util.find_spec("testcontainers") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def _container() -> Generator[str]:
    kafka: Any = importlib.import_module("testcontainers.kafka")
    with kafka.KafkaContainer(IMAGE).with_kraft() as container:
        yield container.get_bootstrap_server()


@contextlib.contextmanager
def java_broker(more: str = "") -> Generator[str]:
    """Yield the bootstrap address of a broker under local Java; skip where there is none.

    `more` are properties that win over the usual ones; {client} and {controller} in them are the ports.
    """
    if not LIB.is_dir() or not shutil.which("java"):
        pytest.skip(REMEDY)
    said = ""
    for _ in range(STARTS_MAX):
        folder = Path(tempfile.mkdtemp(prefix="flowgauge-kafka-"))
        bootstrap = _configure(folder, more)
        process = _launch(folder)
        try:
            if answers(bootstrap, process):
                yield bootstrap
                return
            said = (folder / "broker.log").read_text(encoding="utf-8")
        finally:
            process.communicate()  # closes its standard input
    pytest.fail(f"the test broker did not start:\n{said}")


class Broker:
    """A broker under local Java that can be killed and started again, with its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.bootstrap = _configure(folder, COMES_BACK_SOON)

    def start(self) -> None:
        """Return once it answers."""
        self._process = _launch(self._folder, forgets=False)
        if not answers(self.bootstrap, self._process):
            pytest.fail(f"the test broker did not start:\n{(self._folder / 'broker.log').read_text(encoding='utf-8')}")

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def kill(self) -> None:
        """Kill it as a power cut would, if it runs."""
        if self._process is not None:
            self._process.communicate()  # closes its standard input
            self._process = None


@contextlib.contextmanager
def mortal_broker() -> Generator[Broker]:
    """Yield a broker that is the test's own to kill; skip where there is no Java."""
    if not LIB.is_dir() or not shutil.which("java"):
        pytest.skip(REMEDY)
    with tempfile.TemporaryDirectory(prefix="flowgauge-kafka-", ignore_cleanup_errors=True) as folder:
        broker = Broker(Path(folder))
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


def _configure(folder: Path, more: str) -> str:
    """Write what a broker reads at its start; return its bootstrap address."""
    client, controller = free_ports()
    (folder / "data").mkdir()
    # What `kafka-storage format` would write; a second JVM for it would double the time to start.
    (folder / "data" / "meta.properties").write_text(f"version=1\ncluster.id={uuid.uuid4().hex[:22]}\nnode.id=1\n")
    (folder / "server.properties").write_text(
        properties(folder / "data", client, controller) + more.format(client=client, controller=controller)
    )
    return f"127.0.0.1:{client}"


def _launch(folder: Path, *, forgets: bool = True) -> subprocess.Popen[bytes]:
    """Start the broker of `folder`, which is gone when it ends if it `forgets`."""
    with (folder / "broker.log").open("ab") as said:
        return subprocess.Popen(
            [
                "sh",
                "-c",
                UNTIL_STDIN_CLOSES + (AND_FORGET if forgets else ""),
                str(folder),
                *java(*kafka_in(folder)),
            ],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
        )


def java(*arguments: str) -> list[str]:
    """Return the command that runs a program of Kafka's: options of Java, its class and its own arguments."""
    return [*JAVA, *shared_classes(), "-cp", f"{LIB}/*", *arguments]


def kafka_in(folder: Path) -> tuple[str, str]:
    """Return the class of a broker and its argument: what `folder` configures."""
    return "kafka.Kafka", str(folder / "server.properties")


@functools.cache
def shared_classes() -> list[str]:
    """Return what lets Java take classes from an archive, made at first: loading them is half of a broker's start."""
    with (LIB.parent / "classes.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return []  # somebody else makes it: nobody waits
        if not CLASSES.is_file():
            _archive_classes()
    return [*QUIET_ARCHIVE, f"-XX:SharedArchiveFile={CLASSES}"] if CLASSES.is_file() else []


def _archive_classes() -> None:
    """Let a broker start, answer and end by itself, at which Java writes what it loaded."""
    made = CLASSES.with_suffix(".new")
    made.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="flowgauge-kafka-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        bootstrap = _configure(folder, "")
        ends_in_order = UNTIL_STDIN_CLOSES.replace("kill -9", "kill")
        command = [*JAVA, *QUIET_ARCHIVE, f"-XX:ArchiveClassesAtExit={made}", "-cp", f"{LIB}/*", *kafka_in(folder)]
        with (folder / "broker.log").open("ab") as said:
            process = subprocess.Popen(
                ["sh", "-c", ends_in_order, "broker", *command], stdin=subprocess.PIPE, stdout=said, stderr=said
            )
        answers(bootstrap, process)
        process.communicate()  # closes its standard input
    if made.is_file():
        made.rename(CLASSES)


def properties(data: Path, client: int, controller: int) -> str:
    """Return what a broker of one node on loopback needs, listening on two ports, its data in a folder."""
    return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""


def free_ports() -> tuple[int, int]:
    """Return two ports that nobody has now.

    Below those that systems give to connections: such a one is taken while a broker that was killed is away.
    """
    free: list[int] = []
    while len(free) < 2:
        port = random.choice([each for each in range(*PORTS) if each not in free])  # those beside us draw others
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            free.append(port)
    return free[0], free[1]


def answers(bootstrap: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the broker answers; False when it does not."""
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        if _listens(bootstrap) and asyncio.run(_tells_metadata(bootstrap)):
            return True
        time.sleep(POLL_S)
    return False


def _listens(bootstrap: str) -> bool:
    host, _, port = bootstrap.partition(":")
    with socket.socket() as connection:
        return connection.connect_ex((host, int(port))) == 0


async def _tells_metadata(bootstrap: str) -> bool:
    admin: Any = importlib.import_module("aiokafka.admin").AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except importlib.import_module("aiokafka.errors").KafkaError:
        return False
    finally:
        await admin.close()
