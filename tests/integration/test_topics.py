"""`flowgauge topics plan|apply|check` against real brokers: what it makes, leaves alone, refuses and says."""

import asyncio
import dataclasses
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.integration.commands_here import run_here
from tests.integration.fenced_blocks import ROOT, blocks, commands
from tests.secured_kafka import authorizing_broker

from flowgauge.processors.growing import announce_sources
from flowgauge.processors.ruleset import RuleSet
from flowgauge.processors.ruletopic import RuleBook, announced_versions, publish_rules, write_version
from flowgauge.schemas.errors import BadEnvironment, Transient
from flowgauge.schemas.topics import EVENTS, STATE
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.kafka_security import Security
from flowgauge.transport.topic_admin import apply_plan, read_plan, require_topics
from flowgauge.transport.topic_plan import ALL, Sizes, wanted_topics

GUIDE = ROOT / "docs" / "kafka.md"
GOLDEN = Path(__file__).parents[1] / "golden" / "topics"
FLOWGAUGE = Path(sys.executable).parent / "flowgauge"
ONE = Sizes(partitions=4, samples_partitions=2, replication=1)
ANSWER_MS = 3_000

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def connection(kafka: str) -> Connection:
    return Connection(bootstrap=kafka, prefix=f"t{uuid.uuid4().hex[:8]}")


def run(connection: Connection, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `flowgauge topics …` with ONE's sizes."""
    sizes = {"PARTITIONS": "4", "SAMPLES_PARTITIONS": "2", "KAFKA_REPLICATION": "1"}
    where = {"KAFKA_BOOTSTRAP": connection.bootstrap, "KAFKA_PREFIX": connection.prefix}
    known = {f"FLOWGAUGE_{name}": value for name, value in {**sizes, **where, **env}.items()}
    return run_here("topics", *arguments, env=known)


def assert_is_golden(name: str, text: str, connection: Connection) -> None:
    """Compare with tests/golden/topics; FLOWGAUGE_UPDATE_GOLDEN=1 writes it anew."""
    file = GOLDEN / f"{name}.txt"
    text = text.replace(connection.prefix, "flowgauge").replace(connection.bootstrap, "127.0.0.1:9092")
    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


async def make(connection: Connection, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
    """Create a topic as somebody else would."""
    admin = cast("Any", AIOKafkaAdminClient)(bootstrap_servers=connection.bootstrap)
    try:
        await admin.start()
        name = connection.names.topic(topic)
        answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(settings))])
        assert [error[1] for error in answer.topic_errors] == [0]
        while len((await admin.describe_topics([name]))[0]["partitions"]) < partitions:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def settings_of(connection: Connection, topic: str) -> dict[str, str]:
    admin = cast("Any", AIOKafkaAdminClient)(bootstrap_servers=connection.bootstrap)
    try:
        await admin.start()
        resource = ConfigResource(ConfigResourceType.TOPIC, connection.names.topic(topic))
        (answer,) = await admin.describe_configs([resource])
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}
    finally:
        await admin.close()


async def apply(connection: Connection, sizes: Sizes = ONE) -> None:
    await apply_plan(connection, await read_plan(connection, sizes), sizes)


def test_a_plan_tells_what_is_missing_and_makes_none_of_it(connection: Connection) -> None:
    first, second = run(connection, "plan"), run(connection, "plan")

    assert (first.returncode, first.stderr) == (1, "")
    assert_is_golden("plan-nothing-there", first.stdout, connection)
    assert second.stdout == first.stdout


async def test_what_was_applied_is_a_log_and_applying_it_again_changes_nothing(connection: Connection) -> None:
    created, again, planned, checked = (run(connection, each) for each in ("apply", "apply", "plan", "check"))
    log = await open_kafka_log(connection)
    log_id, partitions = log.log_id, [log.partitions(topic) for topic in ALL]
    ends = await log.ends(STATE)
    await log.close()

    assert (created.returncode, created.stderr) == (0, "")
    assert_is_golden("apply-nothing-there", created.stdout, connection)
    for done in (again, planned, checked):
        assert (done.returncode, done.stdout, done.stderr) == (0, "the topics are as wanted\n", "")
    assert partitions == [4, 2, 2, 1, 1, 1, 1, 1, 1]
    assert log_id
    assert ends == {0: 1, 1: 0}  # one identity, though applied twice


