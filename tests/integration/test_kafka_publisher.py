"""The publisher that writes to Kafka itself, against real brokers: what a gateway would write, and all of it."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import textwrap
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.fenced_blocks import ROOT, blocks
from tests.integration.gateway_server import running_gateway
from tests.kafka_broker import Broker, mortal_broker
from tests.kafka_topics import create_topics
from tests.secured_kafka import authorizing_broker

from flowgauge.producers import KafkaTarget, Publisher
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Log, Outgoing
from flowgauge.transport.wall_clock import now_ms

PARTITIONS = 4
READ_MAX = 100_000
FLUSH_MS = 30_000
MINIMAL = {"event": "etl.done", "resource": {"id": "etl.1"}}

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
async def connection(kafka: str) -> Connection:
    connection = Connection(bootstrap=kafka, prefix=f"t{uuid.uuid4().hex[:8]}")
    await create_topics(connection, {EVENTS: PARTITIONS})
    return connection


@pytest.fixture
def target(connection: Connection) -> KafkaTarget:
    return KafkaTarget(bootstrap=connection.bootstrap, tenant="acme", prefix=connection.prefix)


async def records_of(log: Log) -> list[Outgoing]:
    """Return the events in the log as they were appended, by partition."""
    return [
        Outgoing(partition, record.key, record.value)
        for partition in range(log.partitions(EVENTS))
        for record in await log.read(EVENTS, partition, 0, READ_MAX)
        if record.kind is RecordKind.EVENT
    ]


async def written(connection: Connection) -> list[Outgoing]:
    log = await open_kafka_log(connection)
    try:
        return await records_of(log)
    finally:
        await log.close()


async def events(connection: Connection) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in await written(connection)]


def counts(publisher: Publisher) -> tuple[int, int, int]:
    return publisher.sent, publisher.refused, publisher.dropped


async def flushed(publisher: Publisher) -> None:
    assert await asyncio.to_thread(publisher.flush, FLUSH_MS)


def told_by_all() -> list[dict[str, object]]:
    """Return events of every shape, some of them none."""
    stamp = {"occurred": "2026-11-23T10:00:00.123456789+05:30"}
    told: list[dict[str, object]] = []
    for number in range(300):
        told.append({"event": "x", **stamp, "resource": {"id": f"r{number % 7}"}, "id": str(uuid.UUID(int=number))})
        more: list[dict[str, object]] = [
            {"run": f"run-{number % 11}", "kind": "flow-run", "state": "failed", "flow": "etl"},
            {"colour": "red", "tenant": "somebody else", "payload": {"n": 1 << 70, "f": 0.1}},
            {"extra": {"colour": "red"}, "colour": "blue"},
            {"related": [{"id": "x", "role": "y"}], "scheduled_for": "2026-11-23T10:00:00Z", "ärger": "\u0000ü"},
            {"state": "broken"},
            {},
        ]
        told[-1] |= more[number % len(more)]
    return [{**event, "occurred": now_text()} if "occurred" not in event else event for event in told]


def now_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ms() / 1_000))


async def test_what_is_written_equals_what_a_gateway_makes_of_the_same_events(
    connection: Connection, target: KafkaTarget, tmp_path: Path
) -> None:
    told = told_by_all()
    async with running_gateway(tmp_path, tokens={"one": "acme"}, partitions=PARTITIONS) as gateway:
        with Publisher(gateway.url, "one") as over_http:
            for event in told:
                over_http.emit(event)
            await flushed(over_http)
        expected = await records_of(gateway.log)

    with Publisher(kafka=target) as publisher:
        for event in told:
            publisher.emit(event)
        await flushed(publisher)

    assert await written(connection) == expected
    assert len({record.partition for record in expected}) == PARTITIONS
    assert counts(publisher) == counts(over_http) == (200, 100, 0)


async def test_a_run_arrives_in_order_and_in_one_partition(connection: Connection, target: KafkaTarget) -> None:
    with Publisher(kafka=target) as publisher:
        for number in range(5_000):
            publisher.emit({**MINIMAL, "run": f"run-{number % 10}", "payload": {"number": number}})
        await flushed(publisher)

    by_run: dict[str, list[tuple[int, int]]] = {}
    for record in await written(connection):
        number = json.loads(record.value or b"")["payload"]["number"]
        by_run.setdefault(record.key, []).append((record.partition, number))
    assert sorted(by_run) == [f"run-{n}" for n in range(10)]
    for told in by_run.values():
        assert len({partition for partition, _ in told}) == 1
        assert [number for _, number in told] == sorted(number for _, number in told)
        assert len(told) == 500


async def test_what_is_no_event_is_refused_counted_and_said_once(
    connection: Connection, target: KafkaTarget, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(kafka=target) as publisher, caplog.at_level(logging.INFO, "flowgauge.publisher"):
        for _ in range(3):
            publisher.emit({"event": "no resource"})
        publisher.emit(MINIMAL)
        await flushed(publisher)

        assert counts(publisher) == (1, 3, 0)
    assert caplog.messages == ["an event is refused: wrong field: Object missing required field `resource` (said once)"]
    assert [event["event"] for event in await events(connection)] == ["etl.done"]


async def test_the_largest_events_arrive(connection: Connection, target: KafkaTarget) -> None:
    with Publisher(kafka=target) as publisher:
        for number in range(4):
            publisher.emit({**MINIMAL, "payload": {"text": chr(97 + number) * 1_048_300}})
        await flushed(publisher)

        assert counts(publisher) == (4, 0, 0)
    assert [event["payload"]["text"][0] for event in await events(connection)] == list("abcd")


@pytest.fixture
def broker() -> Iterator[Broker]:
    with mortal_broker() as broker:
        yield broker


async def test_a_broker_that_is_killed_and_comes_back_costs_no_event_and_doubles_none(broker: Broker) -> None:
    connection = Connection(bootstrap=broker.bootstrap)
    await create_topics(connection, {EVENTS: PARTITIONS})

    with Publisher(kafka=KafkaTarget(bootstrap=broker.bootstrap, tenant="acme"), linger_ms=5) as publisher:
        told = await asyncio.to_thread(tell_while_it_is_killed, publisher, broker)
        await flushed(publisher)

    assert counts(publisher) == (told, 0, 0)
    found = Counter(event["payload"]["number"] for event in await events(connection))
    assert (sorted(found), set(found.values())) == (list(range(told)), {1})


def tell_while_it_is_killed(publisher: Publisher, broker: Broker) -> int:
    """Publish before, while and after the broker is away; return how many events."""
    number = 0

    def tell(count: int) -> None:
        nonlocal number
        for _ in range(count):
            assert publisher.emit({"event": "x", "resource": {"id": f"r{number % 9}"}, "payload": {"number": number}})
            number += 1

    tell(3_000)
    deadline = time.monotonic() + FLUSH_MS / 1_000
    while not publisher.sent:  # so that it is killed while it takes batches
        assert time.monotonic() < deadline
        time.sleep(0.001)
    broker.kill()
    tell(3_000)
    broker.start()
    tell(3_000)
    return number


async def test_events_wait_for_topics_that_are_made_later_and_none_is_made_by_asking(
    kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    connection = Connection(bootstrap=kafka, prefix=prefix)
    with Publisher(kafka=KafkaTarget(bootstrap=kafka, tenant="acme", prefix=prefix)) as publisher:
        publisher.emit(MINIMAL)
        await said(caplog, f"has no topic {prefix}.events, or does not show it to us: create the topics first")

        await create_topics(connection, {EVENTS: PARTITIONS})
        await flushed(publisher)

    assert len(await events(connection)) == 1
    assert [record.name for record in caplog.records].count("flowgauge.publisher") == 1


async def said(caplog: pytest.LogCaptureFixture, message: str) -> None:
    """Wait until the log has a line with `message`."""
    async with asyncio.timeout(FLUSH_MS / 1_000):
        while not any(message in each for each in caplog.messages):  # noqa: ASYNC110  # a thread logs it
            await asyncio.sleep(0.02)


def test_a_broker_that_is_away_is_said_once_and_the_bound_of_the_buffer_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        publisher = Publisher(kafka=KafkaTarget(bootstrap="127.0.0.1:1", tenant="acme"), events_max=10)
        took = [publisher.emit(MINIMAL) for _ in range(15)]
        publisher.flush(1_500)  # several tries
        publisher.close(timeout_ms=300)

    assert took == [True] * 10 + [False] * 5
    assert counts(publisher) == (0, 0, 15)
    away = (
        "Kafka at 127.0.0.1:1: cannot connect: no broker answers (start it, or correct kafka.bootstrap and kafka.tls)"
    )
    lost = "15 events are missing: 5 found the buffer full, 10 are not known to have arrived within 300 ms of closing"
    assert [m for m in caplog.messages if "are dropped, 1 so far" not in m] == [
        f"{away}; events wait (said once)",
        f"{lost} ({away})",
    ]


def test_a_target_that_cannot_work_is_said_once_breaks_nothing_and_ends_at_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWGAUGE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    publisher = Publisher()

    took = [publisher.emit(MINIMAL) for _ in range(3)]
    publisher.close(timeout_ms=3_600_000)

    problem = "cannot publish to Kafka: no tenant is named whose events these are (tenant, FLOWGAUGE_KAFKA_TENANT)"
    assert took == [True] * 3
    assert [message.partition(";")[0] for message in caplog.messages[:1]] == [problem]
    lost = "3 events are missing: 0 found the buffer full, 3 are not known to have arrived within 3600000 ms of closing"
    assert caplog.messages[1:] == [f"{lost} ({problem})"]


async def test_an_address_in_code_wins_over_brokers_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWGAUGE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    async with running_gateway(tmp_path) as gateway:
        with Publisher(gateway.url) as publisher:
            publisher.emit(MINIMAL)
            await flushed(publisher)

        assert len(await gateway.events()) == 1


@pytest.fixture(scope="module")
def secured() -> Iterator[tuple[str, str]]:
    """Return where everybody may do all, and where a broker asks who we are and lets only ann do things."""
    with authorizing_broker() as both:
        yield both


async def test_a_password_is_used_read_again_when_it_is_mended_and_never_said(
    secured: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, bootstrap = secured
    connection = Connection(bootstrap=plain, prefix=f"t{uuid.uuid4().hex[:8]}")
    await create_topics(connection, {EVENTS: 1})
    file = tmp_path / "password"
    file.write_text("hunter2\n", encoding="utf-8")
    target = KafkaTarget(
        bootstrap=bootstrap,
        tenant="acme",
        prefix=connection.prefix,
        sasl="PLAIN",
        username="ann",
        password_file=str(file),
    )

    with Publisher(kafka=target) as publisher:
        publisher.emit(MINIMAL)
        await said(caplog, "it does not believe us")
        file.write_text("right\n", encoding="utf-8")
        await flushed(publisher)

    assert len(await events(connection)) == 1
    assert "hunter2" not in caplog.text


async def test_a_user_without_grants_is_told_what_to_ask_for(
    secured: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    target = KafkaTarget(bootstrap=secured[1], tenant="acme", sasl="PLAIN", username="bob", password="right")

    with Publisher(kafka=target, close_timeout_ms=100) as publisher:
        publisher.emit(MINIMAL)
        await said(caplog, "grant")


async def run_script(target: KafkaTarget, script: str) -> str:
    """Run a worker's script to its end and return what it printed."""
    bootstrap = target.bootstrap.replace("127.0.0.1", "localhost")  # a name, which somebody has to look up
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(script),
        env={
            "FLOWGAUGE_KAFKA_BOOTSTRAP": bootstrap,
            "FLOWGAUGE_KAFKA_TENANT": target.tenant,
            "FLOWGAUGE_KAFKA_PREFIX": target.prefix,
            "FLOWGAUGE_URL": "http://127.0.0.1:1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def test_a_worker_that_ends_sends_what_it_said_and_says_nothing_else(
    connection: Connection, target: KafkaTarget
) -> None:
    printed = await run_script(
        target,
        """
        from flowgauge.producers import Publisher
        publisher = Publisher(linger_ms=60_000)
        for _ in range(10):
            publisher.emit({"event": "x", "resource": {"id": "y"}})
        """,
    )

    assert printed == ""
    assert [event["tenant"] for event in await events(connection)] == ["acme"] * 10


