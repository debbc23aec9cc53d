"""Every question about groups of runs against an independent count in Python.

Told once in order, and told twice in pieces of any order and kept in between, the answers are the same.
"""

import asyncio
import gzip
import math
import os
import random
import statistics
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.clickhouse.run_oracle import (
    BEFORE,
    DAY,
    FINISHED,
    HOUR,
    RUNNING,
    SINCE,
    UNTIL,
    Event,
    Run,
    concurrency,
    fold,
    grouped,
    quantile,
    some_events,
)
from tests.clickhouse_container import engine_answers
from tests.clickhouse_front import Front

from flowgauge.console.text_table import text_table
from flowgauge.producers.prefect.capture import convert
from flowgauge.schemas.times import millis, rfc3339
from flowgauge.sinks.clickhouse import folding
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.metric import InvalidQuestion, MetricQuery
from flowgauge.sinks.clickhouse.metrics import METRICS, answer
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.run_metrics import RUN_METRICS
from flowgauge.sinks.clickhouse.store import ClickHouseStore

CAPTURES = Path(__file__).parents[1] / "data"
CAPTURED = datetime(2026, 11, 23, 9, tzinfo=UTC)
GOLDEN = Path(__file__).parents[1] / "golden" / "questions"
RUNS = 240
APPEND_MS = millis(UNTIL)
GROUPS = ("", "flow", "deployment", "work_pool", "tag")
Cells = dict[tuple[datetime | None, str], tuple[Any, ...]]
Told = tuple[ClickHouseStore, str, list[Run]]


async def publish(store: ClickHouseStore, events: Sequence[Event]) -> None:
    lines = [
        row(msgspec.json.encode(event), log_id="a", partition=0, offset=n, append_ms=APPEND_MS).line
        for n, event in enumerate(events)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))


async def tell_in_order(store: ClickHouseStore, events: Sequence[Event]) -> None:
    await publish(store, events)


async def tell_twice_and_fold(store: ClickHouseStore, events: Sequence[Event]) -> None:
    """Fold amid it: what is kept is of parts of the runs' lives."""
    shuffled = random.Random(2).sample(events, len(events))
    for part in (shuffled[:300], shuffled[300:]):
        await publish(store, part)
        await fold_now(store)
    await publish(store, events[::-1])


# Each question is asked in each way to a store and of each way to tell; both at once would double the time.
WAYS = {
    "embedded": tell_in_order,
    "served": tell_twice_and_fold,
    **({"contained": tell_twice_and_fold} if engine_answers() else {}),
}


@pytest.fixture(scope="module", params=WAYS)
def told(request: pytest.FixtureRequest) -> Told:
    """Return a store, a tenant of it and what its runs are: tests only read them."""
    store: ClickHouseStore = request.getfixturevalue(request.param)
    tenant = f"runs {uuid.uuid4().hex[:6]}"
    events = some_events(tenant, RUNS)
    asyncio.run(WAYS[request.param](store, events))
    return store, tenant, fold(events)


async def fold_now(store: ClickHouseStore) -> None:
    """Keep all that is known by now."""
    assert await folding.fold(store, every_ms=0, seen_after_ms=0) > 0


def asked(tenant: str, **more: object) -> MetricQuery:
    fields = {"tenant": tenant, "since_ms": millis(SINCE), "until_ms": millis(UNTIL), "limit": 10_000}
    return msgspec.convert(fields | more, MetricQuery)


_answered: dict[tuple[int, str, bytes], Cells] = {}  # tests only read: what several ask is asked once


async def cells(store: ClickHouseStore, name: str, query: MetricQuery) -> Cells:
    """Return the rest of each row by its bucket and group."""
    question = (id(store), name, msgspec.json.encode(query))
    if question not in _answered:
        _answered[question] = await _cells(store, name, query)
    return _answered[question]


async def _cells(store: ClickHouseStore, name: str, query: MetricQuery) -> Cells:
    table = await answer(store, name, query)
    per = query.per or METRICS[name].per
    has_bucket = bool(query.bucket_ms or METRICS[name].bucket_ms)
    assert table.columns == [
        *["bucket"] * has_bucket,
        *[per] * bool(per),
        *METRICS[name].columns[1:],
    ]
    msgspec.json.encode(table.rows)
    found: Cells = {}
    for each in table.rows:
        rest = list(each)
        bucket = datetime.fromisoformat(str(rest.pop(0))) if has_bucket else None
        group = str(rest.pop(0)) if per else ""
        assert (bucket, group) not in found
        found[bucket, group] = tuple(rest)
    return found


