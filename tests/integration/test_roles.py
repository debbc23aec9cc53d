"""All roles as processes on real Kafka and ClickHouse's HTTP interface: two matchers, two detectors, one of each other.

Events come in over HTTP and go all the way. Then everything is compared with what the log itself says: rows with its
events, transitions with those of one pure pass over it, messages with those transitions.
"""

import asyncio
import json
import socket
import subprocess
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
from tests.clickhouse_front import Front
from tests.integration.audit_log import expected_transitions, records_of, transitions_in
from tests.integration.fenced_blocks import ROOT, blocks, commands
from tests.integration.role_processes import WAIT_S, RoleProcess, Roles, kafka_environment
from tests.integration.up_process import COMMAND, wait_for
from tests.integration.webhook_receiver import WebhookReceiver

from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.sinks.webhooks.telling import is_told
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Log
from flowgauge.transport.wall_clock import now_ms

PARTITIONS, SAMPLES_PARTITIONS = 4, 2
FLOWS = [f"flow-{number}" for number in range(8)]  # some go to each samples partition
GUIDE = ROOT / "docs" / "roles.md"
ROLES = ("gateway", "pulse", "match", "detect", "sink", "notify", "console")
FAILING = """
rules:
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 60%, within: 3s, min_samples: 4}}
    allowed_lateness: 8s
    no_data: resolve
    notify: [ops]
"""
CRASHED = """
  - name: crashed
    match: {state: crashed}
    for_each: [flow]
    when: {event: {}}
    allowed_lateness: 8s
    notify: [ops]
"""
CHANNELS = """
channels:
  - {name: ops, webhook: {url: "http://ADDRESS/hook", secret: {env: HOOK_SECRET}}}
"""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Running:
    """Everything that runs."""

    roles: Roles
    front: Front
    receiver: WebhookReceiver

    def one(self, instance: str) -> RoleProcess:
        """Return a process by its instance."""
        return next(each for each in self.roles if each.instance == instance)

    def publish(self, events: Sequence[dict[str, object]]) -> None:
        """Send events to the gateway, which accepts all."""
        url = self.one("gateway-1").wait_until_answers()
        body = "\n".join(json.dumps(event) for event in events)
        headers = {"content-type": "application/x-ndjson"}
        answer = httpx2.post(f"{url}/v1/events", content=body, headers=headers, trust_env=False, timeout=60)
        assert (answer.status_code, answer.json()["accepted"]) == (200, len(events)), answer.text

    def ask_log(self, question: Callable[[Log], Awaitable[_T]]) -> _T:
        """Open the log, ask, close it."""
        env = self.roles.env
        connection = Connection(
            bootstrap=env["FLOWGAUGE_KAFKA_BOOTSTRAP"], prefix=env["FLOWGAUGE_KAFKA_PREFIX"], instance="test"
        )

        async def ask() -> _T:
            log = await open_kafka_log(connection)
            try:
                return await question(log)
            finally:
                await log.close()

        return asyncio.run(ask())

    def ask_clickhouse(self, sql: str) -> list[Sequence[object]]:
        """Return the rows that answer `sql`."""
        store = ClickHouseStore.connect(Server(self.front.url, self.front.user, self.front.password))
        try:
            return list(asyncio.run(store.query(sql, seen=EVERY_TENANT)).rows)
        finally:
            store.close()


def runs(state: str, per_flow: int) -> list[dict[str, object]]:
    """Return ends of runs of every flow, all of now."""
    return [
        {
            "id": str(uuid.uuid4()),
            "occurred": rfc3339(now_ms()),
            "event": f"prefect.flow-run.{state.capitalize()}",
            "kind": "flow-run",
            "flow": flow,
            "run": (run := f"{flow}/{uuid.uuid4().hex[:8]}"),
            "state": state,
            "resource": {"id": run},
        }
        for flow in FLOWS
        for _ in range(per_flow)
    ]


@pytest.fixture(scope="module")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("roles")
    prefix = f"r{uuid.uuid4().hex[:8]}"
    env = kafka_environment(kafka, prefix, partitions=PARTITIONS, samples_partitions=SAMPLES_PARTITIONS)
    with Front(folder / "clickhouse") as front, WebhookReceiver() as receiver:
        env |= front.environment | {"FLOWGAUGE_EGRESS_ALLOW": receiver.address, "HOOK_SECRET": receiver.secret}
        (folder / "rules.yaml").write_text(f"{FAILING}", encoding="utf-8")
        (folder / "channels").mkdir()
        (folder / "channels" / "ops.yaml").write_text(CHANNELS.replace("ADDRESS", receiver.address), encoding="utf-8")
        with Roles(env, folder) as roles:
            follow_the_guide(roles)
            for each in roles:
                each.wait_until_ready()
            yield Running(roles, front, receiver)


