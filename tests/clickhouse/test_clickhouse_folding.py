"""Folding: what is kept of runs, and what came since, is always what all events say."""

import asyncio
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from tests.clickhouse.run_oracle import UNTIL, some_events
from tests.clickhouse_front import Front

from flowgauge.schemas.errors import InvariantBroken, Transient
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse import folding, metrics, runs_now
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.folding import USED_MAX, fold, keep_folded, shares
from flowgauge.sinks.clickhouse.metric import InvalidQuestion, MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, answer
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.run_metrics import KNOWN, Came
from flowgauge.sinks.clickhouse.schema import SchemaFile
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT, Seen, only

DAY = datetime(2026, 11, 21, tzinfo=UTC)

MUCH_USED = """
    INSERT INTO flowgauge.runs (tenant, run, seen_first, append_last, used)
    SELECT
        'endless', 'service', toDateTime64('2026-11-21 00:00:00', 6, 'UTC'), now64(3, 'UTC'),
        groupUniqArrayArray(100000)(CAST(
            [(generateUUIDv4(number), '', NULL, 1, NULL, NULL, NULL)],
            'Array(Tuple(id UUID, currency String, cost Nullable(Decimal(18, 6)), bytes Nullable(UInt64),
                rows Nullable(UInt64), cpu_utilization Nullable(Float64), gpu_utilization Nullable(Float64)))'
        ))
    FROM numbers({events:UInt32})
"""
VIEW = "flowgauge.runs_final"
USED = {
    "bytes": 9,
    "rows": 3,
    "cpu_utilization": 0.5,
    "gpu_utilization": 0.25,
    "cost": {"amount": "1.5", "currency": "EUR"},
    "message": "ended",
}
TOLD = "SELECT told_bytes FROM flowgauge.runs_folded FINAL WHERE tenant = 'endless'"


def full_runs() -> float:
    return REGISTRY.get_sample_value("flowgauge_sinks_full_runs_total") or 0.0


async def tell(store: ClickHouseStore, tenant: str, run: str, *states: str, at: datetime = DAY) -> None:
    """Insert that `run` of the flow `etl` came into `states`, a minute each, from `at` on."""
    lines = [
        row(
            msgspec.json.encode(
                {
                    "id": str(uuid.uuid4()),
                    "tenant": tenant,
                    "occurred": (at + n * timedelta(minutes=1)).isoformat(),
                    "event": f"run.{state}",
                    "kind": "flow-run",
                    "flow": "etl",
                    "run": run,
                    "state": state,
                    "resource": {"id": run},
                }
            ),
            log_id="a",
            partition=0,
            offset=n,
            append_ms=millis(DAY),
        ).line
        for n, state in enumerate(states)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))


async def noted_until(store: ClickHouseStore) -> object:
    """Return up to when runs are folded."""
    return (await store.query("SELECT max(until) FROM flowgauge.runs_folded_until", seen=EVERY_TENANT)).rows[0][0]


def asked(tenant: str) -> MetricQuery:
    return MetricQuery(
        tenant=tenant, since_ms=millis(DAY - timedelta(days=3)), until_ms=millis(DAY + timedelta(days=1)), limit=10_000
    )


async def states(store: ClickHouseStore, tenant: str) -> dict[str, object]:
    return {str(each["run"]): each["state"] for each in (await answer(store, "runs", asked(tenant))).dicts()}


async def fold_now(store: ClickHouseStore) -> int:
    return await fold(store, every_ms=0, seen_after_ms=0)


async def test_what_comes_after_a_fold_counts_at_once(store: ClickHouseStore) -> None:
    await tell(store, "since", "one", "running")
    await tell(store, "since", "two", "running", "completed")
    await fold_now(store)

    before = await states(store, "since")
    await tell(store, "since", "one", "failed", at=DAY + timedelta(hours=1))
    await tell(store, "since", "three", "pending")

    assert before == {"one": "running", "two": "completed"}
    assert await states(store, "since") == {"one": "failed", "two": "completed", "three": "pending"}


