"""Errors by what they say: which messages are one error, and what is counted of each."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest
from tests.clickhouse.test_clickhouse_metrics import T0, ask, publish, week

from flowgauge.sinks.clickhouse.store import ClickHouseStore


def said(tenant: str, number: int, message: str, **more: object) -> bytes:
    """Return an error log at minute `number`, or what `more` makes of it."""
    fields: Mapping[str, object] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {number}")),
        "tenant": tenant,
        "occurred": (T0 + timedelta(minutes=number)).isoformat(),
        "event": "x",
        "kind": "log",
        "run": f"r{number % 3}",
        "flow": "etl",
        "resource": {"id": "x"},
        "payload": {"level": "error", "message": message},
    }
    return msgspec.json.encode({**fields, **more})


@pytest.fixture
def tenant() -> str:
    return f"errors-{uuid.uuid4().hex[:6]}"


SAME = {
    "Connection of run-<n> to <n> refused after <n>s": (
        "Connection of run-7 to 10.0.0.7:5432 refused after 3.5s",
        "Connection of run-12 to 10.0.0.11:5433 refused after 11s",
    ),
    "can't open <text>: it doesn't exist": (
        "can't open '/tmp/a b': it doesn't exist",
        "can't open '/tmp/it': it doesn't exist",
    ),
    "column <text> of <text> is missing": (
        'column "a" of `orders` is missing',
        'column "b" of `it\'s` is missing',
    ),
    "<time> run <id> lost": (
        "2026-11-16T00:02:00Z run 550e8400-e29b-41d4-a716-446655440000 lost",
        "2026-11-16 01:02:03,456 run 123e4567-e89b-12d3-a456-426614174000 lost",
    ),
    "<object at <id>> of prefect<id>": (
        "<object at 0x7f3a00ff> of prefect_3f2a9c11",
        "<object at 0x7f3b00ff> of prefect_b9c2d4e8",
    ),
    "GET http://host:<n>/<id>/orders/<id>?page=<n> gave <n>": (
        "GET http://host:4280/v1/orders/ab-12?page=2 gave 500",
        "GET http://host:4281/v1/orders/ab-713?page=11 gave 502",
    ),
    "worker <id> is gone, twice": ("worker 7fk29dzq is gone, twice", "\nworker  q8m1x0\t is gone, twice "),
}


@pytest.mark.parametrize("error", SAME)
async def test_messages_that_differ_in_what_names_one_case_are_one_error(
    store: ClickHouseStore, tenant: str, error: str
) -> None:
    await publish(store, [said(tenant, number, message) for number, message in enumerate(SAME[error])], 1)

    table = await ask(store, "errors", week(tenant))

    assert [(row["error"], row["count"]) for row in table.dicts()] == [(error, len(SAME[error]))]


async def test_messages_that_say_different_things_stay_apart(store: ClickHouseStore, tenant: str) -> None:
    messages = ["disk full", "disk is full", "Disk full", "disk full on <n>", "☃ melted", "", "it's full", "don't fill"]
    await publish(store, [said(tenant, number, message) for number, message in enumerate(messages)], 1)

    table = await ask(store, "errors", week(tenant))

    assert sorted(map(str, table.column("error"))) == sorted(message or "(no message)" for message in messages)


async def test_an_error_counts_events_runs_and_flows_once_each_and_knows_when_it_came(
    store: ClickHouseStore, tenant: str
) -> None:
    """Runs and tasks that failed count too; a line without a flow has that of its run."""
    ended = {"kind": "flow-run", "payload": {"message": "disk full"}}
    told = [
        said(tenant, 0, "", **ended, state="failed"),
        said(tenant, 1, "", **ended, state="crashed", flow="orders", run=None, resource={"id": "of its resource"}),
        said(tenant, 2, "", **ended, state="completed"),
        said(tenant, 3, "disk full", flow=None),
        said(tenant, 4, "", **ended | {"kind": "task-run"}, state="failed", task="t"),
        said(tenant, 5, "", payload={"level": "warning", "message": "disk full"}),
        said(tenant, 6, "", payload={"level": "CRITICAL", "message": "disk full"}, run=None, flow=None),
    ]
    await publish(store, told, 2)

    assert (await ask(store, "errors", week(tenant))).rows == [
        ("disk full", 5, 3, 2, "2026-11-16T00:00:00Z", "2026-11-16T00:06:00Z", "r1")
    ]
    of_flow = await ask(store, "errors", week(tenant, flow="orders"))
    assert [row[1:4] for row in of_flow.rows] == [(1, 1, 1)]
    assert [row[1:4] for row in (await ask(store, "errors", week(tenant, flow="etl"))).rows] == [(3, 2, 1)]
    assert [row[1:4] for row in (await ask(store, "errors", week(tenant, run="r1"))).rows] == [(1, 1, 1)]
    of_resource = await ask(store, "errors", week(tenant, run="of its resource"))
    assert [row[1:4] for row in of_resource.rows] == [(1, 1, 1)]


async def test_a_run_that_is_known_by_its_resource_gives_its_flow_to_what_does_not_know_it(
    store: ClickHouseStore, tenant: str
) -> None:
    ended: dict[str, object] = {"kind": "flow-run", "run": None, "resource": {"id": "of its resource"}}
    told = [
        said(tenant, 0, "", **ended, state="running"),
        said(tenant, 1, "", **ended | {"flow": None, "payload": {"message": "disk full"}}, state="failed"),
    ]
    await publish(store, told, 1)

    for narrow in ({}, {"flow": "etl"}, {"run": "of its resource"}):
        assert [row[1:4] for row in (await ask(store, "errors", week(tenant, **narrow))).rows] == [(1, 1, 1)]


async def test_the_most_frequent_errors_come_first_and_text_narrows_them(store: ClickHouseStore, tenant: str) -> None:
    messages = ["a disk full"] * 3 + ["b disk full"] * 2 + ["c net down"] * 4
    await publish(store, [said(tenant, number, message) for number, message in enumerate(messages)], 1)

    assert [row[:2] for row in (await ask(store, "errors", week(tenant, limit=2))).rows] == [
        ("c net down", 4),
        ("a disk full", 3),
    ]
    assert [row[:2] for row in (await ask(store, "errors", week(tenant, text="disk full"))).rows] == [
        ("a disk full", 3),
        ("b disk full", 2),
    ]
    assert (await ask(store, "errors", week(f"not {tenant}"))).rows == []