async def test_brokers_stamp_pack_and_keep_records_as_wanted(connection: Connection) -> None:
    await apply(connection)

    events, state = await settings_of(connection, EVENTS), await settings_of(connection, STATE)
    assert (
        events.items()
        >= {
            "cleanup.policy": "delete",
            "compression.type": "lz4",
            "max.message.bytes": "4194304",
            "message.timestamp.type": "LogAppendTime",
            "min.insync.replicas": "1",
            "retention.bytes": "-1",
            "retention.ms": "604800000",
            "unclean.leader.election.enable": "false",
        }.items()
    )
    assert (state["cleanup.policy"], state["message.timestamp.type"]) == ("compact", "LogAppendTime")


async def test_drift_is_told_and_mended_and_the_operators_own_settings_stay(connection: Connection) -> None:
    await make(
        connection,
        EVENTS,
        2,
        {
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": "3600000",
            "compression.type": "gzip",
            "flush.messages": "1234",
            "max.message.bytes": "9000000",
        },
    )
    await make(connection, STATE, 2, {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"})

    checked, planned, applied = run(connection, "check"), run(connection, "plan"), run(connection, "apply")

    assert (checked.returncode, planned.returncode, applied.returncode) == (1, 1, 0)
    assert_is_golden("check-drift", checked.stdout, connection)
    assert_is_golden("plan-drift", planned.stdout, connection)
    assert_is_golden("apply-drift", applied.stdout, connection)
    assert (await read_plan(connection, ONE)).is_empty
    settings = await settings_of(connection, EVENTS)
    assert (settings["flush.messages"], settings["max.message.bytes"]) == ("1234", "9000000")


async def test_what_would_lose_records_or_part_state_from_input_is_refused_and_nothing_is_changed(
    connection: Connection,
) -> None:
    stamped = {"message.timestamp.type": "LogAppendTime"}
    await make(connection, EVENTS, 8, {"retention.ms": "-1"})  # its producers stamp it
    await make(connection, "flowgauge.samples", 3, {**stamped, "cleanup.policy": "compact"})
    await make(connection, "flowgauge.transitions", 2, {**stamped, "retention.ms": "604800001"})

    planned, applied, checked = run(connection, "plan"), run(connection, "apply"), run(connection, "check")

    assert (planned.returncode, applied.returncode, checked.returncode, applied.stdout) == (1, 1, 1, "")
    assert_is_golden("plan-refused", planned.stdout, connection)
    assert_is_golden("apply-refused", applied.stderr, connection)
    assert f"{connection.prefix}.events: partitions is 8, not 4" in checked.stdout
    assert (await read_plan(connection, ONE)).steps  # what was missing still is


async def test_a_shorter_retention_is_taken_when_it_is_allowed(connection: Connection) -> None:
    await apply(connection)

    refused = run(connection, "apply", RETENTION_DAYS="1")
    allowed = run(connection, "apply", "--allow-shorter-retention", RETENTION_DAYS="1")

    assert refused.returncode == 1
    assert "retention_days as it is there" in refused.stderr
    assert (allowed.returncode, len(allowed.stdout.splitlines())) == (0, 5)
    assert (await settings_of(connection, EVENTS))["retention.ms"] == "86400000"


async def test_events_grow_in_use_too_once_the_log_was_told_and_shrink_never(connection: Connection) -> None:
    await apply(connection)

    grown = run(connection, "apply", "--partitions", "6")
    shrunk = run(connection, "apply", "--partitions", "4")

    assert grown.stdout == f"grew {connection.prefix}.events from 4 to 6 partitions\n"
    assert (shrunk.returncode, shrunk.stdout) == (1, "")
    assert "Kafka takes no partitions away (set partitions = 6, or " in shrunk.stderr
    log = await open_kafka_log(connection)
    await publish_rules(log, RuleSet())
    await log.close()
    planned = run(connection, "plan", "--partitions", "8")
    late = run(connection, "apply", "--partitions", "8")
    again = run(connection, "apply", "--partitions", "8")
    assert (late.returncode, late.stdout, late.stderr) == (
        0,
        f"grew {connection.prefix}.events from 6 to 8 partitions\n",
        "",
    )
    assert planned.stdout.rstrip().endswith("tell the log, then add partitions")
    assert again.stdout == "the topics are as wanted\n"
    log = await open_kafka_log(connection)
    book = RuleBook(log)
    await book.refresh()
    assert (book.current_version, book.rulesets[2].joining) == (2, range(6, 8))
    assert [announced_versions(await log.read(EVENTS, each, 0, 10), each) for each in range(8)] == [{1, 2}] * 6 + [
        set()
    ] * 2
    await log.close()


async def test_growth_that_broke_off_after_the_log_was_told_is_finished_by_the_next_apply(
    connection: Connection,
) -> None:
    await apply(connection)
    log = await open_kafka_log(connection)
    await publish_rules(log, RuleSet())
    version = await announce_sources(log, 6)

    checked = run(connection, "check", "--partitions", "6")
    finished = run(connection, "apply", "--partitions", "6")

    assert "partitions is 4, not 6 (flowgauge topics apply)" in checked.stdout
    assert finished.stdout == f"grew {connection.prefix}.events from 4 to 6 partitions\n"
    book = RuleBook(log)
    await book.refresh()
    assert (book.newest_version, book.current_version) == (version, version)
    await log.close()


async def test_a_log_may_take_longer_to_be_told_than_brokers_may_take_to_answer(connection: Connection) -> None:
    await apply(connection)
    log = await open_kafka_log(connection)
    await publish_rules(log, RuleSet())
    await log.close()
    more = dataclasses.replace(ONE, partitions=6)
    brief = dataclasses.replace(connection, answer_ms=ANSWER_MS)

    async def announce(partitions: int) -> None:
        told = await open_kafka_log(brief)
        await announce_sources(told, partitions)
        await told.close()
        await asyncio.sleep(2 * ANSWER_MS / 1000)  # as long as there is lag to be read

    await apply_plan(brief, await read_plan(brief, more), more, announce=announce)

    await require_topics(connection, more)


async def test_a_growth_that_broke_off_is_taken_along_by_a_further_one(connection: Connection) -> None:
    await apply(connection)
    log = await open_kafka_log(connection)
    await publish_rules(log, RuleSet())
    book = RuleBook(log)
    await book.refresh()
    await write_version(log, book, RuleSet(), range(4, 6))  # and then it ended
    await log.close()

    grown = run(connection, "apply", "--partitions", "8")

    assert (grown.stdout, grown.stderr) == (f"grew {connection.prefix}.events from 4 to 8 partitions\n", "")
    log = await open_kafka_log(connection)
    book = RuleBook(log)
    await book.refresh()
    assert [book.begin_of(source)[1] for source in range(8)] == [0] * 4 + [3] * 4
    await log.close()


async def test_two_that_apply_at_once_agree(connection: Connection) -> None:
    plan = await read_plan(connection, ONE)

    await asyncio.gather(apply_plan(connection, plan, ONE), apply_plan(connection, plan, ONE))

    await require_topics(connection, ONE)


async def test_a_role_does_not_start_on_topics_that_differ(connection: Connection) -> None:
    await apply(connection)
    await require_topics(connection, ONE)

    with pytest.raises(BadEnvironment) as refused:
        await require_topics(connection, Sizes(partitions=4, samples_partitions=4, replication=1))

    first, *lines = str(refused.value).splitlines()
    assert first == f"the topics at {connection.bootstrap} are not as wanted:"
    assert [line.split(" (")[0] for line in lines] == [
        f"{connection.prefix}.{topic}: partitions is 2, not 4: detection keeps its state by partition"
        for topic in ("samples", "state")
    ]


def test_more_replicas_than_brokers_end_with_one_line_and_the_remedy(connection: Connection) -> None:
    done = run(connection, "apply", "--replication", "3")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "kafka.replication" in done.stderr


def test_no_broker_at_all_is_one_line_with_the_remedy() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = Connection(bootstrap=f"127.0.0.1:{closed.getsockname()[1]}")
        done = run(nowhere, "check")

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"flowgauge: Kafka at {nowhere.bootstrap}: cannot see to its topics: no broker answers"
        " (start it, or correct kafka.bootstrap and kafka.tls)\n"
    )


async def test_a_broker_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        connection = Connection(bootstrap=f"127.0.0.1:{mute.getsockname()[1]}", answer_ms=300)
        with pytest.raises(Transient, match=r"cannot see to its topics: no answer within 300 ms; trying again"):
            await read_plan(connection, ONE)


def test_settings_without_brokers_say_where_to_name_them(tmp_path: Path) -> None:
    done = run(Connection(bootstrap=""), "plan")

    assert (done.returncode, done.stderr) == (
        2,
        'flowgauge: kafka.bootstrap is not set (write [kafka] bootstrap = "HOST:PORT")\n',
    )


def test_the_commands_of_the_guide_run_in_their_order(connection: Connection, tmp_path: Path) -> None:
    (settings,) = blocks(GUIDE, "toml")
    (tmp_path / "flowgauge.toml").write_text(settings.text, encoding="utf-8")
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLOWGAUGE_")},
        "FLOWGAUGE_KAFKA_BOOTSTRAP": connection.bootstrap,
        "FLOWGAUGE_KAFKA_PREFIX": connection.prefix,
        "FLOWGAUGE_KAFKA_REPLICATION": "1",  # there is one broker
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    codes: list[tuple[str, int]] = []

    for command in [command for block in blocks(GUIDE, "sh") for command in commands(block)]:
        arguments = command.replace("flowgauge-2", f"{connection.prefix}-2").split()
        done = subprocess.run([FLOWGAUGE, *arguments[1:]], cwd=tmp_path, env=env, capture_output=True, check=False)
        codes.append((command, done.returncode))

    # There is something to do at first; and here anybody may do everything, which no worker needs.
    found = {"flowgauge topics plan", "flowgauge topics check --as worker"}
    assert codes == [(command, 1 if command in found else 0) for command, _ in codes]
    assert len(codes) == 10


def test_the_guide_names_every_topic_and_setting() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    wanted = wanted_topics(Names("flowgauge"), Sizes())

    for topic in wanted:
        assert re.search(
            rf"^\| `{re.escape(topic.name)}` \| \S+ \| {topic.settings['cleanup.policy']} \|", text, re.MULTILINE
        )
    settings = {setting for topic in wanted for setting in topic.settings} - {"cleanup.policy"}
    rows = text.split("| setting | value | why |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `([a-z.]+)` ", rows, re.MULTILINE)) == settings


