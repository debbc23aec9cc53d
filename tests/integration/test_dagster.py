"""A real Dagster with the sensor: what its schedules launch arrives, once, with the tick that launched it."""

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.dagster_daemon import Dagster
from tests.integration.gateway_server import Running, running_gateway
from tests.integration.peer_environment import peer_environment

from flowgauge.schemas.event import Event

TOKEN = "dagster-token"
EVENTS = int(os.environ.get("FLOWGAUGE_BURST_EVENTS", "2000"))  # two runs at least, so that one waits
WAIT_S = 200.0  # a daemon that starts, the next full minute, two runs, a tick
ENDED = {("nightly_etl", "completed"), ("orders_sync", "failed")}

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]


@pytest.fixture
def environment() -> Path:
    return peer_environment("dagster", "170 MB")


@asynccontextmanager
async def serving(dagster: Dagster) -> AsyncGenerator[None]:
    daemon = dagster.serving()
    await asyncio.to_thread(daemon.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(daemon.__exit__, None, None, None)


async def until_both_ended(gateway: Running, dagster: Dagster) -> None:
    """Wait until a run of each job has ended."""

    async def ended() -> bool:
        return {(event.flow, event.state) for event in await gateway.events() if event.kind == "flow-run"} >= ENDED

    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not await ended():
        assert asyncio.get_running_loop().time() < deadline, f"the runs have not ended:\n{dagster.log}"
        await asyncio.sleep(0.2)  # another process ends them


def first_run(events: Sequence[Event], flow: str) -> list[Event]:
    """Return the events of a flow's first run that ended, in the order in which they happened."""
    run = next(e.run for e in events if e.kind == "flow-run" and (e.flow, e.state) in ENDED and e.flow == flow)
    return [event for event in events if event.run == run]


def states(events: Sequence[Event], kind: str) -> list[str | None]:
    return [event.state for event in events if event.kind == kind]


async def test_runs_of_a_real_dagster_arrive_whole_and_once(tmp_path: Path, environment: Path) -> None:
    async with running_gateway(tmp_path / "log", tokens={TOKEN: "data-team"}) as gateway:
        dagster = Dagster(environment, tmp_path / "dagster", gateway.url, TOKEN)
        async with serving(dagster):
            await until_both_ended(gateway, dagster)
        events = sorted(await gateway.events(), key=lambda event: event.occurred)
        assert await gateway.letters() == []

    etl, sync = first_run(events, "nightly_etl"), first_run(events, "orders_sync")
    assert states(etl, "flow-run") == ["pending", "pending", "running", "completed"]
    assert states(sync, "flow-run") == ["pending", "pending", "running", "failed"]
    assert states(etl, "task-run") == ["running", "completed"]
    assert states(sync, "task-run") == ["running", "retrying", "running", "failed"]
    assert len({event.id for event in events}) == len(events)

    for run in (etl, sync):  # a tick is a full minute, and comes before its run
        (due,) = {event.scheduled_for for event in run if event.kind == "flow-run"}
        assert due is not None
        assert due <= run[0].occurred
        assert (due.second, due.microsecond) == (0, 0)
    messages = [event.payload["message"] for event in sync if event.kind == "task-run" and event.payload]
    assert messages == ["ConnectionError: orders-db is away"] * 2
    assert_labels_and_lines(etl)


def assert_labels_and_lines(etl: Sequence[Event]) -> None:
    asset, line = (next(event for event in etl if event.kind == kind) for kind in ("asset", "log"))

    assert asset.resource == {"id": "dagster.asset.orders", "name": "orders"}
    assert (asset.payload["rows"], asset.payload["bytes"]) == (42, 1_048_576)
    assert line.payload == {"level": "WARNING", "logger": "orders", "message": "extracted 42 rows"}
    assert {(r["role"], r["name"]) for r in etl[0].related} == {
        ("flow", "nightly_etl"),
        ("deployment", "definitions.py"),
        ("schedule", "nightly_etl_schedule"),
        ("tag", "stage:prod"),
        ("team", "data"),
    }


async def test_a_burst_by_the_sensor_loses_nothing_though_the_gateway_is_away_at_first(
    tmp_path: Path, environment: Path
) -> None:
    async with running_gateway(tmp_path / "log", tokens={TOKEN: "data-team"}) as gateway:
        dagster = Dagster(environment, tmp_path / "dagster", gateway.url, TOKEN)
        printed = (await asyncio.to_thread(dagster.burst, EVENTS)).splitlines()[-1]
        events = await gateway.events()

    print(printed)
    told: dict[str, Any] = json.loads(printed)
    assert told["away"] == ["0 events told; flowgauge did not answer for the rest"]
    assert told["stood"], "the cursor stands while nothing is answered"
    assert told["said"][-1] == told["again"][-1] == "0 events told"
    assert len(told["said"]) == EVENTS // 1_000 + 1, "a tick takes in the run that there is room for"
    assert len(told["anew"]) == 1
    assert told["anew"][0].startswith("0 events told; the sensor's cursor is none of flowgauge's (1 so far): ")
    times_told = Counter(event.id for event in events)
    assert len(times_told) == EVENTS
    assert set(times_told.values()) == {2}, "read again, they are the same events"


def test_a_since_that_is_no_time_is_refused_where_the_sensor_is_defined(environment: Path) -> None:
    program = "from flowgauge.producers.dagster.sensor import flowgauge_sensor; flowgauge_sensor(since='yesterday')"

    done = subprocess.run([environment / "bin" / "python", "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert (
        "TypeError: since: expected a datetime such as datetime(2026, 11, 29, tzinfo=UTC); got 'yesterday'"
        in done.stderr
    )