async def test_a_run_told_of_in_two_months_is_one(store: ClickHouseStore) -> None:
    """What happened first came last, and in another partition of the table."""
    first = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)
    long_ago = MetricQuery(tenant="months", since_ms=millis(first), until_ms=millis(DAY))
    await tell(store, "months", "one", "running", "completed", at=first + timedelta(minutes=5))
    await fold_now(store)
    await tell(store, "months", "one", "scheduled", at=first)
    await fold_now(store)

    (known,) = (await answer(store, "runs", long_ago)).dicts()
    (counted,) = (await answer(store, "states", long_ago)).dicts()

    assert (known["run"], known["state"], known["seconds"]) == ("one", "completed", 60.0)
    assert counted["runs"] == 1


async def test_a_fold_stays_behind_by_what_an_insert_may_take(store: ClickHouseStore) -> None:
    await tell(store, "behind", "one", "running")
    await fold_now(store)
    until = await noted_until(store)

    again = await fold(store, every_ms=0, seen_after_ms=60_000)
    await fold(store)

    assert again == 0
    assert await noted_until(store) == until
    assert await states(store, "behind") == {"one": "running"}


async def test_a_run_that_tells_without_end_what_it_used_is_folded_and_counted(store: ClickHouseStore) -> None:
    await tell(store, "endless", "service", "running", "completed")
    await store.command(MUCH_USED, {"events": USED_MAX + 1})
    before = full_runs()

    await fold_now(store)

    (found,) = (await store.query(TOLD, seen=only("endless"))).rows
    assert found == (USED_MAX,)
    assert full_runs() == before + 1


async def test_all_of_a_fold_may_be_done_twice_at_once(store: ClickHouseStore) -> None:
    for run in ("one", "two", "three"):
        await tell(store, "twice", run, "running", "completed")

    await asyncio.gather(fold_now(store), fold_now(store), fold_now(store))

    assert await states(store, "twice") == dict.fromkeys(("one", "two", "three"), "completed")
    (counted,) = (await answer(store, "states", asked("twice"))).dicts()
    assert counted["runs"] == 3


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 500), max_size=20), st.integers(1, 100))
def test_shares_are_small_or_of_one_tenant_and_hold_each_once(counts: dict[str, int], at_once: int) -> None:
    parts = list(shares(counts, at_once))

    assert [tenant for part in parts for tenant in part] == list(counts)
    assert all(len(part) == 1 or sum(counts[tenant] for tenant in part) <= at_once for part in parts)


