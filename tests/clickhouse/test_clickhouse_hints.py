"""An empty answer says why, where that is easily overlooked."""

import uuid

import pytest
from tests.clickhouse.running_sink import NOW_MS
from tests.clickhouse.test_clickhouse_tenancy import write_all_tables

from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.hints import hint
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, answer
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import only


def unheard_of() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


async def hinted(store: ClickHouseStore, name: str, tenant: str, **more: str) -> str:
    query = MetricQuery(tenant=tenant, since_ms=NOW_MS - 7 * 86_400_000, until_ms=NOW_MS + 86_400_000, **more)  # type: ignore[arg-type]  # texts
    return await hint(store, query, await answer(store, name, query))


@pytest.mark.parametrize("name", METRICS)
async def test_every_question_says_that_nothing_is_known_of_a_tenant(embedded: ClickHouseStore, name: str) -> None:
    """The heat map has all its hours and the overview its row then, too."""
    tenant = unheard_of()

    said = await hinted(embedded, name, tenant, **({"run": "r"} if name == "timeline" else {}))

    assert said == f"nothing is known of tenant {tenant}: no table has a row of it"


async def test_a_name_with_a_wildcard_is_looked_for_as_it_stands(embedded: ClickHouseStore) -> None:
    tenant = unheard_of()
    await write_all_tables(embedded, tenant)

    said = await hinted(embedded, "runs", tenant, flow="orders-*")

    assert said == "flow: 'orders-*' is looked for as it stands: a * or ? stands for nothing else there"
    assert await hinted(embedded, "runs", tenant, flow="orders") == ""
    assert await hinted(embedded, "runs", "*", run=unheard_of()) == ""


async def test_a_run_and_a_resource_that_nothing_was_told_of_together_say_so(embedded: ClickHouseStore) -> None:
    tenant = unheard_of()
    await write_all_tables(embedded, tenant)

    both = await hinted(embedded, "timeline", tenant, run="r", resource="db.orders")

    assert both == (
        "run, resource: nothing was told of 'r' and 'db.orders' together: "
        "only what is of that run and about that resource fits both; ask of one of them"
    )
    assert await hinted(embedded, "timeline", tenant, resource="db.orders") == ""


async def test_a_name_with_its_tenant_before_it_is_one_of_all_tenants_together(embedded: ClickHouseStore) -> None:
    tenant = unheard_of()
    await write_all_tables(embedded, tenant)

    said = await hinted(embedded, "runs", tenant, flow=f"{tenant}/orders")

    assert said == (
        f"flow: '{tenant}/orders' is looked for as it stands: only of all tenants together (tenant *) a name has its "
        "tenant before it; ask for 'orders'"
    )


async def test_an_answer_that_tells_something_has_no_hint(embedded: ClickHouseStore) -> None:
    tenant = unheard_of()
    await write_all_tables(embedded, tenant)
    query = MetricQuery(tenant=tenant, since_ms=0, until_ms=4_000_000_000_000)
    table = await answer(embedded, "runs", query)

    assert table.rows
    assert await hint(embedded, query, table) == ""


async def test_an_answer_of_more_bytes_than_one_may_have_is_refused_with_the_bound(store: ClickHouseStore) -> None:
    sql = "SELECT repeat(toString(number % 10), 1000000) AS message FROM numbers(150)"

    with pytest.raises(EngineTrouble, match=r"max bytes: 128\.00 MiB.*\(code 396\)$"):
        await store.query(sql, seen=only("acme"))