def nearly(expected: Cells) -> dict[tuple[datetime | None, str], Any]:
    return {key: tuple(_nearly(value) for value in values) for key, values in expected.items()}


def _nearly(value: object) -> object:
    return pytest.approx(value, abs=1.1e-3) if isinstance(value, float) else value


def known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


@pytest.mark.parametrize("per", GROUPS)
async def test_runs_are_counted_once_by_their_present_state(told: Told, per: str) -> None:
    store, tenant, runs = told

    def count(group: list[Run]) -> tuple[Any, ...]:
        states = [run.state for run in group]
        failed = states.count("failed") + states.count("crashed")
        finished = failed + states.count("completed")
        running = sum(state in RUNNING for state in states)
        waiting = sum(state in ("scheduled", "late", "pending", "paused") for state in states)
        ends = [states.count(state) for state in ("completed", "failed", "crashed", "cancelled")]
        return len(group), *ends, running, waiting, failed / finished if finished else None

    found = await cells(store, "states", asked(tenant, per=per))

    assert found == nearly(
        {key: count(group) for key, group in grouped(runs, lambda run: run.seen_last, per, DAY).items()}
    )
    assert sum(each[0] for each in found.values()) >= RUNS / 3


def finished(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.state in FINISHED]


@pytest.mark.parametrize(("per", "size"), [*((per, None) for per in GROUPS[1:]), ("flow", DAY)])
async def test_durations_and_their_drift(told: Told, per: str, size: timedelta | None) -> None:
    store, tenant, runs = told
    timed = [run for run in finished(runs) if run.seconds is not None]
    earlier = grouped(timed, lambda run: run.ended, per, since=BEFORE, until=SINCE)
    shares = (0.5, 0.9, 0.95, 0.99)

    def measure(group: str, runs: list[Run]) -> tuple[Any, ...]:
        before = earlier.get((None, group), [])
        now = [quantile(known([run.seconds for run in runs]), share) or 0.0 for share in shares]
        then = [quantile(known([run.seconds for run in before]), share) for share in shares]
        drift = [a / b - 1 if b else None for a, b in zip(now, then, strict=True)]
        return len(runs), *now, max(known([run.seconds for run in runs])), len(before), *drift

    bucket_ms = size // timedelta(milliseconds=1) if size else None
    found = await cells(store, "durations", asked(tenant, per=per, bucket_ms=bucket_ms))

    groups = grouped(timed, lambda run: run.ended, per, size)
    assert found == nearly({key: measure(key[1], group) for key, group in groups.items()})


def top_of(recent: list[Run], earlier: list[Run]) -> tuple[Any, ...]:
    def failures(runs: list[Run]) -> int:
        return sum(run.state != "completed" for run in runs)

    n, m, f, g = len(recent), len(earlier), failures(recent), failures(earlier)
    seconds, before = (known([run.seconds for run in runs]) for runs in (recent, earlier))
    pooled = (f + g) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    logs, logs_before = [math.log(max(x, 0.001)) for x in seconds], [math.log(max(x, 0.001)) for x in before]
    spread = math.sqrt(statistics.variance(logs) / len(logs) + statistics.variance(logs_before) / len(logs_before))
    z = (statistics.mean(logs) - statistics.mean(logs_before)) / spread
    return n, f, f / n, g / m, quantile(seconds, 0.95), quantile(before, 0.95), (f / n - g / m) / error, z


@pytest.mark.parametrize("per", GROUPS[1:])
async def test_top_compares_with_the_four_weeks_before(told: Told, per: str) -> None:
    store, tenant, runs = told
    recent = grouped(finished(runs), lambda run: run.ended, per)
    earlier = grouped(finished(runs), lambda run: run.ended, per, since=BEFORE, until=SINCE)
    expected = {key: top_of(group, earlier[key]) for key, group in recent.items()}

    assert await cells(store, "top", asked(tenant, per=per)) == nearly(expected)


ORDERS: dict[str, Callable[[tuple[Any, ...]], float]] = {
    "failing": lambda values: values[1],
    "slowest": lambda values: values[4],
    "changed": lambda values: max(abs(values[6]), abs(values[7])),
}


@pytest.mark.parametrize(("by", "order"), ORDERS.items(), ids=ORDERS)
async def test_top_is_ordered_by_what_is_asked_for(
    told: Told, by: str, order: Callable[[tuple[Any, ...]], float]
) -> None:
    store, tenant, _ = told
    found = await cells(store, "top", asked(tenant, by=by))

    ranks = [order(values) for values in found.values()]
    assert ranks == sorted(ranks, reverse=True)
    first = await cells(store, "top", asked(tenant, by=by, limit=1))
    assert list(first.items()) == list(found.items())[:1]