async def test_a_large_tenant_is_folded_some_runs_at_a_time(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        await tell(store, "large", f"run-{number}", "running", "completed")
    monkeypatch.setattr(folding, "RUNS_AT_ONCE", 3)

    await fold_now(store)

    held = await store.query(
        "SELECT count(), uniqExact(run) FROM flowgauge.runs_folded FINAL WHERE tenant = 'large'", seen=only("large")
    )
    assert held.rows == [(7, 7)]


async def test_what_a_clock_that_was_ahead_noted_counts_for_nothing(store: ClickHouseStore) -> None:
    await store.command("INSERT INTO flowgauge.runs_folded_until SELECT now64(3) + INTERVAL 1 YEAR", {})
    await tell(store, "ahead", "one", "running")

    assert await states(store, "ahead") == {"one": "running"}
    assert await fold_now(store) > 0
    assert await states(store, "ahead") == {"one": "running"}


async def test_what_cannot_be_folded_now_is_folded_later(served: ClickHouseStore, front: Front) -> None:
    stop = asyncio.Event()
    await tell(served, "later", "one", "running")

    with front.faults("code 241", of="-- Until when runs are folded"), pytest.raises(EngineTrouble):
        await fold_now(served)
    with front.faults("code 241", of="-- Keeps the runs"), pytest.raises(Transient):
        await fold_now(served)
    asyncio.get_running_loop().call_soon(stop.set)
    await keep_folded(served, stop=stop)

    assert await states(served, "later") == {"one": "running"}
    assert await fold_now(served) > 0


@pytest.fixture(scope="module")
def told_twins(store: ClickHouseStore) -> ClickHouseStore:
    """Return the store, where two tenants have a run of one name."""
    for tenant in ("both-a", "both-b"):
        asyncio.run(tell(store, tenant, "one", "pending", "running", "failed"))
    return store


@pytest.mark.parametrize(
    ("name", "per", "column"),
    [
        ("states", "flow", "runs"),
        ("states", "tenant", "runs"),
        ("durations", "flow", "runs"),
        ("top", "flow", "failed"),
        ("top", "tenant", "failed"),
        ("retries", "flow", "runs"),
        ("lateness", "tenant", "runs"),
        ("concurrency", "flow", "max_runs"),
    ],
)
async def test_of_everyone_the_same_flow_and_run_of_two_tenants_are_two(
    told_twins: ClickHouseStore, name: str, per: str, column: str
) -> None:
    rows: list[dict[str, Any]] = (await answer(told_twins, name, replace(asked(ANY_TENANT), per=per))).dicts()

    named = {"both-a": 1, "both-b": 1} if per == "tenant" else {"both-a/etl": 1, "both-b/etl": 1}
    whole = {str(each[per]): max(row[column] for row in rows if row[per] == each[per]) for each in rows}
    assert {group: count for group, count in whole.items() if "both" in group} == named


@pytest.mark.parametrize("name", ["failure-rate", "heatmap", "overview"])
async def test_of_everyone_ends_add_up(store: ClickHouseStore, name: str) -> None:
    async def finished(tenant: str) -> int:
        rows = (await answer(store, name, asked(tenant))).dicts()
        return sum(int(str(each.get("finished", each.get("finished_since")))) for each in rows)

    for tenant in ("sum-a", "sum-b"):
        await tell(store, tenant, "one", "running", "completed")
    known = await store.query("SELECT DISTINCT toString(tenant) AS tenant FROM flowgauge.runs", seen=EVERY_TENANT)

    assert await finished(ANY_TENANT) == sum([await finished(str(tenant)) for tenant in known.column("tenant")])


async def test_patterns_are_of_one_tenant(store: ClickHouseStore) -> None:
    with pytest.raises(InvalidQuestion, match=r"^tenant: patterns is asked of one tenant: name it$"):
        await answer(store, "patterns", asked(ANY_TENANT))


@pytest.mark.parametrize(("name", "column"), [("events", "events"), ("errors", "count"), ("overview", "events_5m")])
async def test_of_everyone_one_id_of_two_tenants_is_two(store: ClickHouseStore, name: str, column: str) -> None:
    at = DAY + timedelta(hours=20, minutes=10 * ("events", "errors", "overview").index(name))
    twin = {
        "id": str(uuid.uuid4()),
        "occurred": at.isoformat(),
        "event": "log.write",
        "kind": "log",
        "run": "twin",
        "resource": {"id": "twin"},
        "payload": {"message": f"{name} of twins", "level": "ERROR"},
    }
    lines = [
        row(
            msgspec.json.encode({**twin, "tenant": tenant}), log_id="a", partition=0, offset=n, append_ms=millis(DAY)
        ).line
        for n, tenant in enumerate(("twin-a", "twin-b", "twin-b"))
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))
    until_ms = millis(at + timedelta(minutes=1))

    asked_of_all = replace(asked(ANY_TENANT), until_ms=until_ms, since_ms=until_ms - 60_000, text="of twins")
    rows = (await answer(store, name, asked_of_all)).dicts()

    assert sum(int(str(each[column])) for each in rows) == 2  # errors are told for each tenant


OF_RUNS = [name for name in METRICS if "{folded_ms:" in question(name)]


