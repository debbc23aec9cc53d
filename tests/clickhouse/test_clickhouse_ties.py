"""Events of one run at the same time, as coarse clocks tell them: ids are random and say nothing of their order."""

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clickhouse.older_database import older_database
from tests.clickhouse.run_oracle import fold as told_by
from tests.clickhouse_front import Front
from tests.examples import one_in

from flowgauge.schemas.event import STATES
from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse.backfill import backfill_events
from flowgauge.sinks.clickhouse.folding import fold
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.metrics import answer
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.schema import schema_files
from flowgauge.sinks.clickhouse.store import ClickHouseStore

T0 = datetime(2026, 11, 16, tzinfo=UTC)
OLD_VERSION = 66  # the last that told events at the same time apart by their ids
FAR = {  # how far a run is with a state; of two that are as far, either may count, but always the same
    **dict.fromkeys(("scheduled", "late", "pending"), 0),
    **dict.fromkeys(("running", "retrying", "paused"), 1),
    "cancelling": 2,
    **dict.fromkeys(("completed", "failed", "crashed", "cancelled"), 3),
}
ENDED = 3

Told = tuple[int, str, int]  # second, state, id
told_states = st.tuples(st.integers(0, 1), st.sampled_from(STATES), st.integers(0, 2**128 - 1))
histories = st.lists(told_states, min_size=1, max_size=6, unique_by=lambda told: told[2])


def event(tenant: str, told: Told, **more: object) -> dict[str, object]:
    second, state, event_id = told
    return {
        "id": str(uuid.UUID(int=event_id)),
        "tenant": tenant,
        "occurred": (T0 + timedelta(seconds=second)).isoformat(),
        "event": f"flow-run.{state}",
        "kind": "flow-run",
        "flow": "etl",
        "run": "r",
        "state": state,
        "resource": {"id": "flow-run.r", "name": "r"},
        "related": [],
        **more,
    }


async def publish(store: ClickHouseStore, events: Sequence[dict[str, object]]) -> None:
    lines = [
        row(msgspec.json.encode(each), log_id="a", partition=0, offset=n, append_ms=millis(T0) + 60_000).line
        for n, each in enumerate(events)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), str(uuid.uuid4()))


def asked(tenant: str, **more: object) -> MetricQuery:
    since_ms = millis(T0)
    fields = {"tenant": tenant, "since_ms": since_ms, "until_ms": since_ms + 3_600_000, "limit": 100, **more}
    return msgspec.convert(fields, MetricQuery)


async def state_and_end(store: ClickHouseStore, tenant: str) -> tuple[str, bool]:
    (run,) = (await answer(store, "runs", asked(tenant))).dicts()
    return str(run["state"]), run["ended"] is not None


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[Told]]:
    """Draw what one run told, in any order, some of it twice, in one batch or two."""
    told = draw(histories)
    arrival = draw(st.permutations([*told, *draw(st.lists(st.sampled_from(told), max_size=3))]))
    cut = draw(st.integers(0, len(arrival) - 1))
    return [batch for batch in (arrival[:cut], arrival[cut:]) if batch]


@settings(max_examples=one_in(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=arrivals())
async def test_of_the_latest_states_the_one_farthest_along_counts(
    embedded: ClickHouseStore, batches: list[list[Told]]
) -> None:
    """Neither the order of arrival, nor repeats, nor batches, nor ids, which the oracle does not look at, change it."""
    tenant = uuid.uuid4().hex
    told = [each for batch in batches for each in batch]

    for batch in batches:
        await publish(embedded, [event(tenant, each) for each in batch])

    state, has_ended = await state_and_end(embedded, tenant)
    (by_oracle,) = told_by(event(tenant, each) for each in told)
    latest = max(second for second, _, _ in told)
    farthest = max(FAR[state] for second, state, _ in told if second == latest)
    assert (state, has_ended) == (by_oracle.state, by_oracle.ended is not None)
    assert (FAR[state], has_ended) == (farthest, farthest == ENDED)


async def test_what_comes_at_the_same_time_as_a_state_that_was_folded_counts_by_how_far_it_is(
    store: ClickHouseStore,
) -> None:
    """Whatever came before the fold, and whichever has the greater id."""
    tenant = uuid.uuid4().hex
    for run, states in {"up": ("running", "completed"), "down": ("completed", "running")}.items():
        for n, state in enumerate(states):
            names = {"run": run, "resource": {"id": run}}
            await publish(store, [event(tenant, (0, state, 9 - n), **names)])
            await fold(store, every_ms=0, seen_after_ms=0)

    rows = (await answer(store, "runs", asked(tenant))).dicts()

    assert {each["run"]: each["state"] for each in rows} == {"up": "completed", "down": "completed"}


async def test_a_run_that_ran_again_at_once_and_completed_is_not_a_failed_one(store: ClickHouseStore) -> None:
    tenant = uuid.uuid4().hex
    states = ("running", "failed", "retrying", "running", "completed")

    await publish(store, [event(tenant, (0, state, 99 - n)) for n, state in enumerate(states)])

    assert await state_and_end(store, tenant) == ("completed", True)


async def test_runs_of_before_that_seem_to_run_have_ended_after_a_backfill(front: Front) -> None:
    """Whichever ids they were told by: those too that are nearly as great as can be."""
    store = ClickHouseStore.connect(older_database(front, OLD_VERSION))
    greatest = 2**128 - 2**9
    for run in ("r1", "r2"):
        names = {"run": run, "resource": {"id": run}}
        await publish(
            store, [event("acme", (0, "completed", 1), **names), event("acme", (0, "running", greatest), **names)]
        )
    store.apply_schema()
    names = {"run": "r2", "resource": {"id": "r2"}}
    await publish(store, [event("acme", (1, "failed", 2), **names)])
    before = [each["state"] for each in (await answer(store, "runs", asked("acme"))).dicts()]

    await backfill_events(store, lambda _: None)

    after = [each["state"] for each in (await answer(store, "runs", asked("acme"))).dicts()]
    assert (before, after) == (["running", "failed"], ["completed", "failed"])
    store.close()


def test_the_order_of_states_is_one_wherever_it_is_written() -> None:
    (view,) = (file.sql for file in schema_files() if file.name == "0070_runs_from_events_ties.sql")

    of_view, of_timeline = (
        re.findall(r"'(\w+)'", sql[sql.index("[") : sql.index("]")])
        for sql in (view[view.index("indexOf(") :], question("timeline"))
    )

    assert of_view == of_timeline
    assert sorted(of_view) == sorted(STATES)
