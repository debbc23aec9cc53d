"""A database that an older flowgauge made and filled, taken over: its runs stay right, and new events too."""

import random
import uuid
from collections.abc import Sequence
from itertools import cycle

import msgspec
import pytest
from tests.clickhouse.older_database import older_database
from tests.clickhouse.run_oracle import SINCE, UNTIL, Event, fold, some_events
from tests.clickhouse_front import Front

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse.backfill import Backfilled, backfill_events, hours_of
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.schema import schema_files
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT

OLD_VERSION = 17  # the last before runs had deployments, work pools and tags
APPEND_MS = millis(UNTIL)
RUNS = """
SELECT run, flow, state, deployment, work_pool, tags, attempts, isNotNull(queued)
FROM flowgauge.runs_final WHERE tenant = {tenant:String} ORDER BY run
"""


Known = tuple[str, str, str, str, str, set[str], int, int]


async def runs_of(store: ClickHouseStore) -> list[Known]:
    return msgspec.convert((await store.query(RUNS, {"tenant": "acme"}, seen=EVERY_TENANT)).rows, list[Known])


async def publish(store: ClickHouseStore, events: Sequence[Event], first: int) -> None:
    lines = [
        row(msgspec.json.encode(event), log_id="a", partition=0, offset=first + n, append_ms=APPEND_MS).line
        for n, event in enumerate(events)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))


@pytest.fixture
def older(front: Front) -> Server:
    """Return a server whose database has the tables of OLD_VERSION."""
    return older_database(front, OLD_VERSION)


async def test_runs_of_before_stay_right_and_learn_from_what_comes_after(older: Server) -> None:
    events = some_events("acme", 60)
    random.Random(5).shuffle(events)
    before, after = events[: len(events) // 2], events[len(events) // 2 :]
    store = ClickHouseStore.connect(older)
    await publish(store, before, first=0)

    applied = store.apply_schema()
    await publish(store, after, first=len(before))

    assert applied == [file.name for file in schema_files() if file.version > OLD_VERSION]
    rows = await runs_of(store)
    told = {run.run: run for run in fold(events)}
    told_after = {run.run: run for run in fold(after)}
    assert {each[0]: (each[1], each[2], each[6]) for each in rows} == {
        run.run: (run.flow, run.state, run.attempts) for run in told.values()
    }
    assert {each[0]: (each[3], each[4], each[5], bool(each[7])) for each in rows if each[0] in told_after} == {
        run.run: (run.deployment, run.work_pool, run.tags, run.queued is not None) for run in told_after.values()
    }
    store.close()


async def test_folding_again_completes_runs_of_before_and_changes_no_other(older: Server) -> None:
    events = some_events("acme", 40)
    store = ClickHouseStore.connect(older)
    await publish(store, events, first=0)
    store.apply_schema()

    for _ in range(2):
        await store.fold_again("flowgauge.events", Span("a", 0, 0, len(events), APPEND_MS, APPEND_MS))

    rows = await runs_of(store)
    assert [(*each[:7], bool(each[7])) for each in rows] == [
        (run.run, run.flow, run.state, run.deployment, run.work_pool, run.tags, run.attempts, run.queued is not None)
        for run in sorted(fold(events), key=lambda run: run.run)
    ]
    store.close()


ROLLUPS = """
SELECT 'run', run, flow, state, deployment, work_pool, tags, attempts, scheduled_for, seen_first, seen_last, started,
    ended, queued, due, failed_message, 0
FROM flowgauge.runs_final WHERE tenant = {tenant:String}
UNION ALL
SELECT 'ends', '', flow, state, '', '', [], 0, NULL, hour, hour, NULL, NULL, NULL, NULL, '', uniqExactMerge(runs)
FROM flowgauge.run_ends_hourly WHERE tenant = {tenant:String} GROUP BY flow, hour, state
"""


def a_week() -> list[Event]:
    return [event for event in some_events("acme", 60) if str(event["occurred"]) >= SINCE.isoformat()]


async def folded(store: ClickHouseStore) -> list[tuple[object, ...]]:
    return sorted((await store.query(ROLLUPS, {"tenant": "acme"}, seen=EVERY_TENANT)).rows, key=repr)


async def test_a_backfill_makes_of_history_what_a_fresh_fold_makes(
    older: Server, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a day is folded at once or some hours at a time."""
    slices = cycle([(range(24),), (range(7), range(7, 8), range(8, 24))])

    def now_one_now_three(rows: int) -> tuple[range, ...]:  # of any day
        return next(slices)

    monkeypatch.setattr("flowgauge.sinks.clickhouse.backfill.hours_of", now_one_now_three)
    events = a_week()
    fresh = ClickHouseStore.connect(Server(front.url, front.user, front.password, f"fresh_{uuid.uuid4().hex[:6]}"))
    fresh.apply_schema()
    await publish(fresh, events, first=0)
    store = ClickHouseStore.connect(older)
    await publish(store, events[: len(events) // 2], first=0)
    store.apply_schema()
    await publish(store, events[len(events) // 2 :], first=len(events) // 2)
    before = await folded(store)
    told: list[Backfilled] = []

    days = await backfill_events(store, told.append)
    after = await folded(store)

    assert before != after == await folded(fresh)
    assert [done.day for done in told] == sorted({done.day for done in told}, reverse=True)
    assert (days, sum(done.rows for done in told)) == (len(told), len(events))
    assert [(done.number, done.days) for done in told] == [(n + 1, days) for n in range(days)]
    fresh.close()
    store.close()


@pytest.mark.parametrize(
    ("rows", "slices"), [(0, 1), (8_000_000, 1), (8_000_001, 2), (20_000_000, 3), (200_000_000, 24), (10**12, 24)]
)
def test_a_large_day_is_folded_some_hours_at_a_time(rows: int, slices: int) -> None:
    """200 million events at once would take longer than a statement may."""
    hours = list(hours_of(rows))

    assert [hour for each in hours for hour in each] == list(range(24))
    assert len(hours) == slices


class _Stopped(Exception):
    pass


async def test_a_backfill_that_was_broken_off_goes_on_where_it_was_and_ends(older: Server) -> None:
    store = ClickHouseStore.connect(older)
    await publish(store, a_week(), first=0)
    store.apply_schema()
    first: list[Backfilled] = []
    rest: list[Backfilled] = []

    def stop_after_three(done: Backfilled) -> None:
        first.append(done)
        if done.number == 3:
            raise _Stopped

    with pytest.raises(_Stopped):
        await backfill_events(store, stop_after_three)
    await backfill_events(store, rest.append)

    assert len(first) == 3
    assert first[0].days == len(first) + len(rest)
    assert max(done.day for done in rest) < min(done.day for done in first)
    assert await backfill_events(store, rest.append) == 0
    store.close()


async def test_tables_that_are_not_up_to_date_are_not_backfilled(older: Server) -> None:
    store = ClickHouseStore.connect(older)

    with pytest.raises(BadEnvironment, match="run `flowgauge schema apply` before"):
        await backfill_events(store, print)
    store.close()
