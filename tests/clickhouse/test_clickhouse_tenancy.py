"""One tenant's question never sees another's rows, even if it forgot to say whose it asks for."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clickhouse.users_file import connected_as
from tests.clickhouse_front import Front

from flowgauge.schemas.event import NAME_MAX
from flowgauge.sinks.clickhouse.access import CONSOLE, access_statements, console_rights
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.dead_letters import dead_letters
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.incidents import incident, incidents
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, answer
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.schema import tenant_tables
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT, POLICY, Seen, guard, only, rows_of
from flowgauge.sinks.clickhouse.tenant_rows import erase, holding
from flowgauge.transport.wall_clock import now_ms

FORGETFUL = "SELECT DISTINCT tenant FROM flowgauge.{table} WHERE tenant != ''"
VIA = (  # ways to a table that are not its plain name
    "SELECT DISTINCT tenant FROM flowgauge.runs_final",
    "SELECT DISTINCT e.tenant FROM flowgauge.events AS e JOIN flowgauge.runs_final AS r ON r.flow = e.flow",
    "WITH all AS (SELECT * FROM flowgauge.events) SELECT DISTINCT tenant FROM all",
    "SELECT DISTINCT tenant FROM (SELECT tenant FROM flowgauge.runs UNION ALL SELECT tenant FROM flowgauge.dlq)",
    "SELECT tenant FROM flowgauge.run_ends_hourly FINAL GROUP BY tenant",
)
PLANTED = [*(FORGETFUL.format(table=table) for table in tenant_tables()), *VIA]
ONE, OTHER = "guarded-one", "guarded-'two\\"
HOLDS: dict[str, dict[str, object]] = {
    "events": {"event": "e", "kind": "flow-run", "flow": "f", "run": "r", "state": "failed", "resource": {"id": "r"},
               "payload": {"bytes": 1}},
    "transitions": {
        "transition_id": "t", "incident_id": "0123456789abcdef", "rule": "r", "to_state": "firing",
        "at_ms": 1, "opened_at_ms": 1,
    },
    "deliveries": {"delivery_id": "d", "incident_id": "0123456789abcdef"},
    "dlq": {"reason": "r", "value": ""},
}  # fmt: skip


async def write_all_tables(store: ClickHouseStore, *tenants: str) -> None:
    """Give each of `tenants` a row in every table; what a view fills is filled by events."""
    at = now_ms()
    for table, fields in HOLDS.items():
        lines = [
            row(
                msgspec.json.encode(
                    {"tenant": tenant, **({"id": str(uuid4()), "occurred": at / 1000} if table == "events" else {})}
                    | ({"at_ms": at} if table == "dlq" else {})
                    | fields
                ),
                log_id="guarded",
                partition=0,
                offset=offset,
                append_ms=at,
            ).line
            for offset, tenant in enumerate(tenants)
        ]
        await store.insert(f"flowgauge.{table}", b"\n".join(lines), f"guarded-{table}-{uuid4()}")
    for tenant in tenants:
        await store.command(
            "INSERT INTO flowgauge.runs_folded (tenant, run, flow, seen_first, seen_last, append_last, folded) "
            "SELECT {tenant:String}, 'r', 'f', now64(6), now64(6), now64(3), now64(3)",
            {"tenant": tenant},
        )


@pytest.fixture(scope="module")
def filled(store: ClickHouseStore) -> ClickHouseStore:
    asyncio.run(write_all_tables(store, ONE, OTHER))
    return store


async def found(store: ClickHouseStore, sql: str, seen: Seen) -> set[object]:
    return {of for (of,) in (await store.query(sql, seen=seen)).rows}


async def test_every_table_with_a_tenant_is_guarded(store: ClickHouseStore) -> None:
    sql = (
        "SELECT table FROM system.columns AS c JOIN system.tables AS t ON t.database = c.database AND t.name = c.table "
        "WHERE database = 'flowgauge' AND c.name = 'tenant' AND t.engine LIKE '%MergeTree'"
    )

    assert await found(store, sql, EVERY_TENANT) == set(tenant_tables())


@pytest.mark.parametrize("sql", PLANTED)
async def test_a_question_that_forgot_its_tenant_sees_only_its_own_rows(filled: ClickHouseStore, sql: str) -> None:
    assert await found(filled, sql, only(ONE)) == {ONE}
    assert await found(filled, sql, only(OTHER)) == {OTHER}
    assert await found(filled, sql, only("nobody")) == set()
    assert await found(filled, sql, only(ONE, OTHER)) == {ONE, OTHER}
    assert await found(filled, sql, EVERY_TENANT) >= {ONE, OTHER}


def test_everybody_is_asked_about_by_a_name_that_no_tenant_has() -> None:
    assert (rows_of("*"), rows_of("acme"), rows_of("")) == (EVERY_TENANT, only("acme"), only(""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=NAME_MAX))
async def test_no_name_of_a_tenant_widens_what_it_sees(embedded: ClickHouseStore, name: str) -> None:
    held = await embedded.query(
        "SELECT tenant FROM (SELECT arrayJoin([{name:String}, 'other']) AS tenant)", {"name": name}, seen=only(name)
    )
    seen = await found(embedded, "SELECT tenant FROM flowgauge.events", only(name))

    assert {of for (of,) in held.rows} == {name, "other"}  # no table: nothing to guard
    assert seen <= {name}


async def test_every_question_goes_out_with_the_guard(front: Front, served: ClickHouseStore) -> None:
    front.take_seen()
    now = now_ms()
    for name in METRICS:
        await answer(served, name, MetricQuery(tenant=ONE, since_ms=now - 3_600_000, until_ms=now, run="r"))
    await incidents(served, ONE)
    await incident(served, ONE, "0123456789abcdef", clock_ms=now)
    await dead_letters(served, tenants=[ONE], since_ms=0, limit=10)

    # How far the runs are folded is of no tenant.
    asked = [each["parameters"] for each in front.take_seen() if "until_ms,\n" not in each["statement"]]
    assert len(asked) > len(METRICS)
    wanted = guard(only(ONE))
    assert [{name: each.get(name) for name in wanted} for each in asked] == [wanted] * len(asked)


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    folder = tmp_path_factory.mktemp("restricted")
    with Front(folder / "data") as running:
        store = ClickHouseStore.connect(Server(running.url, running.user, running.password))
        store.apply_schema()
        asyncio.run(write_all_tables(store, ONE, OTHER))
        store.close()
    with connected_as(folder, console_rights("flowgauge"), dict.fromkeys(tenant_tables(), POLICY)) as store:
        yield store


@pytest.mark.parametrize("sql", PLANTED)
async def test_under_row_policies_a_question_without_any_guard_sees_nothing(
    restricted: ClickHouseStore, sql: str
) -> None:
    asks = cast("Any", restricted)._asks  # a question that forgot all
    assert asks.query(sql).result_rows == []
    assert {of for (of,) in asks.query(sql, settings={"log_comment": guard(only(ONE))["log_comment"]}).result_rows} == {
        ONE
    }
    assert await found(restricted, sql, only(OTHER)) == {OTHER}
    assert await found(restricted, sql, EVERY_TENANT) == {ONE, OTHER}


async def test_who_only_asks_starts_answers_and_can_change_nothing(restricted: ClickHouseStore) -> None:
    now = now_ms()

    assert restricted.apply_schema() == []
    for name in METRICS:
        await answer(restricted, name, MetricQuery(tenant=ONE, since_ms=now - 3_600_000, until_ms=now + 9, run="r"))
    (shown,) = await incidents(restricted, ONE)
    assert shown.incident_id == "0123456789abcdef"
    with pytest.raises(EngineTrouble, match=r"the user may not do this \(code 497\)"):
        await restricted.insert("flowgauge.events", b"{}", "refused")


async def test_the_user_that_only_asks_may_erase_where_it_was_granted(restricted: ClickHouseStore) -> None:
    """The last of those who ask `restricted`: what is erased here does not come back."""
    assert set((await holding(restricted, OTHER)).rows.values()) == {1}

    while (left := await erase(restricted, OTHER, now_ms())).pending or any(left.rows.values()):  # noqa: ASYNC110  # the engine tells nobody
        await asyncio.sleep(0.01)

    assert set((await holding(restricted, OTHER)).rows.values()) == {0}
    assert (await restricted.query("SELECT uniqExact(tenant) FROM flowgauge.events", seen=EVERY_TENANT)).rows == [(1,)]


def test_the_admins_statements_are_ones_that_clickhouse_reads(embedded: ClickHouseStore) -> None:
    asks = cast("Any", embedded)._asks
    said = access_statements("flowgauge")
    read = [asks.query("SELECT formatQuerySingleLine({s:String})", parameters={"s": each}).result_rows for each in said]

    assert len(read) == len(said)
    assert [each for each in said if each.startswith("CREATE ROW POLICY")] == [
        f"CREATE ROW POLICY OR REPLACE {CONSOLE} ON flowgauge.{table} FOR SELECT USING {POLICY} TO {CONSOLE}"
        for table in tenant_tables()
    ]
