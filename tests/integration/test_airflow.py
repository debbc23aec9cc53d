"""A real Airflow with the listener plugin: what its DAGs do arrives, once, as the scheduler and the workers saw it."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.airflow_services import PASSWORD, Airflow
from tests.integration.gateway_server import Running, running_gateway
from tests.integration.peer_environment import ROOT, peer_environment
from tests.integration.prefect_server import free_port

from flowgauge.schemas.event import Event

TOKEN = "airflow-token"
EVENTS = int(os.environ.get("FLOWGAUGE_BURST_EVENTS", "1000"))  # `make torture` tells more
WAIT_S = 200.0  # services that start, and two DAGs: 20 s on an idle machine
ENDED = {("nightly-etl", "completed"), ("orders-sync", "failed")}

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]


@pytest.fixture
def environment() -> Path:
    return peer_environment("airflow", "300 MB")


@asynccontextmanager
async def serving(airflow: Airflow) -> AsyncGenerator[None]:
    services = airflow.serving()
    await asyncio.to_thread(services.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(services.__exit__, None, None, None)


async def until_all_ended(gateway: Running, airflow: Airflow) -> None:
    """Wait until the runs of both DAGs have ended."""

    async def ended() -> bool:
        return {(event.flow, event.state) for event in await gateway.events() if event.kind == "flow-run"} >= ENDED

    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not await ended():
        assert asyncio.get_running_loop().time() < deadline, f"the DAGs have not ended:\n{airflow.log}"
        await asyncio.sleep(0.2)  # another process ends them


def told(events: Sequence[Event], kind: str, flow: str) -> dict[str | None, list[str | None]]:
    """Return the states of a flow's runs, or of its task instances by name, in the order in which they happened."""
    states: dict[str | None, list[str | None]] = {}
    for event in events:
        if (event.kind, event.flow) == (kind, flow):
            name = None if event.task is None else event.task.rpartition("/")[2]
            states.setdefault(name, []).append(event.state)
    return states


async def test_dags_on_a_real_airflow_arrive_whole_and_once(tmp_path: Path, environment: Path) -> None:
    async with running_gateway(tmp_path / "log", tokens={TOKEN: "data-team"}) as gateway:
        airflow = Airflow(environment, tmp_path / "airflow", gateway.url, TOKEN)
        async with serving(airflow):
            await until_all_ended(gateway, airflow)
        events = sorted(await gateway.events(), key=lambda event: event.occurred)
        assert await gateway.letters() == []

    assert told(events, "flow-run", "nightly-etl") == {None: ["pending", "running", "completed"]}
    assert told(events, "flow-run", "orders-sync") == {None: ["pending", "running", "failed"]}
    assert told(events, "task-run", "nightly-etl") == {
        "extract[0]": ["running", "completed"],
        "extract[1]": ["running", "completed"],
    }
    assert told(events, "task-run", "orders-sync") == {"flaky": ["running", "retrying", "running", "failed"]}
    assert len({event.id for event in events}) == len(events)

    due = datetime.combine(airflow.yesterday, time(), UTC)
    assert {event.scheduled_for for event in events if event.kind == "flow-run"} == {due}
    assert Counter((e.kind, e.run) for e in events if e.kind in ("log", "asset")) == {
        ("log", f"nightly-etl/scheduled__{due.isoformat()}"): 2,
        ("asset", f"nightly-etl/scheduled__{due.isoformat()}"): 2,
    }
    assert [e.payload for e in events if e.kind == "asset"] == [{"rows": 42, "bytes": 1_048_576}] * 2
    assert_related(events)
    assert_masked(events)
    assert "not told to flowgauge" not in airflow.log


def assert_related(events: Sequence[Event]) -> None:
    started = next(e for e in events if (e.flow, e.event) == ("nightly-etl", "airflow.dag-run.running"))
    tried = next(e for e in events if (e.flow, e.event) == ("orders-sync", "airflow.task-instance.running"))

    assert {(r["role"], r["name"]) for r in started.related} == {
        ("flow", "nightly-etl"),
        ("deployment", "dags-folder"),
        ("tag", "prod"),
        ("tag", "eu"),
        ("team", "data"),
    }
    assert {(r["role"], r["name"]) for r in tried.related if r["role"] != "flow-run"} == {
        ("flow", "orders-sync"),
        ("deployment", "dags-folder"),
        ("work-pool", "default_pool"),
        ("work-queue", "default"),
        ("team", "sales"),
    }


def assert_masked(events: Sequence[Event]) -> None:
    """Check the text of the exception, which has a connection's password."""
    payloads = [event.payload for event in events if (event.flow, event.kind) == ("orders-sync", "task-run")]
    assert [said["message"] for said in payloads if said and "message" in said] == ["orders-db refused ***"] * 2
    assert PASSWORD not in str(events)


async def test_a_burst_through_the_hooks_loses_nothing_though_the_process_ends_by_os_exit(
    tmp_path: Path, environment: Path
) -> None:
    async with running_gateway(tmp_path / "log", tokens={TOKEN: "data-team"}) as gateway:
        airflow = Airflow(environment, tmp_path / "airflow", gateway.url, TOKEN)
        airflow.environment["FLOWGAUGE_BURST_EVENTS"] = str(EVENTS)
        printed = [await asyncio.to_thread(airflow.run, "python", str(ROOT / "tests/airflow/burst.py")) for _ in "12"]
        events = await gateway.events()

    print(*(line for lines in printed for line in lines.splitlines() if line.startswith("{")), sep="\n")
    told_once = Counter(event.id for event in events)
    assert len(told_once) == EVENTS
    assert set(told_once.values()) == {2}, "told twice, they are the same events"
    assert Counter(event.state for event in events[:EVENTS]) == {
        "pending": EVENTS // 10,
        "running": EVENTS * 9 // 20,
        "completed": EVENTS // 10,
        "failed": EVENTS * 7 // 20,
    }
    assert json.loads(printed[0].splitlines()[-1])["cpu_s"] > 0


async def test_a_gateway_that_is_away_costs_airflow_nothing_and_what_was_told_goes_out_from_the_spool(
    tmp_path: Path, environment: Path
) -> None:
    port = free_port()
    airflow = Airflow(environment, tmp_path / "airflow", f"http://127.0.0.1:{port}", TOKEN)
    airflow.environment["FLOWGAUGE_SPOOL"] = str(tmp_path / "spool")

    async def call_hooks() -> dict[str, Any]:
        printed = await asyncio.to_thread(airflow.run, "python", str(ROOT / "tests/airflow/away.py"))
        told: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return told

    away = await call_hooks()
    async with running_gateway(tmp_path / "log", tokens={TOKEN: "data-team"}, port=port) as gateway:
        there = await call_hooks()
        events = await gateway.events()

    assert away["neighbour"] == there["neighbour"] == 3, "other listeners are called, whatever goes wrong in ours"
    assert [said_of(line) for line in away["said"]] == ["AttributeError", "flowgauge did not answer within 2000 ms"]
    assert [said_of(line) for line in there["said"]] == ["AttributeError"]
    assert [event.event for event in events] == ["airflow.asset.changed"] * 2
    for event in events:
        assert event.resource == {"id": "x-lake://me:***@lake/orders", "name": "lake"}
        assert event.payload == {"rows": 3, "source": {"password": "***"}}


def said_of(line: str) -> str:
    """Return what a warning says was the matter, without its details."""
    return line.removeprefix("not told to flowgauge: ").partition(":")[0].removesuffix(" (said once)")
