"""A real Prefect server with the broker plugin: what flows do arrives, whole, at `flowgauge up` or in Kafka."""

import asyncio
import json
import uuid
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from tests.integration.gate import Gate
from tests.integration.prefect_server import ROOT, PrefectServer, free_port, need_prefect
from tests.integration.prefect_target import (
    ENDED,
    READ_MAX,
    Json,
    ended_runs,
    over_http,
    read_events,
    running_target,
    states,
)
from tests.integration.up_process import Up, end, wait_for
from tests.kafka_topics import create_topics

from flowgauge.console.main import flowgauge
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection

RULES = """
rules:
  - name: run failed
    match: {state: failed, kind: flow-run}
    for_each: [flow]
    when: {event: {}}
    severity: warning
  - name: flow failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 1m, min_samples: 1}}
    allowed_lateness: 1s
    severity: critical
"""


pytestmark = [pytest.mark.prefect, pytest.mark.integration]


@pytest.fixture
def prefect_environment() -> None:
    need_prefect()


@pytest.fixture
def up(tmp_path: Path) -> Generator[Up]:
    """`flowgauge up` with two rules and nothing in it."""
    with running_target(tmp_path / "flowgauge", RULES) as running:
        yield running


@pytest.mark.timeout(600)
def test_flows_on_a_real_prefect_server_arrive_whole_and_their_failure_is_an_incident(
    tmp_path: Path, up: Up, prefect_environment: None
) -> None:
    with Gate(up.url).serving() as gate:
        with PrefectServer(tmp_path, over_http(gate.url)).serving(after_sigterm=gate.open_late) as prefect:
            runs = prefect.run_flows()
            wait_for(lambda: ended_runs(up) == ENDED, "the runs")
            assert_logs_name_their_flow(up)
            assert_incidents_name_the_run(up, runs["orders-sync"])
            gate.close()
            prefect.write_logs(50)
            stored = prefect.stored_ids()
        # The server has ended: what it had published, and could not send before SIGTERM, it has sent after it.
        wait_for(lambda: len(up.rows("/v1/metrics/logs", text="last words", limit="200")) == 50, "the last logs")
    assert end(up.process) == 0

    events = asyncio.run(read_events(tmp_path / "flowgauge" / "data"))
    assert stored - {event["id"] for event in events} == set()
    assert {flow: states(events, "flow-run", run) for flow, run in runs.items()} == {
        "nightly-etl": ["pending", "running", "completed"],
        "orders-sync": ["pending", "running", "failed"],
        "stubborn-report": ["pending", "running", "completed"],
    }
    assert {flow: states(events, "task-run", run) for flow, run in runs.items()} == {
        "nightly-etl": ["pending", "running", "completed"],
        "orders-sync": [],
        "stubborn-report": ["pending", "running", "retrying", "retrying", "completed"],
    }
    assert {e["flow"] for e in events if e.get("kind") in ("flow-run", "task-run", "log") and "run" in e} == set(runs)
    assert {event["tenant"] for event in events} == {"data-team"}
    assert "not told to flowgauge" not in prefect.log


@pytest.mark.timeout(600)
def test_a_flowgauge_that_is_away_changes_nothing_for_prefect(tmp_path: Path, prefect_environment: None) -> None:
    with PrefectServer(tmp_path, over_http(f"http://127.0.0.1:{free_port()}")).serving() as prefect:
        runs = prefect.run_flows()

        assert set(runs) == {"nightly-etl", "orders-sync", "stubborn-report"}
        assert prefect.stored_ids() != set()
        assert_automations_are_imported(prefect.api)


def assert_automations_are_imported(api: str) -> None:
    """Make an automation of each in the file that the documents import, and import them from the server."""
    file = ROOT / "tests" / "data" / "prefect-automations.json"
    for automation in json.loads(file.read_text(encoding="utf-8")):
        made = {name: value for name, value in automation.items() if name not in {"id", "created", "updated"}}
        assert httpx2.post(f"{api}/automations/", json={**made, "actions": [{"type": "do-nothing"}]}).status_code == 201

    names = [
        {rule.name for rule in parse_rules("imported.yaml", CliRunner().invoke(flowgauge, asked).stdout).rules}
        for asked in (["rules", "import-prefect", str(file)], ["rules", "import-prefect", "--api", api])
    ]

    assert names[0] == names[1] != set()


@pytest.mark.timeout(600)
def test_with_kafka_all_that_the_server_published_arrives_without_a_gateway(
    tmp_path: Path, kafka: str, prefect_environment: None
) -> None:
    connection = Connection(bootstrap=kafka, prefix=f"t{uuid.uuid4().hex[:8]}")
    asyncio.run(create_topics(connection, {EVENTS: 3}))
    where = {
        "FLOWGAUGE_KAFKA_BOOTSTRAP": kafka,
        "FLOWGAUGE_KAFKA_PREFIX": connection.prefix,
        "FLOWGAUGE_KAFKA_TENANT": "data-team",
    }

    with PrefectServer(tmp_path, where).serving() as prefect:
        runs = prefect.run_flows()
        wait_for(lambda: has_ended(asyncio.run(read_topic(connection)), runs), "the runs")
        prefect.write_logs(50)
        stored = prefect.stored_ids()

    events = asyncio.run(read_topic(connection))
    assert stored - {event["id"] for event in events} == set()
    assert sum(event.get("payload", {}).get("message") == "last words" for event in events) == 50
    assert {event["tenant"] for event in events} == {"data-team"}
    assert "not told to flowgauge" not in prefect.log


def has_ended(events: Sequence[Json], runs: Mapping[str, str]) -> bool:
    told = {(flow, state) for flow, run in runs.items() for state in states(events, "flow-run", run)}
    return told >= ENDED


async def read_topic(connection: Connection) -> list[Json]:
    """Return every event in Kafka."""
    log = await open_kafka_log(connection)
    try:
        records = [await log.read(EVENTS, partition, 0, READ_MAX) for partition in range(log.partitions(EVENTS))]
    finally:
        await log.close()
    return [json.loads(record.value or b"") for each in records for record in each]


def assert_logs_name_their_flow(up: Up) -> None:
    expected = {
        ("nightly-etl", "INFO", "extracted 42 rows"),
        ("orders-sync", "ERROR", "orders-db is away"),
        ("stubborn-report", "WARNING", "it took its retries"),
    }

    def told() -> set[tuple[str, str, str]]:
        return {(row["flow"], row["level"], row["message"]) for row in up.rows("/v1/metrics/logs", limit="200")}

    wait_for(lambda: expected <= told(), "the logs")


def assert_incidents_name_the_run(up: Up, run: str) -> None:
    """Find an incident of each rule about orders-sync and none of another flow; their pages name the failed run."""
    found = wait_for(lambda: (rows := up.rows("/v1/incidents")) and len(rows) >= 2 and rows, "the incidents")
    assert sorted((row["rule"], row["key"]["flow"]) for row in found) == [
        ("flow failing", "orders-sync"),
        ("run failed", "orders-sync"),
    ]
    for row in found:
        page = up.http.get(f"/incidents/{row['incident_id']}")
        assert (page.status_code, row["rule"] in page.text, run in page.text) == (200, True, True)
        assert run in json.dumps(up.get(f"/v1/incidents/{row['incident_id']}")["runs"])