@pytest.fixture(scope="module")
def secured() -> Iterator[str]:
    """Return a broker that asks who we are, and lets only ann do things."""
    with authorizing_broker() as (_, secured):
        yield secured


def as_user(bootstrap: str, name: str, password: str) -> Connection:
    return Connection(bootstrap=bootstrap, security=Security(mechanism="PLAIN", username=name, password=password))


async def test_wrong_credentials_are_told_as_such_without_telling_them(secured: str) -> None:
    with pytest.raises(BadEnvironment, match=r"it does not believe us .*correct kafka\.sasl") as refused:
        await read_plan(as_user(secured, "ann", "hunter2"), ONE)
    with pytest.raises(BadEnvironment, match=r"cannot connect: it does not believe us .*correct kafka\.sasl"):
        await open_kafka_log(as_user(secured, "ann", "hunter2"))

    assert "hunter2" not in str(refused.value)


async def test_a_user_without_grants_is_told_which_to_ask_for(secured: str) -> None:
    with pytest.raises(BadEnvironment, match="grant this user Describe"):
        await read_plan(as_user(secured, "bob", "right"), ONE)


def test_the_credentials_of_the_settings_are_used(secured: str, tmp_path: Path) -> None:
    (tmp_path / "flowgauge.toml").write_text(
        f'[kafka]\nbootstrap = "{secured}"\nsasl = "PLAIN"\nusername = "ann"\npassword = {{ env = "ANN" }}\n',
        encoding="utf-8",
    )
    said: list[tuple[int, str]] = []

    for password in ("right", "wrong"):
        done = subprocess.run(
            [FLOWGAUGE, "topics", "plan", "--prefix", "new", "--config", "flowgauge.toml"],
            cwd=tmp_path,
            env={**os.environ, "ANN": password, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said.append((done.returncode, done.stderr))

    assert said[0] == (1, "")  # there are no topics yet
    assert (said[1][0], said[1][1].count("\n")) == (3, 1)
    assert "correct kafka.sasl, or kafka.username and kafka.password" in said[1][1]


async def test_a_user_that_may_is_let_in(secured: str) -> None:
    ann = as_user(secured, "ann", "right")

    await apply(ann)

    await require_topics(ann, ONE)
