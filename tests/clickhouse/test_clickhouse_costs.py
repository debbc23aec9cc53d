"""What runs cost, where that money goes and how much of it brings nothing, against a count in plain Python.

Events come twice, in pieces and in any order; what they tell of money and amounts may be anything.
"""

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.clickhouse.cost_oracle import Key, Row, cost_runs, costed, costs, pipelines
from tests.clickhouse.run_oracle import DAY, HOUR, SINCE, UNTIL, Event, some_events
from tests.examples import one_in

from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.folding import fold
from flowgauge.sinks.clickhouse.metric import PER, InvalidQuestion, MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, answer
from flowgauge.sinks.clickhouse.prices import ENTRIES_MAX, parse_prices
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore

APPEND_MS = millis(UNTIL)
RUNS = 60
PRICES = """
currency: EUR
prices:
  - {work_pool: k8s, tag: gpu, per_hour: 3.2}
  - {flow: "e[st]*", per_hour: 1.123456, currency: usd}
  - {tag: nightly, per_hour: 0.07}
  - {tenant: another, per_hour: 99}
teams:
  - {tag: gpu, team: science}
  - {flow: "*s", work_pool: k8s, team: platform}
"""
BOOK = parse_prices("prices.yaml", PRICES)


async def publish(store: ClickHouseStore, events: Sequence[Event], first: int = 0) -> None:
    lines = [
        row(msgspec.json.encode(event), log_id="a", partition=0, offset=first + n, append_ms=APPEND_MS).line
        for n, event in enumerate(events)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))


def with_teams(events: Sequence[Event]) -> list[Event]:
    """Let every third run of `reports` name its team."""
    team = {"id": "team.bi", "role": "team", "name": "bi"}
    named = [event["flow"] == "reports" and int(event["run"].split("-")[1]) % 3 == 0 for event in events]
    return [
        {**event, "related": [*event["related"], team]} if is_named else event
        for event, is_named in zip(events, named, strict=True)
    ]


def usage(tenant: str, run: str, payload: dict[str, Any], at: datetime = SINCE) -> Event:
    """Return an event of a run that tells what it used."""
    return {
        "id": str(uuid.uuid4()),
        "tenant": tenant,
        "occurred": at.isoformat(),
        "event": "bill",
        "kind": "other",
        "run": run,
        "resource": {"id": "bill"},
        "related": [],
        "payload": payload,
    }


ODD: list[Any] = [None, "", "NaN", "-1", -1, -0.5, True, [], {}, " 5", "1e", 10**12, 1e300, "0x1", "9" * 30]
odd: st.SearchStrategy[Any] = st.sampled_from(ODD)
amounts: st.SearchStrategy[Any] = (
    st.floats(0, 5_000)
    | st.integers(0, 5_000)
    | st.decimals(0, 10**12, places=7).map(lambda value: format(value, "f"))
    | st.sampled_from([1e-7, 5e-7, "1e3", 0, 0.0, 999_999_999_999.99])
    | odd
)
currencies = st.sampled_from(["EUR", "eur", "USD", "DBU", "", "EURO!", 7, None])
counts: st.SearchStrategy[Any] = st.integers(0, 2**53 + 2) | st.floats(0, 1e6) | odd
shares: st.SearchStrategy[Any] = st.floats(0, 1) | st.floats(-1, 100) | odd
payloads: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "cost": st.fixed_dictionaries({"amount": amounts, "currency": currencies}) | odd,
        "bytes": counts,
        "rows": counts,
        "cpu_utilization": shares,
        "gpu_utilization": shares,
        "message": st.sampled_from(['"cost"', "rows"]),
    },
)
bills = st.lists(st.tuples(st.integers(0, RUNS - 1), payloads), max_size=60)


def asked(tenant: str, **more: object) -> MetricQuery:
    fields = {"tenant": tenant, "since_ms": millis(SINCE), "until_ms": millis(UNTIL), "limit": 10_000}
    return replace(msgspec.convert(fields | more, MetricQuery), prices=BOOK.of(tenant))


async def cells(store: ClickHouseStore, name: str, query: MetricQuery) -> dict[Key, Row]:
    """Return the rest of each row by its bucket, group and currency."""
    table = await answer(store, name, query)
    has_bucket = bool(query.bucket_ms)
    assert table.columns == ["bucket"] * has_bucket + [query.per or "flow", *METRICS[name].columns[1:]]
    msgspec.json.encode(table.rows)
    found: dict[Key, Row] = {}
    for each in table.rows:
        bucket = datetime.fromisoformat(str(each[0])) if has_bucket else None
        group, currency, *rest = each[has_bucket:]
        key = (bucket, str(group), None if currency is None else str(currency))
        assert key not in found
        found[key] = tuple(rest)
    return found


def nearly(rows: dict[Key, Row]) -> dict[Key, Any]:
    return {key: tuple(_nearly(value) for value in values) for key, values in rows.items()}


def _nearly(value: object) -> object:
    return pytest.approx(value, rel=1e-9, abs=1.1e-3) if isinstance(value, float) else value


