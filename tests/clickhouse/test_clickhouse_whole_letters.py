"""Dead letters that are sent again: only those that were named, found without reading what was not asked for."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.clickhouse.reading import Planned

from flowgauge.console.web.answers import Answers
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.delivery import DeadLetter, encode_dead_letter
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import millis, rfc3339
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import only
from flowgauge.sinks.clickhouse.whole_letters import Choice, whole_letters
from flowgauge.transport.health import Health

T0 = datetime(2026, 11, 16, tzinfo=UTC)
T0_MS = millis(T0)


def event(tenant: str, name: str, occurred: str = rfc3339(T0_MS)) -> bytes:
    told = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {name}")), "tenant": tenant, "occurred": occurred}
    return msgspec.json.encode({**told, "event": "x", "resource": {"id": name}})


async def put(
    store: ClickHouseStore, tenant: str, values: Sequence[bytes], *, partition: int = 0, log_id: str = "a"
) -> None:
    """Keep `values` as letters of offsets 0, 1, 2 …, each a millisecond after the one before."""
    rows = [
        row(
            encode_dead_letter(
                DeadLetter(
                    tenant=tenant, reason="r", detail="", origin="gateway", at_ms=T0_MS + n, value=value,
                    size=len(value), source_partition=-1, source_offset=-1,
                )
            ),
            log_id=log_id, partition=partition, offset=n, append_ms=T0_MS + n,
        )
        for n, value in enumerate(values)
    ]  # fmt: skip
    await store.insert("flowgauge.dlq", b"\n".join(each.line for each in rows), str(uuid.uuid4()))


async def store_events(store: ClickHouseStore, values: Sequence[bytes]) -> None:
    rows = [row(value, log_id="a", partition=0, offset=n, append_ms=T0_MS) for n, value in enumerate(values)]
    await store.insert("flowgauge.events", b"\n".join(each.line for each in rows), str(uuid.uuid4()))


def every(tenant: str) -> Choice:
    return Choice(tenant=tenant, since_ms=0, limit=100)


async def test_a_letter_is_chosen_by_partition_and_offset_each_for_itself(store: ClickHouseStore) -> None:
    tenant = f"letters {uuid.uuid4().hex[:6]}"
    await put(store, tenant, [b"a", b"b"])
    await put(store, tenant, [b"c"], partition=1)

    async def names(partition: int, offset: int) -> list[str]:
        choice = replace(every(tenant), letter_partition=partition, letter_offset=offset)
        return sorted(map(str, (await whole_letters(store, choice)).column("letter")))

    assert await names(-1, -1) == ["0@0", "0@1", "1@0"]
    assert await names(0, -1) == ["0@0", "0@1"]
    assert await names(0, 1) == ["0@1"]
    assert await names(-1, 0) == ["0@0", "1@0"]


@pytest.mark.parametrize("place", ["0", "0@", "@0", "0@x"])
async def test_a_letter_without_its_offset_names_none(embedded: ClickHouseStore, place: str) -> None:
    tokens = TokenTable({"one": "letters"})
    answers = Answers(embedded, Health(), tokens, operator="letters", now_ms=lambda: T0_MS)

    with pytest.raises(BadInput, match=r"^letter: expected a partition and an offset, such as 0@12, got '"):
        await answers.whole_letters("letters", {"letter": place})


async def test_letters_are_chosen_without_their_bytes(embedded: ClickHouseStore) -> None:
    """What sorts all letters of the time has no `value`: those are up to 64 KiB each.

    Where there are letters, the engine may have chosen them before it tells its plan; then no LIMIT BY is in it.
    """
    plan = await embedded.query(
        f"EXPLAIN header = 1 {question('dead_letters_whole')}", asdict(every("letters")), seen=only("letters")
    )
    lines = [str(line).strip("│└├─ ") for (line,) in plan.rows]

    headers = [lines[n + 1 : n + 12] for n, line in enumerate(lines) if line.startswith("LimitBy")]
    assert not [line for header in headers for line in header if "value" in line], lines


async def test_whether_an_event_is_stored_is_looked_up_on_its_day_alone(embedded: ClickHouseStore) -> None:
    tenant = f"stored {uuid.uuid4().hex[:6]}"
    days = [event(tenant, f"day {n}", rfc3339(T0_MS - n * 86_400_000)) for n in range(30)]
    await store_events(embedded, days)
    await put(embedded, tenant, [days[1], days[2], event(tenant, "none", rfc3339(T0_MS - 86_400_000))])
    planned = Planned(embedded)

    found = await whole_letters(planned, every(tenant))

    assert found.column("is_stored") == [False, True, True]
    # The other days' granules are passed over, of whomever they are.
    assert planned.plans[-1]["Min-Max"][1] - planned.plans[-1]["Partition"][0] >= len(days) - 2


@pytest.mark.parametrize(
    "occurred",
    [
        "2026-11-15T23:59:59.9999999Z",
        "2026-11-15T23:59:59.999999Z",
        "2026-11-16t00:00:00Z",
        "2026-11-16T02:00:00+02:00",
    ],
)
async def test_an_event_is_found_at_its_time_however_that_is_written(store: ClickHouseStore, occurred: str) -> None:
    """ClickHouse cuts what is finer than microseconds, where others round."""
    tenant = f"times {uuid.uuid4().hex[:6]}"
    await store_events(store, [event(tenant, "e", occurred.replace("t", "T"))])
    await put(store, tenant, [event(tenant, "e", occurred)])

    assert (await whole_letters(store, every(tenant))).column("is_stored") == [True]


@pytest.mark.parametrize(
    "occurred", ["", "yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-16T00:00:00"]
)
async def test_a_time_that_no_event_has_hides_no_other(store: ClickHouseStore, occurred: str) -> None:
    tenant = f"odd {uuid.uuid4().hex[:6]}"
    at = rfc3339(millis(T0 + timedelta(hours=1)))
    await store_events(store, [event(tenant, "good", at)])
    await put(store, tenant, [event(tenant, "odd", occurred), b"{}", b"\xff", event(tenant, "good", at)])

    assert (await whole_letters(store, every(tenant))).column("is_stored") == [True, False, False, False]
