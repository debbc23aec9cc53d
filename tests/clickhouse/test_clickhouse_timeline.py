"""The timeline of a run or a resource: what was told of it, in the order in which it happened, with the gaps."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clickhouse.reading import Planned
from tests.examples import one_in

from flowgauge.console.web.parameters import metric_query
from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.metrics import answer
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table

T0 = datetime(2026, 11, 16, tzinfo=UTC)
DAY_MS = 86_400_000
RUN = {"id": "flow-run.r", "name": "brave-fox"}
DATABASE = {"id": "db.orders", "role": "database", "name": "orders-db"}


def event(tenant: str, after_s: float, **fields: object) -> dict[str, object]:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {after_s} {fields}")),
        "tenant": tenant,
        "occurred": (T0 + timedelta(seconds=after_s)).isoformat(),
        "event": "x",
        "kind": "flow-run",
        "run": "r",
        "resource": RUN,
        **fields,
    }


def story(tenant: str) -> list[dict[str, object]]:
    """Return what a run, its task and its log told, and the database that it used, in order."""
    task = {"id": "task-run.t", "name": "load"}
    line = {"level": "error", "logger": "app.db", "message": "connection refused"}
    return [
        event(tenant, 0, event="flow-run.pending", state="pending"),
        event(tenant, 4.5, event="flow-run.running", state="running"),
        event(tenant, 5, event="task-run.running", kind="task-run", task="t", state="running", resource=task),
        event(tenant, 65, event="database.down", kind="other", run=None, resource={"id": "db.orders"}),
        event(tenant, 66, event="log.write", kind="log", payload=line, related=[DATABASE]),
        event(tenant, 66.25, event="task-run.failed", kind="task-run", task="t", state="failed", resource=task),
        event(tenant, 67, event="flow-run.failed", state="failed", payload={"message": "orders-db is away"}),
        event(tenant, 68, event="flow-run.running", run="another", state="running"),
    ]


async def publish(store: ClickHouseStore, events: Sequence[dict[str, object]]) -> None:
    lines = [
        row(msgspec.json.encode(each), log_id="a", partition=0, offset=n, append_ms=millis(T0) + 40 * DAY_MS).line
        for n, each in enumerate(events)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))


async def timeline(store: ClickHouseStore, tenant: str, **more: object) -> Table:
    fields = {"tenant": tenant, "since_ms": millis(T0), "until_ms": millis(T0) + 3_600_000, "limit": 100}
    return await answer(store, "timeline", msgspec.convert(fields | more, MetricQuery))


async def test_a_run_is_told_in_order_with_its_tasks_logs_and_gaps(store: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    await publish(store, story(tenant)[::-1])
    await publish(store, story(tenant)[2:5])  # a producer's retry

    table = await timeline(store, tenant, run="r")

    assert table.rows == [
        ("2026-11-16T00:00:00Z", None, "flow-run", "brave-fox", "flow-run.pending", "pending", "", ""),
        ("2026-11-16T00:00:04.500000Z", 4.5, "flow-run", "brave-fox", "flow-run.running", "running", "", ""),
        ("2026-11-16T00:00:05Z", 0.5, "task-run", "load", "task-run.running", "running", "", ""),
        ("2026-11-16T00:01:06Z", 61.0, "log", "app.db", "log.write", "", "ERROR", "connection refused"),
        ("2026-11-16T00:01:06.250000Z", 0.25, "task-run", "load", "task-run.failed", "failed", "", ""),
        ("2026-11-16T00:01:07Z", 0.75, "flow-run", "brave-fox", "flow-run.failed", "failed", "", "orders-db is away"),
    ]


async def test_a_resource_is_told_of_where_it_is_the_subject_or_related(store: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    await publish(store, story(tenant))

    table = await timeline(store, tenant, resource="db.orders")

    assert [(line["gap_seconds"], line["name"], line["event"]) for line in table.dicts()] == [
        (None, "db.orders", "database.down"),
        (1.0, "app.db", "log.write"),
    ]
    assert (await timeline(store, tenant, resource="db.orders", run="r")).column("event") == ["log.write"]
    assert (await timeline(store, tenant, resource="db")).rows == []


async def test_a_run_without_an_id_goes_by_its_resource(store: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    told = [event(tenant, 1, run=None, state="running"), event(tenant, 2, run=None, state="completed")]
    others = [event(tenant, 3, run="other", state="failed"), event(tenant, 4, run=None, kind="other", state="failed")]
    await publish(store, [*told, *others])  # about the same thing, but of another run, or no run's state

    assert (await timeline(store, tenant, run="flow-run.r")).column("state") == ["running", "completed"]


async def test_events_of_two_tenants_with_one_id_are_both_told_of(embedded: ClickHouseStore) -> None:
    """Ids are a tenant's own."""
    run = f"twins {uuid.uuid4().hex}"
    twin = event("of any", 1, run=run, state="running")
    await publish(embedded, [twin | {"tenant": f"{run} {whose}"} for whose in "ab"])

    assert len((await timeline(embedded, "*", run=run)).rows) == 2
    assert len((await timeline(embedded, f"{run} a", run=run)).rows) == 1