async def test_when_nothing_came_since_only_what_is_kept_is_read(store: ClickHouseStore) -> None:
    for run in ("one", "two", "three"):
        await tell(store, "kept", run, "late", "running", "completed" if run == "one" else "failed")
    as_they_come = {name: (await answer(store, name, asked("kept"))).rows for name in OF_RUNS}
    await fold_now(store)

    as_kept = {name: (await answer(store, name, asked("kept"))).rows for name in OF_RUNS}

    assert all(as_they_come.values())
    assert as_kept == as_they_come


class Recorded(ClickHouseStore):
    """A store that keeps the parameters of the questions that it answers."""

    def __init__(self, store: ClickHouseStore) -> None:
        self._store = store
        self.bound: set[str] = set()

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None, *, seen: Seen) -> Table:
        if "came_since" not in sql:
            self.bound |= set(parameters or {})
        return await self._store.query(sql, parameters, seen=seen)


async def test_what_came_is_told_alike_of_few_runs_and_of_many(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "it's {came:Array(String)} \\ run"
    for run in ("one", "two", odd):
        await tell(store, "news", run, "late", "running", "completed" if run == "one" else "failed")
    await fold_now(store)
    for run in (odd, "four"):
        await tell(store, "news", run, "late", "running", "completed", at=DAY + timedelta(minutes=7))
    few, many = Recorded(store), Recorded(store)

    of_few = {name: (await answer(few, name, asked("news"))).rows for name in OF_RUNS}
    monkeypatch.setattr(metrics, "FEW_MAX", 1)
    of_many = {name: (await answer(many, name, asked("news"))).rows for name in OF_RUNS}

    assert ("came" in few.bound, "came" in many.bound) == (True, False)
    assert of_many == of_few
    assert {row[0]: row[2] for row in of_few["runs"]} == {
        "one": "completed",
        "two": "failed",
        odd: "completed",
        "four": "completed",
    }


async def test_runs_of_long_names_are_not_named(store: ClickHouseStore) -> None:
    await fold_now(store)
    await tell(store, "long", "r" * 200_000, "running")
    recorded = Recorded(store)

    assert list((await answer(recorded, "states", asked("long"))).column("running")) == [1]
    assert "came" not in recorded.bound


async def test_each_column_of_a_run_is_now_what_the_view_says(store: ClickHouseStore) -> None:
    """Whatever else is read: of runs that told tags, things, amounts and more, in two inserts."""
    team = {"id": "team.bi", "role": "team", "name": "bi"}
    events = [
        each | {"payload": USED, "related": [*each["related"], team]} if each["state"] == "completed" else each
        for each in some_events("made", 40)
    ]
    for some in (events[::2], events[1::2]):
        lines = [
            row(msgspec.json.encode(each), log_id="a", partition=0, offset=n, append_ms=millis(UNTIL)).line
            for n, each in enumerate(some)
        ]
        await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))
    sorted_by_run = "SELECT {} FROM {} WHERE tenant = 'made' ORDER BY run".format
    view = await store.query(sorted_by_run(", ".join(KNOWN), VIEW), seen=only("made"))

    for name in KNOWN:
        now = "(SELECT {} FROM flowgauge.runs AS runs GROUP BY tenant, run HAVING state != '')".format
        told = await store.query(sorted_by_run(name, now(runs_now.made([name]))), seen=only("made"))
        assert told.column(name) == view.column(name), name
        assert len(set(map(str, told.column(name)))) > 1 or name == "tenant", name


def test_a_view_that_is_written_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    other = [SchemaFile(1, "0001.sql", "CREATE OR REPLACE VIEW flowgauge.runs_final AS\nSELECT 1\n")]
    monkeypatch.setattr(runs_now, "schema_files", lambda: other)

    with pytest.raises(InvariantBroken, match=r"^runs_final: expected a view of runs"):
        runs_now.columns.__wrapped__()


@pytest.mark.parametrize("name", OF_RUNS)
def test_of_what_is_kept_no_question_reads_runs_as_they_come(name: str) -> None:
    assert not re.search(r"flowgauge\.(runs|runs_final)\b", question(name, Came.NOTHING))
