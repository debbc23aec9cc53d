"""The bridge and the import against a real Prefect server that knows nothing of flowgauge."""

import asyncio
import contextlib
import json
import os
import subprocess
import uuid
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.prefect_server import PrefectServer, need_prefect
from tests.integration.up_process import COMMAND, Up, end, environment, run, running_up, wait_for

from flowgauge.console.up import partitions_of
from flowgauge.producers.prefect.api import Credentials, PrefectApi
from flowgauge.producers.prefect.look_back import decode_object, events_between, logs_between
from flowgauge.producers.prefect.mapping import Unmappable, map_event
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.local import open_local_log
from flowgauge.transport.wall_clock import now_ms

AUTH = "admin:swordfish"
POSTED = 600  # events at once: more than Prefect holds for a reader
POSTS = -(-int(os.environ.get("FLOWGAUGE_BURST_EVENTS", "1200")) // POSTED)  # `make torture` emits more
BURST = POSTS * POSTED
READ_MAX = 100_000  # records; more than these tests make
RULES = """
rules:
  - {name: each failure, match: {state: failed, kind: flow-run}, for_each: [flow], when: {event: {}}}
  - {name: failing, for_each: [flow], when: {failure_rate: {above: 10%, within: 1m, min_samples: 1}}}
  - {name: errors, match: {kind: log}, when: {event: {times: 1, within: 1m}}}
"""
QUESTIONS = ("runs", "states", "durations", "lateness", "adherence", "errors", "logs", "retries", "failure-rate")
STORED = 'flowgauge_sinks_rows_total{table="flowgauge.events"} '
PUBLISHED = 20  # events of states, of what these tests run
OWN_LABELS = {"prefect.run-count", "prefect.orchestration", "prefect.state-timestamp"}
HOUR_US = 3_600_000_000
FLOWS = ("nightly-etl", "orders-sync", "stubborn-report")

Json = dict[str, Any]

pytestmark = [pytest.mark.prefect, pytest.mark.integration]


def serving(home: Path) -> AbstractContextManager[PrefectServer]:
    need_prefect()
    return PrefectServer(home, None, PREFECT_SERVER_API_AUTH_STRING=AUTH, PREFECT_API_AUTH_STRING=AUTH).serving()


@pytest.fixture
def prefect(tmp_path: Path) -> Generator[PrefectServer]:
    with serving(tmp_path / "prefect") as server:
        yield server


@pytest.fixture(scope="module")
def shared_prefect(tmp_path_factory: pytest.TempPathFactory) -> Generator[PrefectServer]:
    """Serve a Prefect to the tests of which one alone changes what it keeps."""
    with serving(tmp_path_factory.mktemp("shared") / "prefect") as server:
        yield server


@pytest.fixture
def up(tmp_path: Path) -> Generator[Up]:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yaml").write_text(RULES, encoding="utf-8")
    with running_up(tmp_path / "data", "--rules", str(tmp_path / "rules")) as running:
        yield running


@contextlib.contextmanager
def bridging(folder: Path, prefect: PrefectServer, up: Up, auth: str = AUTH) -> Generator["subprocess.Popen[str]"]:
    """Run the bridge until the block ends; its lines are in bridge.err."""
    where = {"PREFECT_API_URL": prefect.api, "PREFECT_API_AUTH_STRING": auth, "FLOWGAUGE_URL": up.url}
    with (folder / "bridge.err").open("a") as errors:
        process = subprocess.Popen(
            [*COMMAND, "prefect", "bridge", "--state", str(folder / "state"), "--compare", "1s"],
            stderr=errors,
            text=True,
            env={**environment(), **where},
        )
    try:
        yield process
    finally:
        end(process)


def said(folder: Path) -> list[Json]:
    return [json.loads(line) for line in (folder / "bridge.err").read_text().splitlines()]


def happenings(count: int) -> list[Json]:
    """Return events as somebody's own program emits them."""
    return [
        {
            "id": str(uuid.uuid4()),
            "occurred": rfc3339(now_ms()),
            "event": "orders.arrived",
            "resource": {"prefect.resource.id": f"orders.{number}"},
        }
        for number in range(count)
    ]


def kept(prefect: PrefectServer) -> set[str]:
    """Return the ids of all events and logs that Prefect keeps."""
    until_us = now_ms() * 1000
    since_us = until_us - HOUR_US
    with PrefectApi(prefect.api, Credentials(auth_string=AUTH)) as api:
        found = [*events_between(api, since_us, until_us), *logs_between(api, since_us, until_us)]
    return {decode_object(each)["id"] for each in found}


def events_kept(prefect: PrefectServer) -> int:
    """Return how many events Prefect keeps, which costs it far less than to tell them."""
    until_ms = now_ms()
    occurred = {"since": rfc3339(until_ms - HOUR_US // 1000), "until": rfc3339(until_ms)}
    return int(prefect.call("/events/filter", {"filter": {"occurred": occurred}, "limit": 1})["total"])


def told(up: Up) -> set[str]:
    """Return the runs that flowgauge knows the end of."""
    return {row["run"] for row in up.rows("/v1/metrics/runs", limit="200") if row["ended"]}


async def in_the_log(data: Path) -> list[Json]:
    """Return every event in the log of a folder that no process holds."""
    log = await open_local_log(data, partitions=partitions_of(Settings(data=data)))
    try:
        records = await log.read(EVENTS, 0, 0, READ_MAX)
    finally:
        await log.close()
    return [json.loads(record.value) for record in records if record.kind == RecordKind.EVENT and record.value]


def states(events: Sequence[Json], run_id: str) -> list[str]:
    about = [
        each for each in events if each.get("kind") == "flow-run" and each.get("run") == run_id and "state" in each
    ]
    return [each["state"] for each in sorted(about, key=lambda each: str(each["occurred"]))]


@pytest.mark.timeout(600)
def test_all_that_prefect_keeps_arrives_through_a_bridge_that_is_killed_and_misses_some(
    tmp_path: Path, prefect: PrefectServer, up: Up
) -> None:
    with bridging(tmp_path, prefect, up) as first:
        wait_for((tmp_path / "state").exists, "the bridge")
        before = prefect.run_flows()
        wait_for(lambda: set(before.values()) <= told(up), "the runs that the bridge saw")
        prefect.call("/events", happenings(300))
        first.kill()
        first.wait()
    meanwhile = prefect.run_flows()
    prefect.call("/events", happenings(300))
    with bridging(tmp_path, prefect, up) as second:
        wait_for(lambda: set(meanwhile.values()) <= told(up), "the runs while it was away")
        after = prefect.run_flows()
        for _ in range(POSTS):
            prefect.call("/events", happenings(POSTED))
        wait_for(lambda: set(after.values()) <= told(up), "the runs after that")
        wait_for(lambda: events_kept(prefect) > 600 + BURST, "Prefect to store them")
        expected = kept(prefect)
        wait_for(lambda: compared_all(tmp_path), "the comparison", wait_s=180)
        assert end(second) == 0
    assert end(up.process) == 0

    events = asyncio.run(in_the_log(tmp_path / "data"))
    assert expected - {event["id"] for event in events} == set()
    for each in (runs[flow] for runs in (before, meanwhile, after) for flow in FLOWS):
        assert states(events, each)[:2] == ["pending", "running"]
    logs = [event for event in events if event.get("kind") == "log" and "run" in event]
    assert {event["flow"] for event in logs} == set(FLOWS)
    # What was answered and noted before the kill is not sent again; what was not noted is.
    assert sum(count - 1 for count in Counter(event["id"] for event in events).values()) <= 600
    assert AUTH not in (tmp_path / "bridge.err").read_text()


def compared_all(folder: Path) -> bool:
    """Tell whether the bridge has told all of the last burst, whatever way it took."""
    lines = [line for line in said(folder) if line["event"] == "compared with prefect"]
    if not lines:
        return False
    last = lines[-1]
    return bool(sum(last.get(way, 0) for way in ("streamed", "recovered", "caught_up")) >= 300 + BURST)


@pytest.mark.timeout(600)
def test_a_wrong_auth_string_is_said_with_the_remedy_and_not_itself(
    tmp_path: Path, shared_prefect: PrefectServer, up: Up
) -> None:
    with bridging(tmp_path, shared_prefect, up, auth="admin:guess") as process:
        lines = wait_for(lambda: len(found := said(tmp_path)) >= 3 and found, "what keeps it from reading")
        assert end(process) == 0

    reasons = {line["reader"]: line["reason"] for line in lines if "reader" in line}
    assert set(reasons) == {"stream", "events", "logs"}
    assert all("PREFECT_API_AUTH_STRING" in reason for reason in reasons.values())
    assert "guess" not in (tmp_path / "bridge.err").read_text()


@pytest.mark.timeout(600)
def test_past_runs_are_answered_as_if_they_had_been_watched_and_no_rule_tells_of_them(
    tmp_path: Path, shared_prefect: PrefectServer, up: Up
) -> None:
    runs = {*shared_prefect.run_flows().values(), run_of_a_deployment(shared_prefect)}
    published = wait_for(
        lambda: len(found := published_states(shared_prefect)) >= PUBLISHED and found, "Prefect to store"
    )

    events = import_past(shared_prefect, up)
    wait_for(lambda: stored(up) == events, "the first import")
    first = answers(up)
    again = import_past(shared_prefect, up)
    wait_for(lambda: stored(up) == 2 * events, "the second import")

    assert (again, answers(up)) == (events, first)
    assert {row["run"] for row in first["runs"]} == runs
    assert {row["flow"] for row in first["runs"] if row["scheduled_for"]} == {"deployed"}
    assert up.rows("/v1/incidents") == []
    prove_rules_are_awake(up)
    assert end(up.process) == 0
    past = {event["id"]: event for event in asyncio.run(in_the_log(tmp_path / "data")) if event.get("history")}
    assert published.keys() - past.keys() == set()
    for event_id, event in published.items():
        assert same_parts(past[event_id]) == same_parts(event)


def run_of_a_deployment(prefect: PrefectServer) -> str:
    """Let a run of a deployment, with a work pool and tags, be scheduled, start and fail; return its id."""
    prefect.call("/work_pools/", {"name": "k8s", "type": "process"})
    flow = prefect.call("/flows/", {"name": "deployed", "tags": ["of-flow"]})["id"]
    wanted = {"name": "prod", "flow_id": flow, "work_pool_name": "k8s", "tags": ["of-deployment"]}
    deployment = prefect.call("/deployments/", wanted)["id"]
    run_id = prefect.call(f"/deployments/{deployment}/create_flow_run", {"tags": ["of-run"]})["id"]
    for kind in ("PENDING", "RUNNING", "FAILED"):
        state = {"type": kind, "message": f"it is {kind}"}
        assert prefect.call(f"/flow_runs/{run_id}/set_state", {"state": state})["status"] == "ACCEPT"
    return str(run_id)


def published_states(prefect: PrefectServer) -> dict[str, Json]:
    """Return by id the events of states that Prefect published, as a connector would have told them."""
    until_us = now_ms() * 1000
    with PrefectApi(prefect.api, Credentials(auth_string=AUTH)) as api:
        found = [map_event(decode_object(each)) for each in events_between(api, until_us - HOUR_US, until_us)]
    return {str(each["id"]): each for each in found if not isinstance(each, Unmappable) and "state" in each}


def same_parts(event: Json) -> Json:
    """Return what both ways must tell alike. A run's count of attempts is that of its end in what is told later."""
    resource = {name: label for name, label in event["resource"].items() if name not in OWN_LABELS}
    related = sorted(sorted(each.items()) for each in event.get("related", []) if each["role"] != "creator")
    parts = {name: event.get(name) for name in ("id", "occurred", "event", "kind", "flow", "run", "task", "state")}
    return {**parts, "resource": resource, "related": related}


def import_past(prefect: PrefectServer, up: Up) -> int:
    """Import the last hour with all there is of it; return how many events it says it brought."""
    where = {"PREFECT_API_URL": prefect.api, "PREFECT_API_AUTH_STRING": AUTH, "FLOWGAUGE_URL": up.url}
    done = run("import", "prefect", "--since", "1h", "--task-runs", "--logs", env=where)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition(": ")[2].split()[0])


def stored(up: Up) -> int:
    """Return how many events this process has stored in ClickHouse."""
    rows = [line for line in up.http.get("/metrics").text.splitlines() if line.startswith(STORED)]
    return int(float(rows[0].removeprefix(STORED))) if rows else 0


def answers(up: Up) -> dict[str, list[Json]]:
    return {name: up.rows(f"/v1/metrics/{name}", limit="200") for name in QUESTIONS}


def prove_rules_are_awake(up: Up) -> None:
    """Tell of a failure that is no history, and find its incident alone."""
    failed = {
        "id": str(uuid.uuid4()),
        "occurred": rfc3339(now_ms()),
        "event": "flow-run.failed",
        "kind": "flow-run",
        "flow": "watched",
        "run": "watched-1",
        "state": "failed",
        "resource": {"id": "flow-run.watched-1"},
    }
    assert up.http.post("/v1/events", json=[failed]).json()["accepted"] == 1
    found = wait_for(lambda: (rows := up.rows("/v1/incidents")) and len(rows) == 2 and rows, "the incidents")
    assert {(row["rule"], row["key"]["flow"]) for row in found} == {("each failure", "watched"), ("failing", "watched")}