@settings(max_examples=one_in(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.permutations(range(10)))
async def test_what_happened_at_the_same_time_reads_as_runs_and_tasks_go(
    embedded: ClickHouseStore, ids: list[int]
) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:12]}"
    task: dict[str, object] = {"kind": "task-run", "task": "t", "resource": {"id": "task-run.t", "name": "load"}}
    told: list[dict[str, object]] = [
        *(dict[str, object](state=state) for state in ("scheduled", "pending", "running")),
        *(task | {"state": state} for state in ("pending", "running")),
        {"kind": "log", "payload": {"level": "info", "logger": "app", "message": "loaded"}},
        *(task | {"state": state} for state in ("failed", "completed")),
        *(dict[str, object](state=state) for state in ("cancelling", "cancelled")),
    ]
    begins, goes_on, ends = told[:3], told[3:8], told[8:]
    in_order = [*begins, ends[0], *goes_on, ends[1]]

    events = [event(tenant, 1, id=str(uuid.UUID(int=n + 1)), **each) for n, each in zip(ids, told, strict=True)]
    await publish(embedded, events)

    rows = (await timeline(embedded, tenant, run="r")).dicts()
    assert [(each["kind"], each["state"]) for each in rows] == [
        (each.get("kind", "flow-run"), each.get("state", "")) for each in in_order
    ]
    assert [each["gap_seconds"] for each in rows] == [None, *[0] * 9]


async def test_a_limited_timeline_is_its_beginning(store: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    await publish(store, story(tenant))

    whole = await timeline(store, tenant, run="r")

    assert (await timeline(store, tenant, run="r", limit=3)).rows == whole.rows[:3]


@settings(max_examples=one_in(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(7)), again=st.lists(st.integers(0, 6), max_size=7))
async def test_neither_order_nor_repeats_change_a_timeline(
    embedded: ClickHouseStore, order: list[int], again: list[int]
) -> None:
    """Run in the embedded engine alone: what is told apart here is the query's."""
    tenant = f"timeline {uuid.uuid4().hex[:12]}"
    told = story(tenant)

    await publish(embedded, [told[at] for at in order])
    if again:
        await publish(embedded, [told[at] for at in again])

    rows = (await timeline(embedded, tenant, run="r")).dicts()
    assert [line["event"] for line in rows] == [each["event"] for each in told[:7] if each["run"] == "r"]
    assert [line["gap_seconds"] for line in rows] == [None, 4.5, 0.5, 61.0, 0.25, 0.75]


async def own_time(store: ClickHouseStore, tenant: str, run: str) -> Table:
    """Ask of a run as people do who say nothing of time."""
    return await answer(store, "timeline", metric_query("timeline", tenant, {"run": run}, millis(T0) + 40 * DAY_MS))


async def test_a_run_is_told_of_for_as_long_as_it_lived_however_long_ago(store: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    late = event(tenant, 80_000, event="log.write", kind="log", payload={"message": "flushed late"})
    not_its_own = event(tenant, 200_000, event="log.write", kind="log", payload={"message": "days later"})
    await publish(store, [*story(tenant), late, not_its_own])

    told = await own_time(store, tenant, "r")

    assert told.column("message") == ["", "", "", "connection refused", "", "orders-db is away", "flushed late"]


async def test_a_run_that_has_not_ended_is_told_of_until_now(store: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    line = event(tenant, 3 * 86_400, event="log.write", kind="log", payload={"message": "still here"})
    await publish(store, [event(tenant, 0, state="running"), line])

    assert (await own_time(store, tenant, "r")).column("message") == ["", "still here"]


async def test_of_a_run_that_told_no_state_a_week_is_told(store: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    days = (32, 34)
    lines = [event(tenant, day * 86_400, kind="log", payload={"message": f"day {day}"}) for day in days]
    await publish(store, lines)

    assert (await own_time(store, tenant, "r")).column("message") == ["day 34"]


async def test_a_timeline_reads_the_days_of_the_run_and_the_granules_of_the_thing(embedded: ClickHouseStore) -> None:
    tenant = f"timeline {uuid.uuid4().hex[:6]}"
    others = [
        event(
            tenant, n / 20, run=f"run-{n // 9}", resource={"id": f"flow-run.{n // 9}"}, related=[{"id": f"db.{n // 9}"}]
        )
        for n in range(60_000)
    ]
    elsewhen = [event(tenant, day * 86_400, state="running", run=f"old-{day}") for day in range(3, 9)]
    await publish(embedded, [*others, *story(tenant), *elsewhen])

    planned = Planned(embedded)
    await own_time(planned, tenant, "r")
    await timeline(planned, tenant, resource="db.4711")

    of_run, of_thing = planned.plans
    assert of_run["Min-Max"][1] > of_run["Min-Max"][0] >= 60_000 // 8_192
    assert of_run["ix_run"][0] < 60_000 // 8_192
    assert of_thing["ix_resources"][0] <= 2
    assert of_thing["ix_resources"][1] >= 60_000 // 8_192
