"""`flowgauge topics access` and `check --as` against a real broker that asks what each user may do."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from tests.integration.own_log import make_topics
from tests.kafka_broker import java
from tests.secured_kafka import GRANTED_PASSWORD, authorizing_broker

from flowgauge.console.kafka_access import asked_about
from flowgauge.producers import KafkaTarget, Publisher
from flowgauge.schemas.topics import EVENTS, RULES
from flowgauge.transport.kafka_client import Connection, Producer, end_producer, new_consumer, new_producer
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.kafka_security import Security
from flowgauge.transport.topic_plan import ALL

FLOWGAUGE = Path(sys.executable).parent / "flowgauge"
EVENT = {"event": "etl.done", "resource": {"id": "etl.1"}}
FLUSH_MS = 30_000

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[str, str]]:
    """Return where ann may do all, and where users may do what they were granted."""
    with authorizing_broker() as both:
        yield both


@dataclass(frozen=True, slots=True)
class Place:
    """A log of a test's own, and what to ask of it as whom."""

    log: Connection  # as ann
    secured: str
    folder: Path

    def ask(self, user: str, *arguments: str) -> tuple[int, str]:
        """Run `flowgauge topics …` as a user; return its exit code and what it said of the log `flowgauge`."""
        (self.folder / "flowgauge.toml").write_text(
            f'[kafka]\nbootstrap = "{self.secured}"\nprefix = "{self.log.prefix}"\n'
            f'sasl = "PLAIN"\nusername = "{user}"\npassword = {{ env = "SECRET" }}\n',
            encoding="utf-8",
        )
        done = subprocess.run(
            [FLOWGAUGE, "topics", *arguments],
            cwd=self.folder,
            env={**os.environ, "SECRET": GRANTED_PASSWORD},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout.replace(self.log.prefix, "flowgauge")

    def grant(self, *statements: str) -> None:
        """Give lines about the log `flowgauge` to Kafka's own program."""
        acls = java("org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.log.bootstrap)
        for each in statements:
            arguments = each.replace("flowgauge", self.log.prefix).split()
            subprocess.run([*acls, *arguments], check=True, capture_output=True, timeout=60)

    def connection(self, user: str) -> Connection:
        security = Security(mechanism="PLAIN", username=user, password=GRANTED_PASSWORD)
        return replace(self.log, bootstrap=self.secured, security=security)


@pytest.fixture
def place(broker: tuple[str, str], tmp_path: Path) -> Place:
    plain, secured = broker
    log = Connection(bootstrap=plain, prefix=f"t{uuid.uuid4().hex[:8]}")
    asyncio.run(make_topics(log))
    return Place(log, secured, tmp_path)


@asynccontextmanager
async def producing(connection: Connection) -> AsyncGenerator[Producer]:
    producer = new_producer(connection)
    try:
        await producer.start()
        yield producer
    finally:
        await end_producer(producer, 1_000)


def test_a_worker_with_the_documented_rights_can_publish_and_do_nothing_else(place: Place) -> None:
    code, statements = place.ask("worker", "access", "--as", "worker")
    place.grant(*statements.splitlines())

    assert (code, statements) == (
        0,
        "--add --allow-principal User:worker --operation Write --operation Describe --topic flowgauge.events\n",
    )
    assert place.ask("worker", "check", "--as", "worker") == (
        0,
        "this user may do what worker needs, and nothing else\n",
    )
    where = KafkaTarget(
        bootstrap=place.secured,
        tenant="acme",
        prefix=place.log.prefix,
        sasl="PLAIN",
        username="worker",
        password=GRANTED_PASSWORD,
    )
    with Publisher(kafka=where) as publisher:
        publisher.emit(EVENT)
        assert publisher.flush(FLUSH_MS)
    assert (publisher.sent, publisher.refused, publisher.dropped) == (1, 0, 0)
    asyncio.run(assert_all_else_is_refused(place.connection("worker")))


async def assert_all_else_is_refused(worker: Connection) -> None:
    """Write to every other topic, and read events, as the worker."""
    for topic in set(ALL) - {EVENTS}:
        async with producing(worker) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send(worker.names.topic(topic), b"{}", b"key", partition=0, headers=[])
    consumer = new_consumer(worker)
    await consumer.start()
    try:
        place = TopicPartition(worker.names.topic(EVENTS), 0)
        consumer.assign([place])
        with pytest.raises(TopicAuthorizationFailedError):
            await consumer.getmany(place, timeout_ms=FLUSH_MS)
    finally:
        await consumer.stop()


def test_a_user_that_may_do_more_or_less_than_a_worker_is_told_each_right(place: Place) -> None:
    every = "--add --allow-principal User:bob --resource-pattern-type prefixed"
    place.grant(
        f"{every} --operation Read --topic flowgauge. --group flowgauge.",
        "--add --allow-principal User:bob --operation Write --topic flowgauge.rules",
        f"{every} --operation Write --transactional-id flowgauge.detector.",
        "--add --allow-principal User:bob --operation Alter --cluster",
    )

    code, said = place.ask("bob", "check", "--as", "worker")

    told = [line.partition(" (")[0] for line in said.splitlines()]
    read = [f"{topic}: it may Read, Describe, and worker needs not" for topic in ALL if topic not in {EVENTS, RULES}]
    assert code == 1
    assert told[:2] == [
        "flowgauge.events: it may not Write",
        "flowgauge.events: it may Read, and worker needs not",
    ]
    assert [line for line in told if line in read] == read
    assert [line for line in told[2:] if line not in read] == [
        "flowgauge.rules: it may Read, Write, Describe, and worker needs not",
        "group flowgauge.clickhouse.deliveries: it may Read, Describe, and worker needs not",
        "group flowgauge.clickhouse.dlq: it may Read, Describe, and worker needs not",
        "group flowgauge.clickhouse.events: it may Read, Describe, and worker needs not",
        "group flowgauge.clickhouse.transitions: it may Read, Describe, and worker needs not",
        "group flowgauge.detector.samples: it may Read, Describe, and worker needs not",
        "group flowgauge.matcher.events: it may Read, Describe, and worker needs not",
        "group flowgauge.notifier.transitions: it may Read, Describe, and worker needs not",
        "transactional id flowgauge.detector.samples.0: it may ask about it, and worker needs not",
        "the cluster: it may Alter, and worker needs not",
    ]


def test_a_group_that_it_may_only_look_at_or_join_and_should_not_is_told(place: Place) -> None:
    groups = " ".join(f"--group {name}" for name in asked_about(Names("flowgauge"))[0])
    place.grant(
        "--add --allow-principal User:match --operation Describe --group flowgauge.matcher.events",
        f"--add --allow-principal User:console --operation Read {groups}",
    )

    _, matcher = place.ask("match", "check", "--as", "match")
    _, viewer = place.ask("console", "check", "--as", "console")

    assert [line.partition(" (")[0] for line in matcher.splitlines() if line.startswith("group ")] == [
        "group flowgauge.matcher.events: it may not Read"
    ]
    assert {line.partition(" (")[0] for line in viewer.splitlines() if line.startswith("group ")} == {
        f"group {name}: it may Read, and console needs not" for name in asked_about(Names("flowgauge"))[0]
    }


def test_who_may_do_all_is_told_so(place: Place) -> None:
    code, said = place.ask("ann", "check", "--as", "worker")

    assert code == 1
    assert (
        "the cluster: it may Create, Alter, ClusterAction, DescribeConfigs, AlterConfigs, and worker needs not "
        "(kafka-acls --list says what grants it; a super user may do all, and so may all where brokers have no "
        "authorizer)"
    ) in said.splitlines()
