"""A log in use gets more source partitions while events come in: nothing is lost, and what is told is what it says.

All roles run as processes on real Kafka, two of those that share work. The log is told and grown as docs/kafka.md
says, in its order, and everything is compared with one pure pass over the log that came of it.
"""

import asyncio
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from tests.clickhouse_front import Front
from tests.integration.audit_log import records_in
from tests.integration.role_processes import WAIT_S, RoleProcess, Roles, kafka_environment
from tests.integration.test_roles import CHANNELS, FAILING, Running, assert_all_agree, runs
from tests.integration.up_process import wait_for
from tests.integration.webhook_receiver import WebhookReceiver

from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.log import Log

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def running(kafka: str, tmp_path: Path) -> Iterator[Running]:
    env = kafka_environment(kafka, f"g{uuid.uuid4().hex[:8]}", partitions=2, samples_partitions=2)
    with Front(tmp_path / "clickhouse") as front, WebhookReceiver() as receiver:
        env |= {
            "FLOWGAUGE_CLICKHOUSE_URL": front.url,
            "FLOWGAUGE_CLICKHOUSE_USER": front.user,
            "FLOWGAUGE_CLICKHOUSE_PASSWORD": front.password,
            "FLOWGAUGE_EGRESS_ALLOW": receiver.address,
            "HOOK_SECRET": receiver.secret,
        }
        rules = FAILING.replace("allowed_lateness: 8s", "allowed_lateness: 2s")  # what is told soon is compared soon
        (tmp_path / "rules.yaml").write_text(rules, encoding="utf-8")
        (tmp_path / "channels").mkdir()
        (tmp_path / "channels" / "ops.yaml").write_text(CHANNELS.replace("ADDRESS", receiver.address), encoding="utf-8")
        with Roles(env, tmp_path) as roles:
            assert roles.run("topics", "apply").returncode == 0
            assert roles.run("rules", "apply", "rules.yaml").returncode == 0
            for instance in ("gateway-1", "pulse-1", "match-1", "match-2", "detect-1", "detect-2", "sink-1"):
                roles.start(instance[:-2], instance)
            roles.start("notify", "notify-1", "--rules", "channels")
            for each in roles:
                each.wait_until_ready()
            yield Running(roles, front, receiver)


@contextmanager
def load(running: Running) -> Generator[None]:
    """Publish all the while, each event until a gateway has taken it, as the publisher's spool does."""
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            batch = runs("failed", 2)
            while True:
                try:
                    running.publish(batch)
                    break
                except (httpx2.HTTPError, AssertionError):
                    stop.wait(0.2)
            stop.wait(0.3)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def restart(each: RoleProcess, partitions: int) -> None:
    """Start it anew with the new setting."""
    each.env = {**each.env, "FLOWGAUGE_PARTITIONS": str(partitions)}
    each.restart()


async def members_of(running: Running, groups: set[str]) -> int:
    """Return how many members these groups of the events have."""
    env = running.roles.env
    admin = cast("Any", AIOKafkaAdminClient)(bootstrap_servers=env["FLOWGAUGE_KAFKA_BOOTSTRAP"])
    await admin.start()
    try:
        names = [f"{env['FLOWGAUGE_KAFKA_PREFIX']}.{group}.events" for group in groups]
        # One at a time: aiokafka reads the answer about several as that of an older version.
        answers = [await admin.describe_consumer_groups([name]) for name in names]
        return sum(len(group[5]) for (answer,) in answers for group in answer.groups)
    finally:
        await admin.close()


async def events_by_partition(log: Log) -> list[int]:
    partitions = range(log.partitions(EVENTS))
    return [sum([r.kind == RecordKind.EVENT async for r in records_in(log, EVENTS, each)]) for each in partitions]


def test_a_log_in_use_grows_under_load_and_tells_what_one_pass_over_it_tells(running: Running) -> None:
    one = running.one
    with load(running):
        wait_for(running.receiver.bodies, "the first messages", wait_s=WAIT_S)

        grown = running.roles.run("topics", "apply", FLOWGAUGE_PARTITIONS="4")
        assert (grown.returncode, grown.stderr) == (0, ""), grown.stderr
        assert grown.stdout.endswith(".events from 2 to 4 partitions\n")

        for instance in ("gateway-1", "pulse-1"):
            one(instance).end()
            restart(one(instance), 4)
        assert asyncio.run(members_of(running, {"matcher", "clickhouse"})) == 3
        readers = [one(instance) for instance in ("match-1", "match-2", "sink-1")]
        for each in readers:
            each.end()
        wait_for(
            lambda: asyncio.run(members_of(running, {"matcher", "clickhouse"})) == 0,
            "the groups to be empty",
            wait_s=60,
        )
        for each in readers:
            restart(each, 4)
        for each in readers:
            each.wait_until_ready()
        for instance in ("detect-1", "detect-2", "notify-1"):
            one(instance).end()
            restart(one(instance), 4)
            one(instance).wait_until_ready()
        wait_for(lambda: all(running.ask_log(events_by_partition)), "events in every partition", wait_s=60)

    assert sorted(each for name in ("match-1", "match-2") for each in one(name).partitions("events")) == [0, 1, 2, 3]
    assert one("sink-1").partitions("events") == [0, 1, 2, 3]
    assert_all_agree(running)
    assert all(each.is_running() for each in running.roles)
