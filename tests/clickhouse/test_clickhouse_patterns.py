"""Patterns through ClickHouse: what was planted is found at its local hour, of one tenant and with each run once."""

import asyncio
import random
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import FrameType
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.clickhouse.test_clickhouse_metrics import ask, publish

from flowgauge.sinks.clickhouse.metric import InvalidQuestion, MetricQuery
from flowgauge.sinks.clickhouse.metrics import PATTERN_FLOWS_MAX, answer
from flowgauge.sinks.clickhouse.patterns import patterns
from flowgauge.sinks.clickhouse.store import ClickHouseStore

BERLIN = ZoneInfo("Europe/Berlin")
SUMMER_ENDS = datetime(2026, 10, 25, tzinfo=BERLIN)
FIRST, DAYS = SUMMER_ENDS - timedelta(days=10), 20


def end_of(tenant: str, flow: str, at: datetime, number: int, *, failed: bool) -> bytes:
    run = f"{flow}-{at.isoformat()}-{number}"
    return msgspec.json.encode(
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {run}")),
            "tenant": tenant,
            "occurred": at.astimezone(UTC).isoformat(),
            "event": "flow-run.ended",
            "kind": "flow-run",
            "state": "failed" if failed else "completed",
            "flow": flow,
            "run": run,
            "resource": {"id": run},
        }
    )


def hourly(tenant: str, flow: str, fails: Callable[[datetime], bool]) -> Iterator[bytes]:
    """Yield the ends of two runs an hour, twenty local days long."""
    at, end = FIRST.astimezone(UTC), (FIRST + timedelta(days=DAYS)).astimezone(UTC)
    while at < end:
        local = at.astimezone(BERLIN)
        yield from (
            end_of(tenant, flow, at + timedelta(minutes=20 * n), n, failed=n == 1 and fails(local)) for n in (1, 2)
        )
        at += timedelta(hours=1)


def all_time(tenant: str, **more: object) -> MetricQuery:
    until_ms = int((FIRST + timedelta(days=DAYS)).timestamp() * 1000)
    return msgspec.convert(
        {"tenant": tenant, "since_ms": int(FIRST.timestamp() * 1000), "until_ms": until_ms, **more}, MetricQuery
    )


@pytest.fixture(scope="module")
def told(store: ClickHouseStore) -> str:
    """Return a tenant of the store whose nightly-etl fails at two, came twice, and stands among others."""
    tenant, chance = f"patterns-{uuid.uuid4().hex[:6]}", random.Random(1)
    planted = list(hourly(tenant, "nightly-etl", lambda at: at.hour == 2))
    others = [
        *hourly(tenant, "noisy", lambda _: chance.random() < 0.1),
        *hourly(tenant, "steady", lambda _: False),
        *hourly(f"not {tenant}", "nightly-etl", lambda at: at.hour == 5),
    ]
    asyncio.run(publish(store, planted, 1))
    asyncio.run(publish(store, [*planted, *others], 1))
    return tenant


async def test_a_planted_hour_is_found_on_the_local_clock_across_the_end_of_summer_time(
    store: ClickHouseStore, told: str
) -> None:
    local = (await ask(store, "patterns", all_time(told, tz="Europe/Berlin"))).dicts()
    utc = (await ask(store, "patterns", all_time(told))).dicts()

    # The clock passes 02:00 once more as summer time ends: 21 failures on 20 days.
    assert [(row["flow"], row["when"], row["times"], row["failed_then"]) for row in local] == [
        ("nightly-etl", "02:00-03:00", 20, 21)
    ]
    assert local[0]["says"] == (
        "100% of the failures of nightly-etl fall between 02:00 and 03:00 Europe/Berlin, on 20 days; "
        "4% of its runs end then; chance alone: p < 0.001"
    )
    assert [row["when"] for row in utc] == ["00:00-02:00"]


@pytest.mark.parametrize(("flow", "found"), [("nightly-etl", ["nightly-etl"]), ("steady", []), ("of nobody", [])])
async def test_one_flow_is_asked_alone(store: ClickHouseStore, told: str, flow: str, found: list[str]) -> None:
    rows = (await ask(store, "patterns", all_time(told, tz="Europe/Berlin", flow=flow))).dicts()

    assert [row["flow"] for row in rows] == found


async def test_more_flows_than_are_tested_at_once_are_refused_with_the_remedy(embedded: ClickHouseStore) -> None:
    """In the embedded engine alone: they are counted here."""
    store = embedded
    tenant = f"many-{uuid.uuid4().hex[:6]}"
    ends = [
        end_of(tenant, f"flow-{n}", FIRST + timedelta(days=day), 1, failed=True)
        for n in range(PATTERN_FLOWS_MAX + 1)
        for day in range(3)
    ]
    await publish(store, ends[:-3], 1)
    assert (await ask(store, "patterns", all_time(tenant))).rows == []

    await publish(store, ends[-3:], 1)
    with pytest.raises(InvalidQuestion, match=r"^flow: more than 2,000 flows failed on three days or more: name one"):
        await ask(store, "patterns", all_time(tenant))
    assert (await ask(store, "patterns", all_time(tenant, flow="flow-7"))).rows == []


async def test_the_event_loop_tests_no_flow_itself(store: ClickHouseStore) -> None:
    called: set[object] = set()

    def note(frame: FrameType, _event: str, _of: object) -> None:
        called.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)  # of this thread alone
    try:
        await ask(store, "patterns", all_time("nobody"))
    finally:
        sys.setprofile(before)

    assert answer.__code__ in called
    assert patterns.__code__ not in called