@pytest.mark.timeout(300)
@settings(
    max_examples=one_in(25),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a second: shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(told=bills, per=st.sampled_from(PER[1:]), folds=st.booleans(), chance=st.randoms(use_true_random=False))
def test_costs_are_those_that_the_events_tell(
    store: ClickHouseStore, told: list[tuple[int, dict[str, Any]]], per: str, *, folds: bool, chance: random.Random
) -> None:
    """Whatever payloads hold, in whatever order and however often the events come."""
    tenant = str(uuid.uuid4())
    events = with_teams(some_events(tenant, RUNS))
    events += [usage(tenant, f"run-{n}", payload) for n, payload in told]
    runs = costed(events, BOOK.written)
    arriving = chance.sample(events, len(events)) + chance.sample(events, len(events) // 2)
    day_ms = DAY // timedelta(milliseconds=1)

    async def publish_and_ask() -> None:
        half = len(arriving) // 2
        await publish(store, arriving[:half])
        if folds:
            await fold(store, every_ms=0, seen_after_ms=0)
        await publish(store, arriving[half:], half)
        by_group = await cells(store, "costs", asked(tenant, per=per))
        by_day = await cells(store, "costs", asked(tenant, per=per, bucket_ms=day_ms, grace_ms=0))
        by_success = await cells(store, "pipelines", asked(tenant, per=per))
        most = await answer(store, "cost-runs", asked(tenant))
        assert by_group == nearly(costs(runs, per, None, 60))
        assert by_day == nearly(costs(runs, per, DAY, 0))
        assert by_success == nearly(pipelines(runs, per))
        assert [tuple(_nearly(value) for value in each) for each in cost_runs(runs)] == most.rows

    asyncio.run(publish_and_ask())


def told_run(tenant: str, *states: str, run: str = "r1", flow: str = "etl") -> list[Event]:
    """Return what a run of an hour for each state told."""
    return [
        {
            **usage(tenant, run, {}, SINCE + n * HOUR),
            "event": f"flow-run.{state}",
            "kind": "flow-run",
            "flow": flow,
            "state": state,
            "resource": {"id": f"flow-run.{run}"},
        }
        for n, state in enumerate(states)
    ]


async def test_a_bill_that_comes_days_after_the_run_counts_where_the_run_ended(store: ClickHouseStore) -> None:
    tenant = str(uuid.uuid4())
    bill = {"cost": {"amount": 2.5, "currency": "EUR"}}
    await publish(store, told_run(tenant, "running", "completed"))
    await fold(store, every_ms=0, seen_after_ms=0)
    await publish(store, [usage(tenant, "r1", bill, SINCE + 6 * DAY)], 10)

    (found,) = (await answer(store, "costs", asked(tenant, until_ms=millis(SINCE + DAY)))).dicts()
    await fold(store, every_ms=0, seen_after_ms=0)
    (folded,) = (await answer(store, "costs", asked(tenant, until_ms=millis(SINCE + DAY)))).dicts()

    assert (found["runs"], found["cost"], found["waste"]) == (1, Decimal("2.5"), 0)
    assert folded == found


async def test_folding_again_after_a_crash_changes_no_cost(store: ClickHouseStore) -> None:
    tenant = str(uuid.uuid4())
    events = told_run(tenant, "running", "failed")
    events += [usage(tenant, "r1", {"cost": {"amount": "0.1", "currency": "EUR"}}) for _ in range(3)]
    await publish(store, events, 700_000)

    await store.fold_again("flowgauge.events", Span("a", 0, 700_000, 700_010, APPEND_MS, APPEND_MS))

    (found,) = (await answer(store, "costs", asked(tenant))).dicts()
    assert (found["cost"], found["failed_cost"]) == (Decimal("0.3"), Decimal("0.3"))


async def test_two_of_three_attempts_are_waste_and_a_price_is_for_the_whole_time(store: ClickHouseStore) -> None:
    tenant = str(uuid.uuid4())
    states = ("running", "retrying", "running", "retrying", "running", "completed")
    await publish(store, told_run(tenant, *states, flow="essential"))

    (found,) = (await answer(store, "costs", asked(tenant))).dicts()

    whole = Decimal("5.617280")  # five hours, pauses included, at 1.123456
    assert (found["currency"], found["cost"], found["retry_cost"]) == ("USD", whole, Decimal("3.744853"))


async def test_a_cost_of_nothing_is_a_cost(store: ClickHouseStore) -> None:
    """A free run is not priced."""
    tenant = str(uuid.uuid4())
    await publish(store, told_run(tenant, "running", "completed"))
    await publish(store, [usage(tenant, "r1", {"cost": {"amount": 0, "currency": "EUR"}})], 10)

    (found,) = (await answer(store, "cost-runs", asked(tenant))).dicts()

    assert (found["currency"], found["cost"], found["share"]) == ("EUR", 0, None)


async def test_as_long_a_list_as_there_may_be_is_looked_at_in_its_order(store: ClickHouseStore) -> None:
    tenant = str(uuid.uuid4())
    await publish(store, told_run(tenant, "running", "completed", flow=f"flow-{ENTRIES_MAX - 1}"))
    globs = [f"flow-{n}" for n in range(ENTRIES_MAX - 1)]
    prices = "".join(f"  - {{flow: {glob}, per_hour: 9}}\n" for glob in globs) + '  - {flow: "flow-*", per_hour: 2}\n'
    teams = "".join(f"  - {{flow: {glob}, team: other}}\n" for glob in globs) + '  - {flow: "f*", team: the last}\n'
    book = parse_prices("prices.yaml", f"currency: EUR\nprices:\n{prices}teams:\n{teams}")

    query = replace(asked(tenant, per="team"), prices=book.of(tenant))
    (found,) = (await answer(store, "costs", query)).dicts()

    assert (found["team"], found["cost"]) == ("the last", 2)


async def test_other_questions_know_no_team(store: ClickHouseStore) -> None:
    with pytest.raises(
        InvalidQuestion, match=r"^per: expected one of tenant, flow, deployment, work_pool, tag, got 'team'$"
    ):
        await answer(store, "durations", asked("acme", per="team"))