async def test_the_documented_program_publishes(connection: Connection, target: KafkaTarget) -> None:
    (program,) = (b.text for b in blocks(ROOT / "docs" / "publish.md", "python") if "KafkaTarget(" in b.text)
    documented = 'KafkaTarget(bootstrap="kafka-1:9092,kafka-2:9092", tenant="acme")'
    assert documented in program

    await run_script(target, program.replace(documented, repr(target)))

    assert [event["event"] for event in await events(connection)] == ["asset.materialized"]


async def test_after_a_fork_parent_and_child_each_send_their_own_once(
    connection: Connection, target: KafkaTarget
) -> None:
    printed = await run_script(
        target,
        """
        import multiprocessing
        from flowgauge.producers import Publisher

        publisher = Publisher(linger_ms=300)

        def say(who):
            for number in range(5):
                publisher.emit({"event": who, "resource": {"id": "y"}})

        if __name__ == "__main__":
            say("connected before")
            assert publisher.flush(20_000)
            say("parent before")
            children = [multiprocessing.get_context("fork").Process(target=say, args=("child",)) for _ in range(3)]
            for child in children:
                child.start()
            say("parent after")
            for child in children:
                child.join()
        """,
    )

    found = await events(connection)
    expected = {"connected before": 5, "parent before": 5, "child": 15, "parent after": 5}
    assert printed == ""
    assert Counter(event["event"] for event in found) == expected
    assert len({event["id"] for event in found}) == 30


