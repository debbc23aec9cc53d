"""Prefect servers that share a Redis, each with the broker plugin: all that any of them publishes is told, once."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.integration.gate import Gate
from tests.integration.prefect_server import REDIS, PrefectServer, need_prefect
from tests.integration.prefect_target import ENDED, TENANT, ended_runs, over_http, read_events, running_target, states
from tests.integration.redis_server import Redis, running_redis
from tests.integration.up_process import Up, end, wait_for

from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

LOGS = 50
TAKEN = 204
TRIGGERED = "prefect.automation.triggered"

pytestmark = [pytest.mark.prefect, pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def redis(tmp_path: Path) -> Generator[Redis]:
    """Start a Redis, where Prefect is there too."""
    need_prefect()
    with running_redis(tmp_path / "redis") as redis:
        yield redis


@pytest.fixture
def up(tmp_path: Path) -> Generator[Up]:
    with running_target(tmp_path / "flowgauge") as up:
        yield up


def test_of_two_servers_with_one_redis_each_tells_once_what_it_publishes_to_its_last_word(
    tmp_path: Path, redis: Redis, up: Up
) -> None:
    database = tmp_path / "prefect.db"
    with Gate(up.url).serving() as gate:
        where = over_http(gate.url) | {REDIS: redis.url}
        one, two = (PrefectServer(tmp_path / name, where, database=database) for name in ("one", "two"))
        with one.serving():
            with two.serving("--no-services", after_sigterm=gate.open_late):
                runs = [one.run_flows(), two.run_flows()]
                wait_for(lambda: len(up.rows("/v1/metrics/runs")) == 6, "the runs")
                gate.close()
                two.write_logs(LOGS)
            stored = one.stored_ids()
        wait_for(lambda: len(up.rows("/v1/metrics/logs", text="last words", limit="200")) == LOGS, "the last logs")
    assert end(up.process) == 0

    events = asyncio.run(read_events(tmp_path / "flowgauge" / "data"))
    told = Counter(event["id"] for event in events)
    assert stored - told.keys() == set()
    assert set(told.values()) == {1}
    for each in runs:
        assert {flow: states(events, "flow-run", run)[-1] for flow, run in each.items()} == {
            "nightly-etl": "completed",
            "orders-sync": "failed",
            "stubborn-report": "completed",
        }
    assert {event["tenant"] for event in events} == {TENANT}
    assert "not told to flowgauge" not in one.log + two.log


def test_services_in_a_process_of_their_own_send_what_they_have_before_they_end(
    tmp_path: Path, redis: Redis, up: Up
) -> None:
    with Gate(up.url).serving() as gate:
        server = PrefectServer(tmp_path / "one", over_http(gate.url) | {REDIS: redis.url})
        with server.serving("--no-services"):
            server.add_automation(expect="redis.tried")
            with server.services(after_sigterm=gate.open_late):
                seen = publish_one_by_one(server, [event()])
                gate.close()
                seen |= publish_one_by_one(server, [event() for _ in range(5)])  # the first is under way at the gate
    assert end(up.process) == 0

    told = {event["id"] for event in asyncio.run(read_events(tmp_path / "flowgauge" / "data"))}
    assert (len(seen), seen - told) == (6, set())


def test_what_prefect_could_not_publish_while_redis_was_away_is_told_and_told_again_under_its_id(
    tmp_path: Path, redis: Redis, up: Up
) -> None:
    with PrefectServer(tmp_path / "one", over_http(up.url) | {REDIS: redis.url}).serving() as prefect:
        redis.stop()
        away = [event() for _ in range(10)]
        while_away = [prefect.publish([each]) for each in away]
        redis.start()
        wait_for(lambda: prefect.publish([event()]) == TAKEN, "Redis to be taken note of")
        again = prefect.publish(away)
        prefect.run_flows()
        wait_for(lambda: ended_runs(up) == ENDED, "the runs")
    assert end(up.process) == 0

    told = Counter(event["id"] for event in asyncio.run(read_events(tmp_path / "flowgauge" / "data")))
    assert (set(while_away), again) == ({500}, TAKEN)
    assert [told[each["id"]] for each in away] == [2] * 10
    assert "not told to flowgauge" not in prefect.log


def publish_one_by_one(server: PrefectServer, events: Sequence[Mapping[str, object]]) -> set[str]:
    """Publish each once the services have told of the one before; return the ids of all that they told by then."""

    def has_told(wanted: int) -> bool:
        return len(server.stored_events(TRIGGERED)) == wanted

    before = len(server.stored_events(TRIGGERED))
    for number, each in enumerate(events, before + 1):
        server.publish([each])
        wait_for(partial(has_told, number), "the automation")
    return set(server.stored_events(TRIGGERED))


def event() -> dict[str, object]:
    resource = {"prefect.resource.id": "redis.test"}
    return {"id": str(uuid.uuid4()), "occurred": rfc3339(now_ms()), "event": "redis.tried", "resource": resource}
