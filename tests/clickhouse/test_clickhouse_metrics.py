"""Every question against an independent count in Python; published twice, the answers are the same."""

import asyncio
import random
import statistics
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.clickhouse_container import engine_answers

from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse.metric import InvalidQuestion, MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, answer
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table

T0 = datetime(2026, 11, 16, tzinfo=UTC)  # a Monday
T0_MS = int(T0.timestamp() * 1000)
WEEK_MS = 7 * 86_400_000
APPEND_MS = T0_MS + WEEK_MS


@dataclass(frozen=True)
class Run:
    """One run as it really went."""

    run: str
    flow: str
    started: datetime
    ended: datetime
    state: str
    retried: bool


Told = tuple[ClickHouseStore, str, list[Run]]


def some_runs(count: int) -> list[Run]:
    chance = random.Random(4)
    runs: list[Run] = []
    for n in range(count):
        started = T0 + timedelta(seconds=chance.randrange(7 * 86_400 - 4_000), microseconds=chance.randrange(10**6))
        ended = started + timedelta(seconds=chance.randrange(1, 3_600), milliseconds=chance.randrange(1_000))
        state = chance.choice(["completed", "completed", "failed", "crashed", "cancelled"])
        flow = chance.choice(["orders", "etl", "reports"])
        runs.append(Run(f"run-{n}", flow, started, ended, state, chance.random() < 0.3))
    return runs


def events_of(tenant: str, run: Run) -> list[bytes]:
    """All that the run told, in no order, with one log line that does not know its flow."""

    def event(at: datetime, number: int, **more: object) -> bytes:
        fields: dict[str, object] = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {run.run} {number}")),
            "tenant": tenant,
            "occurred": at.isoformat(),
            "event": "x",
            "kind": "flow-run",
            "flow": run.flow,
            "run": run.run,
            "resource": {"id": run.run},
        }
        return msgspec.json.encode(fields | more)

    scheduled = run.started - timedelta(seconds=30)
    error = {"level": "error", "logger": "app.db", "message": f"Connection of {run.run} to orders-db refused"}
    told = [
        event(run.ended, 9, state=run.state, payload={"message": f"{run.run} broke"}),
        event(scheduled, 1, state="scheduled", scheduled_for=scheduled.isoformat()),
        event(run.started, 2, state="running"),
        event(run.started, 3, kind="log", flow=None, payload=error),
        event(run.started, 4, kind="log", payload={"level": "info", "logger": "app", "message": "begin"}),
        event(run.started, 5, kind="task-run", task="t", state="failed"),
    ]
    return told + [event(run.started, 6, state="running", payload={})] * run.retried


async def publish(store: ClickHouseStore, values: Sequence[bytes], times: int) -> None:
    for _ in range(times):
        rows = [
            row(value, log_id="a", partition=0, offset=n, append_ms=APPEND_MS).line for n, value in enumerate(values)
        ]
        for half in (rows[::2], rows[1::2]):
            await store.insert("flowgauge.events", b"\n".join(half), str(uuid.uuid4()))


# Each question is asked in each way to a store, and of what came once and of what came twice.
TIMES = {"embedded": 1, "served": 2, **({"contained": 2} if engine_answers() else {})}


@pytest.fixture(scope="module", params=TIMES)
def told(request: pytest.FixtureRequest) -> Told:
    """Return a store, a tenant of it and what its runs are: tests only read them."""
    store: ClickHouseStore = request.getfixturevalue(request.param)
    tenant, runs = f"metrics-{uuid.uuid4().hex[:6]}", some_runs(200)
    values = [value for run in runs for value in events_of(tenant, run)]
    asyncio.run(publish(store, values, TIMES[request.param]))
    return store, tenant, runs


def week(tenant: object, **more: object) -> MetricQuery:
    fields = {"tenant": tenant, "since_ms": T0_MS, "until_ms": T0_MS + WEEK_MS, "limit": 10_000}
    return msgspec.convert(fields | more, MetricQuery)


async def ask(store: ClickHouseStore, name: str, query: MetricQuery) -> Table:
    table = await answer(store, name, query)
    assert tuple(table.columns) == METRICS[name].columns
    msgspec.json.encode(table.rows)
    return table