@pytest.mark.parametrize(("per", "size"), [*((per, None) for per in GROUPS[1:]), ("flow", DAY)])
async def test_lateness_and_waits_are_of_the_runs_that_started(told: Told, per: str, size: timedelta | None) -> None:
    store, tenant, runs = told

    def measure(group: list[Run]) -> tuple[Any, ...]:
        values: list[Any] = [len(group)]
        for seconds in (known([run.late_seconds for run in group]), known([run.wait_seconds for run in group])):
            values += [len(seconds), quantile(seconds, 0.5), quantile(seconds, 0.95), max(seconds, default=None)]
        return tuple(values)

    bucket_ms = size // timedelta(milliseconds=1) if size else None
    found = await cells(store, "lateness", asked(tenant, per=per, bucket_ms=bucket_ms))

    groups = grouped(runs, lambda run: run.started, per, size)
    assert found == nearly({key: measure(group) for key, group in groups.items()})


@pytest.mark.parametrize(
    ("per", "grace_s"), [("flow", 0), ("flow", 60), ("flow", 600), ("deployment", 60), ("work_pool", 600), ("tag", 0)]
)
async def test_adherence_is_the_share_that_started_within_the_grace(told: Told, per: str, grace_s: int) -> None:
    store, tenant, runs = told

    def is_judged(run: Run) -> bool:
        is_over = run.expected is not None and run.expected + timedelta(seconds=grace_s) < UNTIL
        return run.started is not None or (run.state != "cancelled" and is_over)

    def judge(group: list[Run]) -> tuple[Any, ...]:
        started = [run.late_seconds or 0.0 for run in group if run.started is not None]
        on_time = sum(late <= grace_s for late in started)
        return len(group), on_time, len(started) - on_time, len(group) - len(started), on_time / len(group)

    found = await cells(store, "adherence", asked(tenant, per=per, grace_ms=grace_s * 1000))

    groups = grouped(filter(is_judged, runs), lambda run: run.expected, per)
    assert found == nearly({key: judge(group) for key, group in groups.items()})


@pytest.mark.parametrize(("now_after_s", "judged"), [(0, []), (60, []), (61, [(1, 1)]), (10**6, [(1, 1)])])
async def test_a_run_that_may_still_start_is_not_judged(
    store: ClickHouseStore, now_after_s: int, judged: list[tuple[int, int]]
) -> None:
    """Neither before it is due nor in its grace, however far ahead the question looks."""
    tenant = f"still {now_after_s}"
    due = SINCE + HOUR
    await publish(store, [told_by(tenant, SINCE, "scheduled", scheduled_for=due.isoformat())])

    now_ms = millis(due + timedelta(seconds=now_after_s))
    table = await answer(store, "adherence", asked(tenant, now_ms=now_ms))

    assert [(row["expected"], row["never_started"]) for row in table.dicts()] == judged


async def test_a_run_that_is_called_late_after_it_ran_has_no_lateness(store: ClickHouseStore) -> None:
    tenant = "late after it ran"
    await publish(
        store,
        [told_by(tenant, SINCE + HOUR, "running"), told_by(tenant, SINCE + 3 * HOUR, "late")],
    )

    (late,) = (await answer(store, "lateness", asked(tenant))).dicts()

    assert (late["runs"], late["due_runs"], late["late_p50_seconds"]) == (1, 0, None)


@pytest.mark.parametrize(("early_ms", "late"), [(0.6, 0.0), (9.9, 0.0), (11, -0.011), (30_000, -30.0)])
async def test_what_clocks_cannot_tell_is_no_earliness(store: ClickHouseStore, early_ms: float, late: float) -> None:
    """A publisher says when in milliseconds, a schedule in microseconds: what began at once was 0.6 ms early."""
    tenant = f"early {early_ms}"
    due = SINCE + HOUR
    began = due - timedelta(milliseconds=early_ms)
    await publish(store, [told_by(tenant, began, "running", scheduled_for=due.isoformat())])

    (row,) = (await answer(store, "lateness", asked(tenant))).dicts()

    assert (row["due_runs"], row["late_p50_seconds"], row["late_max_seconds"]) == (1, late, late)