def follow_the_guide(roles: Roles) -> None:
    """Run its commands in their order, each role on a free port."""
    (shell,) = blocks(GUIDE, "sh")
    for command in commands(shell):
        _, word, *arguments = command.split()
        if word in ROLES:
            given = dict(zip(arguments[::2], arguments[1::2], strict=True))
            more = [part for name in ("--rules",) if name in given for part in (name, given[name])]
            roles.start(word, given.get("--instance", f"{word}-1"), *more)
            continue
        for each in roles:
            each.wait_until_answers()
        done = roles.run(word, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert word == "topics" or done.stdout.startswith("rule set 1 is in force: 1 rule and 0 channels\n")
    assert {each.role for each in roles} == set(ROLES)


async def told_by(log: Log) -> dict[str, list[str]]:
    """Return what the log says was told, and what it should have been."""
    events = [each async for each in records_of(log, EVENTS) if each.kind == RecordKind.EVENT]
    expected, told = await expected_transitions(log), await transitions_in(log)
    last = {each.incident_id: each for each in sorted(expected, key=lambda each: each.seq)}
    return {
        "events": [str(len(events))],
        "expected": sorted(each.transition_id for each in expected),
        "told": sorted(each.transition_id for each in told),
        "to deliver": sorted(each.transition_id for each in expected if each.notify and is_told(each)),
        # A window that can still resolve has more to tell; a single event has not.
        "open": [i for i, each in last.items() if each.rule_kind != "event" and each.to_state != "resolved"],
    }


def all_say(running: Running) -> dict[str, list[str]]:
    """Return what log, ClickHouse and receiver say."""
    stored = running.ask_clickhouse("SELECT transition_id FROM flowgauge.transitions")
    (rows,) = running.ask_clickhouse(
        "SELECT count(), uniqExact(_partition, _offset), uniqExact(id) FROM flowgauge.events"
    )
    return {
        **running.ask_log(told_by),
        "stored": sorted(str(row[0]) for row in stored),
        "rows": [str(value) for value in rows],
        "delivered": sorted(str(body["transition_id"]) for body in running.receiver.bodies()),
    }


def assert_all_agree(running: Running) -> None:
    """Wait until log, ClickHouse and receiver agree, and with what the log must lead to."""
    found: dict[str, list[str]] = {}

    def agree() -> bool:
        found.update(all_say(running))
        return (
            bool(found["expected"])
            and not found["open"]
            and found["expected"] == found["told"] == found["stored"]
            and found["to deliver"] == found["delivered"]
            and found["rows"] == found["events"] * 3
        )

    try:
        wait_for(agree, "agreement", wait_s=WAIT_S)
    except AssertionError:
        said = "\n".join(f"{each.role} {each.instance}: {each.text()[-2000:]}" for each in running.roles)
        counts = {name: (len(ids), ids[:3]) for name, ids in found.items()}
        raise AssertionError(f"{counts}\n{said}") from None


def test_events_over_http_become_rows_incidents_and_signed_messages(running: Running) -> None:
    running.publish([*runs("failed", 5), *runs("completed", 2)])
    wait_for(
        lambda: {body["key"]["flow"] for body in running.receiver.bodies()} == set(FLOWS), "messages", wait_s=WAIT_S
    )

    assert_all_agree(running)
    firing = [body for body in running.receiver.bodies() if body["state"] == "firing"]
    assert Counter(body["key"]["flow"] for body in firing) == dict.fromkeys(FLOWS, 1)
    shares = [running.one(name).partitions("samples") for name in ("detect-1", "detect-2")]
    assert sorted(map(len, shares)) == [1, 1]


def test_the_console_shows_what_the_other_roles_do(running: Running) -> None:
    console = running.one("console-1")

    wait_for(lambda: console.get("/v1/health").json()["ok"], "detection's clock", wait_s=WAIT_S)
    incidents = console.get("/v1/incidents").json()["rows"]
    assert {incident["key"]["flow"] for incident in incidents} == set(FLOWS)
    assert console.get("/").status_code == 200
    assert console.get("/v1/health").json()["rules_version"] == 1


def test_what_people_do_is_told_by_the_console_from_the_log(running: Running) -> None:
    console = running.one("console-1")
    incident = console.get("/v1/incidents").json()["rows"][0]["incident_id"]

    done = running.roles.run("incidents", "ack", incident, "--as", "ann", "--url", console.wait_until_answers())

    assert (done.returncode, done.stderr) == (0, "")
    shown = console.get(f"/v1/incidents/{incident}").json()
    assert [(act["act"], act["by"]) for act in shown["acts"]] == [("ack", "ann")]


def test_a_rule_set_is_switched_while_two_of_each_work(running: Running) -> None:
    running.publish(runs("failed", 5))
    (running.roles.folder / "rules.yaml").write_text(FAILING + CRASHED, encoding="utf-8")
    url = running.one("console-1").wait_until_answers()

    planned = running.roles.run("rules", "plan", "rules.yaml", "--url", url)
    applied = running.roles.run("rules", "apply", "rules.yaml", "--url", url)
    running.publish(runs("crashed", 1))

    assert planned.stdout.endswith("\n2 rules: 1 new, 1 unchanged\n"), planned
    assert (applied.returncode, applied.stderr) == (0, "")
    assert applied.stdout == "rule set 2 is in force: 2 rules and 0 channels\n"
    wait_for(
        lambda: len([b for b in running.receiver.bodies() if b["rule"] == "crashed"]) >= len(FLOWS),
        "crashes",
        wait_s=WAIT_S,
    )
    assert_all_agree(running)


def test_a_matcher_and_a_detector_that_are_killed_leave_nothing_undone(running: Running) -> None:
    killed = [running.one("match-1"), running.one("detect-1")]
    running.publish(runs("failed", 3))
    for each in killed:
        each.kill()

    running.publish(runs("failed", 5))
    owned = range(SAMPLES_PARTITIONS)
    wait_for(lambda: running.one("detect-2").partitions("samples") == list(owned), "the other", wait_s=WAIT_S)
    for each in killed:
        each.restart()
        each.wait_until_ready()

    assert_all_agree(running)


def test_each_role_measures_what_it_does(running: Running) -> None:
    measured = {each.instance: each.measured for each in running.roles}

    assert measured["gateway-1"]("flowgauge_producers_events_accepted_total") > 0
    assert measured["pulse-1"]("flowgauge_producers_pulses_total") > 0
    assert measured["match-2"]("flowgauge_processors_events_total") > 0
    assert measured["match-2"]("flowgauge_transport_rebalances_total", topic="events", group="matcher") > 0
    assert measured["detect-2"]("flowgauge_transport_transaction_seconds_count", topic="samples") > 0
    assert measured["detect-2"]("flowgauge_transport_restore_seconds_count", topic="samples") > 0
    assert measured["sink-1"]("flowgauge_sinks_rows_total", table="flowgauge.events") > 0
    assert 0 < measured["console-1"]("flowgauge_console_detection_behind_seconds") < 60
    assert measured["notify-1"]("flowgauge_console_undelivered_messages") == 0
    for topic, group in (("events", "matcher"), ("samples", "detector"), ("events", "clickhouse")):
        assert measured["console-1"]("flowgauge_transport_lag_seconds", topic=topic, group=group) < 60


def test_each_line_of_the_log_names_its_role(running: Running) -> None:
    for each in running.roles:
        assert {(line.get("role"), line.get("instance")) for line in each.log()} == {(each.role, each.instance)}


def test_each_role_ends_in_order_when_it_is_told_to(running: Running) -> None:
    for each in running.roles:
        each.terminate()

    assert {each.instance: each.end() for each in running.roles} == {each.instance: 0 for each in running.roles}
    for each in running.roles:
        assert [line["event"] for line in each.log()][-1] == "ended", each.text()


def run_all(env: dict[str, str], folder: Path, *names: str) -> dict[str, tuple[int, str]]:
    """Run roles at once, each to its own end; return how it ended and what it said."""
    full = Roles(env, folder).env
    begun = {
        name: subprocess.Popen(
            [*COMMAND, name, "--port", "0"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=full
        )
        for name in names
    }
    ended = {name: process.communicate(timeout=120) for name, process in begun.items()}
    return {name: (begun[name].returncode, "".join(said)) for name, said in ended.items()}


def test_a_broker_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        bootstrap = f"127.0.0.1:{unused.getsockname()[1]}"
        found = run_all(kafka_environment(bootstrap, "nothing"), tmp_path, *ROLES)

    said = f"flowgauge: Kafka at {bootstrap}: cannot see to its topics: no broker answers"
    for name, (code, line) in found.items():
        assert (code, line.count("\n"), line[: len(said)]) == (3, 1, said), name


def test_topics_that_are_missing_or_different_are_told_with_the_remedy(kafka: str, tmp_path: Path) -> None:
    env = kafka_environment(kafka, f"r{uuid.uuid4().hex[:8]}")

    missing = run_all(env, tmp_path, "match")["match"]
    assert Roles(env, tmp_path).run("topics", "apply").returncode == 0
    different = run_all({**env, "FLOWGAUGE_SAMPLES_PARTITIONS": "3"}, tmp_path, "match")["match"]

    assert (missing[0], different[0]) == (3, 3)
    assert missing[1].startswith(f"flowgauge: the topics at {kafka} are not as wanted:\n")
    assert "flowgauge topics apply" in missing[1]
    assert "samples" in different[1]


def test_a_process_whose_name_another_takes_ends_with_one_line(kafka: str, tmp_path: Path) -> None:
    env = kafka_environment(kafka, f"r{uuid.uuid4().hex[:8]}")
    with Roles(env, tmp_path) as roles:
        assert roles.run("topics", "apply").returncode == 0
        before = roles.start("match", "match-1")
        before.wait_until_ready()
        taking = roles.start("match", "match-1")

        taking.wait_until_ready()
        code = before.process.wait(WAIT_S)

        assert taking.partitions("events") == [0, 1, 2, 3]
        (said,) = [line["text"] for line in before.log() if "text" in line]
    assert code == 1
    assert said.startswith("flowgauge: ")
    assert said.endswith("give each its own kafka.instance: this one is 'match-1')")


def test_of_two_processes_that_start_at_once_under_one_name_one_works_and_the_other_ends_with_one_line(
    kafka: str, tmp_path: Path
) -> None:
    env = kafka_environment(kafka, f"r{uuid.uuid4().hex[:8]}", partitions=1, samples_partitions=1)
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    with Roles(env, folders[0]) as one, Roles(env, folders[1]) as other:
        assert one.run("topics", "apply").returncode == 0
        both = [roles.start("detect", "detect-1") for roles in (one, other)]

        wait_for(lambda: not all(each.is_running() for each in both), "the end of one", wait_s=WAIT_S)
        (ended,) = [each for each in both if not each.is_running()]
        (working,) = [each for each in both if each is not ended]
        working.wait_until_ready()

        assert working.partitions("samples") == [0]
        (said,) = [line["text"] for line in ended.log() if "text" in line]
        assert (ended.process.returncode, "Traceback" in ended.text()) == (1, False), ended.text()
    assert said.endswith("each its own kafka.instance: this one is 'detect-1')")


@pytest.mark.parametrize(
    ("role", "env", "code", "said"),
    [
        ("match", {"FLOWGAUGE_KAFKA_BOOTSTRAP": ""}, 2, "flowgauge: kafka.bootstrap is not set"),
        ("gateway", {"FLOWGAUGE_HOST": "0.0.0.0"}, 2, "flowgauge: host: '0.0.0.0' can be reached from other machines"),
        ("sink", {}, 2, "flowgauge: clickhouse.url is not set: roles share a ClickHouse server"),
        ("sink", {"FLOWGAUGE_CLICKHOUSE_URL": "http://127.0.0.1:9"}, 3, "flowgauge: no ClickHouse answers at"),
        ("notify", {}, 2, "flowgauge: rules is not set: notify reads its channels in a folder here"),
    ],
)
def test_what_a_role_lacks_is_one_line(
    role: str, env: dict[str, str], code: int, said: str, *, kafka: str, tmp_path: Path
) -> None:
    settings = kafka_environment(kafka, f"r{uuid.uuid4().hex[:8]}")
    if role in {"sink", "notify"}:  # what they lack shows only once they have a log
        assert Roles(settings, tmp_path).run("topics", "apply").returncode == 0

    ended, line = run_all({**settings, **env}, tmp_path, role)[role]

    assert (ended, line.count("\n"), line[: len(said)]) == (code, 1, said)