async def test_a_signal_handler_may_publish_while_its_thread_does(connection: Connection, target: KafkaTarget) -> None:
    printed = await run_script(
        target,
        """
        import signal
        from flowgauge.producers import Publisher
        publisher = Publisher()
        event = {"event": "x", "resource": {"id": "y"}}
        took = []
        signal.signal(signal.SIGALRM, lambda *_: took.append(publisher.emit(event)))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        while len(took) < 10_000:
            took.append(publisher.emit(event))
        signal.setitimer(signal.ITIMER_REAL, 0)
        publisher.close(30_000)
        print(all(took), len(took) - publisher.sent)
        """,
    )

    assert printed == "True 0\n"


async def test_a_missing_extra_is_told_in_one_line_and_breaks_nothing(target: KafkaTarget) -> None:
    printed = await run_script(
        target,
        """
        import sys
        sys.modules["aiokafka"] = None  # as if it were not installed
        from flowgauge.producers import Publisher
        publisher = Publisher()
        print(publisher.emit({"event": "x", "resource": {"id": "y"}}), flush=True)
        publisher.close()
        """,
    )

    *said, lost = printed.splitlines()
    missing = "cannot publish to Kafka: aiokafka not installed: pip install 'flowgauge[kafka]'; events wait (said once)"
    assert sorted(said) == ["True", missing]  # the publisher's thread may be faster than the script
    assert lost.startswith("1 events are missing: ")


async def test_nothing_of_kafka_is_imported_before_it_is_chosen(target: KafkaTarget) -> None:
    printed = await run_script(
        target,
        """
        import sys
        from flowgauge.producers import KafkaTarget, Publisher
        heavy = ["aiokafka", "asyncio", "pydantic", "structlog"]
        print([name for name in heavy if name in sys.modules])
        publisher = Publisher()
        publisher.emit({"event": "x", "resource": {"id": "y"}})
        publisher.close()
        print([name for name in heavy if name in sys.modules])
        """,
    )

    assert printed == "[]\n['aiokafka', 'asyncio']\n"


async def test_the_clients_own_lines_stay_out_of_the_workers_log(
    target: KafkaTarget, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), Publisher(kafka=target) as publisher:
        publisher.emit(MINIMAL)
        await flushed(publisher)

    assert [record for record in caplog.records if record.name.startswith("aiokafka")] == []