def told_by(tenant: str, at: datetime, state: str, **more: object) -> Event:
    """Return what the one run of `tenant` told when it came into `state`."""
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {state}")),
        "tenant": tenant,
        "occurred": at.isoformat(),
        "event": f"flow-run.{state}",
        "kind": "flow-run",
        "flow": "orders",
        "run": "r1",
        "state": state,
        "resource": {"id": "flow-run.r1"},
        **more,
    }


@pytest.mark.parametrize("per", GROUPS[1:])
async def test_retries_and_what_they_saved(told: Told, per: str) -> None:
    store, tenant, runs = told

    def count(group: list[Run]) -> tuple[Any, ...]:
        again = [run for run in group if run.attempts > 1]
        saved = sum(run.state == "completed" for run in again)
        attempts = [run.attempts for run in group]
        retries = sum(run.attempts - 1 for run in again)
        return len(group), len(again), retries, max(attempts), len(again) / len(group), saved

    found = await cells(store, "retries", asked(tenant, per=per))

    assert found == nearly({key: count(group) for key, group in grouped(runs, lambda run: run.ended, per).items()})


@pytest.mark.parametrize(("per", "size"), [("", HOUR), ("flow", DAY), ("tag", DAY)])
async def test_concurrency_is_how_many_ran_at_the_same_time(told: Told, per: str, size: timedelta) -> None:
    store, tenant, runs = told

    found = await cells(store, "concurrency", asked(tenant, per=per, bucket_ms=size // timedelta(milliseconds=1)))

    expected: Cells = {**concurrency(runs, per, size)}
    assert found == nearly(expected)
    assert max(most for most, _ in found.values()) > 1


@pytest.mark.parametrize("name", ["states", "durations", "lateness", "adherence", "retries", "concurrency", "top"])
@pytest.mark.parametrize(
    "narrow",
    [{"flow": "etl"}, {"deployment": "prod"}, {"work_pool": "k8s"}, {"tag": "gpu"}, {"flow": "etl", "tag": "gpu"}],
    ids=str,
)
async def test_a_narrowed_question_is_about_those_runs_alone(told: Told, name: str, narrow: dict[str, str]) -> None:
    """Its one group has what the same group has of all, and two conditions are both kept."""
    store, tenant, runs = told
    found = await cells(store, name, asked(tenant, per="flow", **narrow))

    left = {
        run.flow
        for run in runs
        if all(value in run.tags if key == "tag" else getattr(run, key) == value for key, value in narrow.items())
    }
    assert {group for _, group in found} <= left
    if len(narrow) == 1:
        (per, value), *_ = narrow.items()
        whole = await cells(store, name, asked(tenant, per=per))
        narrowed = await cells(store, name, asked(tenant, per=per, **narrow))
        assert {key: cell for key, cell in narrowed.items() if key[1] == value} == {
            key: cell for key, cell in whole.items() if key[1] == value
        }


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("states", {"bucket_ms": 0}, "^bucket: expected 1m to 31d, got 0s$"),
        ("durations", {"bucket_ms": 0}, "^bucket: expected 1m to 31d, got 0s$"),
        ("states", {"bucket_ms": 1_000}, "^bucket: expected 1m to 31d, got 1s$"),
        ("states", {"bucket_ms": 32 * 86_400_000}, "^bucket: expected 1m to 31d, got 4w4d$"),
        (
            "concurrency",
            {"bucket_ms": 60_000},
            (
                "^bucket: 1m makes more than 1000 buckets of the time asked for: "
                rf"ask for 15m or longer, or since {rfc3339(millis(UNTIL) - 60_000_000)} or later$"
            ),
        ),
        (
            "concurrency",
            {"since_ms": millis(UNTIL) - 90 * 86_400_000},
            (
                "^bucket: none was asked for, and 1h, which concurrency has then, makes more than 1000 buckets of the "
                rf"time asked for: ask for 3h or longer, or since {rfc3339(millis(UNTIL) - 3_600_000_000)} or later$"
            ),
        ),
        (
            "states",
            {"since_ms": 0, "until_ms": 4_000_000_000_000, "bucket_ms": 31 * 86_400_000},
            (
                "^bucket: 4w3d makes more than 1000 buckets of the time asked for: "
                f"ask since {rfc3339(4_000_000_000_000 - 31 * 86_400_000_000)} or later$"
            ),
        ),
        (
            "durations",
            {"per": "colour"},
            "^per: expected one of tenant, flow, deployment, work_pool, tag, got 'colour'$",
        ),
        ("top", {"by": "name"}, "^by: expected one of failing, slowest, changed, got 'name'$"),
        ("adherence", {"grace_ms": 8 * 86_400_000}, "^grace: expected 0s to 7d, got 1w1d$"),
        ("timeline", {}, "^the question timeline is about one of run, resource: name it$"),
    ],
)
async def test_a_question_out_of_bounds_is_refused(
    store: ClickHouseStore, name: str, wrong: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidQuestion, match=says):
        await answer(store, name, asked("acme", **wrong))


