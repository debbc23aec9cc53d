"""What is asked of all tenants together: each row says whose it is, and a name may be asked for as it is told then."""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.clickhouse.test_clickhouse_timeline import publish

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse.metric import GROUPS, MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, answer, parameters_of
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table

T0 = datetime(2026, 11, 16, 9, tzinfo=UTC)
OF_EACH = [metric.name for metric in METRICS.values() if metric.tells_tenant]
NAMED = ("flow", "deployment", "work_pool", "tag")
NARROWED = [
    (name, field)
    for name, metric in METRICS.items()
    for field in NAMED
    if field in parameters_of(name) and not metric.of_one_tenant
]
Twins = tuple[ClickHouseStore, str]


def told(tenant: str, run: str) -> list[dict[str, object]]:
    """Return the same of each tenant: a run that ran, said an error and failed, and what it belonged to."""
    related = [{"id": f"{role} {run}", "role": role} for role in ("deployment", "work-pool", "tag")]
    steps: list[Mapping[str, object]] = [
        {"kind": "flow-run", "state": "running", "scheduled_for": T0.isoformat()},
        {"kind": "log", "payload": {"level": "error", "message": "refused"}},
        {"kind": "flow-run", "state": "failed", "payload": {"message": "refused"}},
    ]
    return [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{run} {number}")),
            "tenant": tenant,
            "occurred": (T0 + timedelta(seconds=10 * number)).isoformat(),
            "event": "x",
            "flow": f"flow {run}",
            "run": run,
            "resource": {"id": f"resource {run}"},
            "related": related,
            **step,
        }
        for number, step in enumerate(steps)
    ]


@pytest.fixture(scope="module")
def twins(embedded: ClickHouseStore) -> Twins:
    """Return the name of a run that two tenants, `NAME a` and `NAME b`, have alike, with the same ids."""
    run = uuid.uuid4().hex[:8]
    asyncio.run(publish(embedded, [event for whose in "ab" for event in told(f"{run} {whose}", run)]))
    return embedded, run


async def ask(store: ClickHouseStore, name: str, tenant: str, **more: object) -> Table:
    fields = {"tenant": tenant, "since_ms": millis(T0), "until_ms": millis(T0) + 3_600_000}
    return await answer(store, name, msgspec.convert({**fields, **more}, MetricQuery))


def narrow(name: str, run: str) -> dict[str, str]:
    return {"run": run} if "run" in parameters_of(name) else {"flow": f"flow {run}"}


def test_questions_that_tell_rows_of_a_tenant_are_known() -> None:
    assert OF_EACH == ["runs", "logs", "timeline", "errors"]


@pytest.mark.parametrize("name", OF_EACH)
async def test_each_row_says_whose_it_is(twins: Twins, name: str) -> None:
    store, run = twins

    both = await ask(store, name, ANY_TENANT, **narrow(name, run))
    each = {whose: await ask(store, name, whose, **narrow(name, run)) for whose in (f"{run} a", f"{run} b")}

    assert both.columns == ["tenant", *METRICS[name].columns]
    for whose, own in each.items():
        assert own.columns == list(METRICS[name].columns)
        assert own.rows
        left_out = {"hit", "group", "cursor"}  # count the lines of all
        assert [
            {column: value for column, value in row.items() if column not in {"tenant", *left_out}}
            for row in both.dicts()
            if row["tenant"] == whose
        ] == [{column: value for column, value in row.items() if column not in left_out} for row in own.dicts()]
    assert len(both.rows) == sum(len(own.rows) for own in each.values())


async def test_a_resource_of_several_tenants_says_so_too_and_gaps_are_each_ones_own(twins: Twins) -> None:
    store, run = twins

    both = await ask(store, "timeline", ANY_TENANT, resource=f"resource {run}")

    assert [(row["tenant"], row["gap_seconds"]) for row in both.dicts()] == [
        (f"{run} {whose}", gap) for gap in (None, 10.0, 10.0) for whose in "ab"
    ]


def the_name(field: str, run: str) -> str:
    return f"flow {run}" if field == "flow" else f"{field.replace('_', '-')} {run}"


@pytest.mark.parametrize(("name", "field"), NARROWED)
async def test_a_name_is_found_as_it_stands_and_after_its_tenants(twins: Twins, name: str, field: str) -> None:
    store, run = twins
    asked = the_name(field, run)

    both, one, own, none = [
        await ask(store, name, whose, **{field: value})
        for whose, value in (
            (ANY_TENANT, asked),
            (ANY_TENANT, f"{run} a/{asked}"),
            (f"{run} a", asked),
            (ANY_TENANT, f"{run} c/{asked}"),
        )
    ]

    assert counted(one) == counted(own)
    assert counted(both) > counted(one)
    assert counted(one) > counted(none)


async def test_errors_alone_are_found_so_as_well(twins: Twins) -> None:
    store, run = twins

    found = await ask(store, "logs", ANY_TENANT, level="ERROR", flow=f"{run} a/flow {run}")

    assert found.column("tenant") == [f"{run} a"]


@pytest.mark.parametrize("per", [each for each in GROUPS if each != "tenant"])
async def test_a_group_can_be_asked_for_by_the_name_that_an_answer_gives_it(twins: Twins, per: str) -> None:
    store, run = twins
    groups = await ask(store, "states", ANY_TENANT, per=per, tag=f"tag {run}")

    for group in groups.column(per):
        assert (await ask(store, "states", ANY_TENANT, per=per, **{per: group})).column(per) == [group]
    assert sorted(map(str, groups.column(per))) == [f"{run} {whose}/{the_name(per, run)}" for whose in "ab"]


def counted(table: Table) -> float:
    """Return how much an answer counts, in its own way."""
    numbers = [value for row in table.dicts() for name, value in row.items() if name in COUNTS]
    return sum(float(str(number)) for number in numbers) if numbers else len(table.rows)


COUNTS = {"runs", "finished", "expected", "mean_runs", "events", "finished_since"}