async def test_runs_and_rates_are_those_that_happened(told: Told) -> None:
    store, tenant, runs = told
    finished = [run for run in runs if run.state != "cancelled"]

    by_hour = Counter(run.ended.strftime("%Y-%m-%dT%H:00:00Z") for run in finished)
    failed_by_hour = Counter(run.ended.strftime("%Y-%m-%dT%H:00:00Z") for run in finished if run.state != "completed")
    rate = await ask(store, "failure-rate", week(tenant))
    assert [(hour, n, failed) for hour, n, failed, _ in rate.rows] == [
        (hour, n, failed_by_hour[hour]) for hour, n in sorted(by_hour.items())
    ]
    assert all(share == pytest.approx(failed / n, abs=1e-6) for _, n, failed, share in numbers(rate))

    only = await ask(store, "failure-rate", week(tenant, flow="etl"))
    assert sum(n for _, n, _, _ in numbers(only)) == sum(run.flow == "etl" for run in finished)
    newest = await ask(store, "failure-rate", week(tenant, limit=3))
    assert newest.rows == rate.rows[-3:]

    overview = await ask(store, "overview", week(tenant))
    failures = sum(run.state != "completed" for run in finished)
    assert overview.rows[0][2:4] == (len(finished), failures)


def numbers(table: Table) -> list[tuple[str, int, int, float]]:
    return msgspec.convert(table.rows, list[tuple[str, int, int, float]])


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
async def test_the_heat_map_counts_ends_by_local_weekday_and_hour(told: Told, zone: str) -> None:
    store, tenant, runs = told
    ends = [(run.ended.astimezone(ZoneInfo(zone)), run.state) for run in runs if run.state != "cancelled"]
    finished = Counter((at.isoweekday(), at.hour) for at, _ in ends)
    failed = Counter((at.isoweekday(), at.hour) for at, state in ends if state != "completed")

    heat = await ask(store, "heatmap", week(tenant, tz=zone))

    slots = [(day, hour) for day in range(1, 8) for hour in range(24)]
    assert [row[:4] for row in heat.rows] == [(*slot, finished[slot], failed[slot]) for slot in slots]
    assert all((row[4] is None) == (row[2] == 0) for row in heat.rows)


async def test_durations_run_from_first_running_to_the_end(told: Told) -> None:
    store, tenant, runs = told
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.state != "cancelled":
            seconds[run.flow].append((run.ended - run.started).total_seconds())

    table = await ask(store, "durations", week(tenant))

    found = {str(flow): rest for flow, *rest in table.rows}
    assert found.keys() == seconds.keys()
    for flow, (count, p50, _, p95, _, longest, *_) in found.items():
        cuts = statistics.quantiles(seconds[flow], n=100, method="inclusive")
        assert count == len(seconds[flow])
        assert [p50, p95, longest] == pytest.approx([cuts[49], cuts[94], max(seconds[flow])], abs=2e-3)


async def test_runs_are_one_row_each_whatever_was_published(told: Told) -> None:
    store, tenant, runs = told

    table = await ask(store, "runs", week(tenant))

    assert len(table.rows) == len(runs)
    newest_first = sorted(runs, key=lambda run: run.started, reverse=True)
    assert table.column("run") == [run.run for run in newest_first]
    expected = [(run.state, run.flow, 2 if run.retried else 1) for run in newest_first]
    assert [(r["state"], r["flow"], r["attempts"]) for r in table.dicts()] == expected
    first, truth = table.dicts()[0], newest_first[0]
    assert first["started"] == truth.started.isoformat().removesuffix("+00:00") + "Z"
    assert first["seconds"] == pytest.approx((truth.ended - truth.started).total_seconds(), abs=1e-3)


async def test_logs_are_found_by_text_run_level_and_flow(told: Told) -> None:
    store, tenant, runs = told

    assert len((await ask(store, "logs", week(tenant))).rows) == 2 * len(runs)
    assert len((await ask(store, "logs", week(tenant, level="warning"))).rows) == len(runs)
    of_flow = await ask(store, "logs", week(tenant, flow="etl", level="error"))
    assert set(of_flow.column("flow")) == {"etl"}
    assert len(of_flow.rows) == sum(run.flow == "etl" for run in runs)
    one = await ask(store, "logs", week(tenant, text="RUN-7 TO orders-DB ref*"))
    assert [(r["run"], r["flow"], r["level"]) for r in one.dicts()] == [("run-7", runs[7].flow, "ERROR")]
    by_run = await ask(store, "logs", week(tenant, run="run-7"))
    assert sorted(map(str, by_run.column("message"))) == ["Connection of run-7 to orders-db refused", "begin"]
    assert (await ask(store, "logs", week(tenant, text="no such words here"))).rows == []
    assert len((await ask(store, "logs", week(tenant, limit=5))).rows) == 5