async def test_a_question_that_takes_too_much_says_what_makes_it_smaller(served: ClickHouseStore, front: Front) -> None:
    said = (
        r"^ClickHouse: the time limit of an insert or query is over \(code 159\): ask states for less: "
        r"a shorter time \(since, until\), fewer rows \(limit\), one flow, one deployment, one work_pool, one tag$"
    )

    with front.faults("code 159", of="-- Each run once"), pytest.raises(EngineTrouble, match=said):
        await answer(served, "states", asked("acme"))


async def test_patterns_that_take_too_much_say_so_too(served: ClickHouseStore, front: Front) -> None:
    said = r"\(code 241\): ask patterns for less: a shorter time \(since, until\), one flow"

    with front.faults("code 241", of="-- The flows that failed"), pytest.raises(EngineTrouble, match=said):
        await answer(served, "patterns", asked("acme"))


@pytest.mark.parametrize("name", [metric.name for metric in RUN_METRICS if metric.bucket_ms is not None])
async def test_buckets_come_newest_first_and_a_limited_answer_is_the_beginning(told: Told, name: str) -> None:
    store, tenant, _ = told
    query = asked(tenant, per="flow", bucket_ms=DAY // timedelta(milliseconds=1))

    whole = await answer(store, name, query)
    some = await answer(store, name, replace(query, limit=5))

    buckets = whole.column("bucket")
    assert len(buckets) > 5
    assert buckets == sorted(buckets, key=str, reverse=True)
    assert some.rows == whole.rows[:5]


@pytest.fixture(scope="module")
def outage(store: ClickHouseStore) -> MetricQuery:
    """Return the question for the day of the recorded outage, as a real Prefect server told it."""
    return captured(store, "outage")


@pytest.fixture(scope="module")
def late(store: ClickHouseStore) -> MetricQuery:
    """Return the question for the day of the recorded late runs."""
    return captured(store, "late")


def captured(store: ClickHouseStore, name: str) -> MetricQuery:
    tenant = f"{name} {uuid.uuid4().hex[:6]}"
    with gzip.open(CAPTURES / f"prefect-{name}-extract.jsonl.gz") as capture:
        events = [msgspec.json.decode(line) for line in convert(capture) if isinstance(line, bytes)]
    for event in events:
        del event["_append"]
    asyncio.run(publish(store, [{**event, "tenant": tenant} for event in events]))
    return asked(tenant, since_ms=millis(CAPTURED), until_ms=millis(CAPTURED + timedelta(hours=3)))


async def test_the_recorded_outage_is_counted_as_it_was(store: ClickHouseStore, outage: MetricQuery) -> None:
    """The counts are those of tests/data/README.md, without the two runs that had not ended."""
    by_flow = await answer(store, "top", outage)
    by_tag = await answer(store, "states", replace(outage, per="tag", tag="production"))

    assert [(row["flow"], row["runs"], row["failed"]) for row in by_flow.dicts()] == [
        ("orders-sync", 60, 28),
        ("crashy-report", 24, 6),
        ("ml-train", 14, 0),
        ("nightly-etl", 37, 0),
    ]
    assert [(row["tag"], row["runs"]) for row in by_tag.dicts()] == [
        ("auto-scheduled", 97),
        ("production", 97),
        ("orders", 60),
        ("etl", 37),
    ]


async def test_the_recorded_late_runs_are_late(store: ClickHouseStore, late: MetricQuery) -> None:
    """Of 86 runs 81 were called late, and 42 of those never started."""
    (judged,) = (await answer(store, "adherence", replace(late, per="work_pool"))).dicts()

    assert (judged["expected"], judged["never_started"]) == (86, 42)
    assert judged["on_time"] == 86 - 42 - int(str(judged["late"])) >= 5


@pytest.mark.parametrize("name", [metric.name for metric in RUN_METRICS])
async def test_what_people_read_of_the_recorded_outage_is_as_it_was_read_in_review(
    store: ClickHouseStore, outage: MetricQuery, name: str
) -> None:
    golden = GOLDEN / f"{name}.txt"
    table = await answer(store, name, replace(outage, until_ms=millis(CAPTURED + timedelta(hours=1, minutes=15))))

    text = f"{text_table(table.columns, table.rows)}\n"

    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