async def test_events_are_counted_by_minute(told: Told) -> None:
    store, tenant, runs = told

    table = await ask(store, "events", week(tenant))

    assert sum(msgspec.convert(table.column("events"), list[int])) == sum(6 + run.retried for run in runs)


async def test_the_newest_minutes_are_whole_however_far_back_they_lie(store: ClickHouseStore) -> None:
    tenant = str(uuid.uuid4())
    minutes = [0, 1, 2, 45, 46, 700, 9_000]
    times = [
        T0 + timedelta(days=6, hours=23) - timedelta(minutes=back, seconds=at) for back in minutes for at in (1, 59)
    ]
    lines = [
        row(
            msgspec.json.encode(
                {
                    "id": str(uuid.uuid4()),
                    "tenant": tenant,
                    "occurred": at.isoformat(),
                    "event": "e",
                    "resource": {"id": "x"},
                }
            ),
            log_id="a",
            partition=0,
            offset=n,
            append_ms=millis(at),
        ).line
        for n, at in enumerate(times)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))

    whole = (await ask(store, "events", week(tenant))).rows

    assert [row[1] for row in whole] == [2] * len(minutes)
    for limit in range(1, len(minutes) + 1):
        assert (await ask(store, "events", week(tenant, limit=limit))).rows == whole[:limit]


async def test_another_tenant_sees_nothing(told: Told) -> None:
    store, tenant, _ = told
    for name in METRICS:
        about = {"run": "run-1"} if METRICS[name].one_of else {}
        table = await answer(store, name, week(f"not {tenant}", **about))
        counts = [value for each in table.rows for value in each[2:4] if value]
        assert not counts, name


@pytest.mark.parametrize(
    "text", ["'", '"', "\\", "%", "_", "a'b\\'c", "{tenant:String}", "\n", "☃", "-- words", "a -- words b"]
)
async def test_text_is_never_sql(told: Told, text: str) -> None:
    store, tenant, _ = told
    table = await ask(store, "logs", week(tenant, text=text))

    assert all(text.lower() in str(message).lower() for message in table.column("message"))


async def test_the_latest_state_wins_in_any_order(store: ClickHouseStore) -> None:
    """A run that failed, was run again and is running has not ended."""
    tenant = f"again-{uuid.uuid4().hex[:6]}"
    told = events_of(tenant, Run("r", "f", T0, T0 + timedelta(seconds=60), "failed", retried=False))
    again = msgspec.json.decode(told[2]) | {"id": str(uuid.uuid4()), "occurred": "2026-11-16T00:02:00Z"}
    await publish(store, [msgspec.json.encode(again)], 1)
    await publish(store, told, 1)

    rows = (await ask(store, "runs", week(tenant))).dicts()

    assert [(r["state"], r["attempts"], r["ended"], r["seconds"]) for r in rows] == [("running", 2, None, None)]
    assert (await ask(store, "durations", week(tenant))).rows == []
    assert (await ask(store, "failure-rate", week(tenant))).rows == [("2026-11-16T00:00:00Z", 1, 1, 1.0)]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tenant": ""}, "tenant: expected a name, got none"),
        ({"until_ms": T0_MS}, r"^since \(.*Z\) is expected before until \(.*Z\)$"),
        ({"limit": 0}, "limit: expected 1 to 10000, got 0"),
        ({"limit": 10_001}, "limit: expected 1 to 10000, got 10001"),
        ({"text": "x" * 201}, "text: expected at most 200 characters, got 201"),
        ({"tz": "Mars/Olympus"}, "tz: expected an IANA time zone such as Europe/Berlin, got 'Mars/Olympus'"),
        ({"tz": "../../etc/passwd"}, "tz: expected an IANA time zone"),
    ],
)
async def test_a_question_out_of_bounds_is_refused(store: ClickHouseStore, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidQuestion, match=says):
        await answer(store, "heatmap", week(**{"tenant": "acme", **wrong}))


async def test_an_unknown_question_names_the_known_ones(store: ClickHouseStore) -> None:
    with pytest.raises(BadInput, match=r"no metric is called 'nope': one of failure-rate, heatmap"):
        await answer(store, "nope", week("acme"))
