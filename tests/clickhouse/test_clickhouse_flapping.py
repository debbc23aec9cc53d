"""Which incidents flap, as ClickHouse has their transitions."""

import msgspec
from structlog.testing import capture_logs
from tests.clickhouse.test_clickhouse_incidents import T0_MS, put, transition

from flowgauge.schemas.flapping import Flapping
from flowgauge.schemas.transition import RULE_CHANGED, Transition, encode_transition
from flowgauge.sinks.clickhouse.incidents import flapping, incident, incidents
from flowgauge.sinks.clickhouse.store import ClickHouseStore

MINUTE = 60_000


def lived(
    tenant: str, number: int, begin: int, *steps: tuple[str, int], flow: str = "orders", reason: str = "as told"
) -> list[bytes]:
    """Return the transitions of an incident that fired `begin` minutes after T0 and went on in so many more."""
    told: list[bytes] = []
    came_from = "inactive"
    for seq, (to, after) in enumerate((("firing", 0), *steps)):
        made = msgspec.json.decode(
            transition(f"{tenant}-{flow}-{number}", seq, to, tenant=tenant, key={"flow": flow}), type=Transition
        )
        at_ms = T0_MS + (begin + after) * MINUTE
        opened_ms = T0_MS + begin * MINUTE
        told.append(
            encode_transition(
                msgspec.structs.replace(made, at_ms=at_ms, opened_at_ms=opened_ms, from_state=came_from, reason=reason)
            )
        )
        came_from = to
    return told


async def test_an_incident_that_follows_two_others_soon_flaps(store: ClickHouseStore) -> None:
    tenant = "flapping"
    over = ("recovering", 1), ("resolved", 3)
    flaps = [*lived(tenant, 0, 0, *over), *lived(tenant, 1, 10, *over), *lived(tenant, 2, 20)]
    alone = [each for number in range(3) for each in lived(tenant, number, number * 30, ("resolved", 1), flow="rare")]
    await put(store, "transitions", [*flaps, *alone])

    found = await flapping(store, tenant, await incidents(store, tenant, 10))
    page = await incident(store, tenant, f"{tenant}-orders-2")

    expected = Flapping(incidents=3, span_ms=20 * MINUTE, shortest_ms=3 * MINUTE, keep_firing_for_ms=10 * MINUTE)
    assert found == {f"{tenant}-orders-2": expected}
    assert page is not None
    assert page.flapping == expected
    assert await flapping(store, tenant, []) == {}


async def test_single_events_do_not_flap(store: ClickHouseStore) -> None:
    tenant = "flapping-points"
    told = [
        transition(
            f"{tenant}-{n}", 0, "firing", tenant=tenant, rule_kind="event", key={"flow": "x", "event_id": f"e{n}"}
        )
        for n in range(4)
    ]
    await put(store, "transitions", told)

    assert await flapping(store, tenant, await incidents(store, tenant, 10)) == {}


DAY = 1_440  # minutes


async def test_the_list_says_what_the_page_says_of_an_old_open_one_and_of_a_key_with_more_than_a_thousand(
    store: ClickHouseStore,
) -> None:
    tenant = "flapping-busy"
    over = ("resolved", 1)
    old = [*lived(tenant, 0, 0, over), *lived(tenant, 1, 5, over), *lived(tenant, 2, 10)]
    busy = [each for n in range(1_300) for each in lived(tenant, 10 + n, 300 * DAY + 2 * n, over)]
    await put(store, "transitions", [*old, *busy], times=1)

    shown = await incidents(store, tenant, 2_000)
    told = await flapping(store, tenant, shown)

    assert len(shown) == 1_303
    assert told[f"{tenant}-orders-2"].incidents == 3
    assert told[f"{tenant}-orders-1309"].incidents == 721  # of a day
    assert len(told) == 1_303 - 2 - 2  # but the first two of each row
    for number in (1, 2, 11, 12, 400, 1_309):
        page = await incident(store, tenant, f"{tenant}-orders-{number}")
        assert page is not None
        assert page.flapping == told.get(f"{tenant}-orders-{number}")


async def test_what_fires_after_the_rule_was_changed_is_no_flap(store: ClickHouseStore) -> None:
    tenant = "flapping-edited"
    edits = [each for n in range(2) for each in lived(tenant, n, n * 5, ("resolved", 1), reason=RULE_CHANGED)]
    await put(store, "transitions", [*edits, *lived(tenant, 2, 10)])

    assert await flapping(store, tenant, await incidents(store, tenant, 10)) == {}


async def test_past_the_bound_the_oldest_say_nothing_and_the_log_says_so(embedded: ClickHouseStore) -> None:
    tenant = "flapping-bound"
    rows = [each for n in range(6) for each in lived(tenant, n, n // 3 * 3 * DAY + n, ("resolved", 1))]
    await put(embedded, "transitions", rows)
    shown = await incidents(embedded, tenant, 10)

    with capture_logs() as logs:
        told = await flapping(embedded, tenant, shown, lived_max=4)

    assert set(await flapping(embedded, tenant, shown)) == {f"{tenant}-orders-2", f"{tenant}-orders-5"}
    assert set(told) == {f"{tenant}-orders-5"}
    assert [line["event"] for line in logs] == ["flapping not told of the oldest"]


async def test_where_it_cannot_be_told_the_incidents_are_and_the_log_says_why(
    embedded: ClickHouseStore,
) -> None:
    tenant = "flapping-trouble"
    told = [each for n in range(3) for each in lived(tenant, n, n * 5, ("resolved", 1))]
    await put(embedded, "transitions", told)
    shown = await incidents(embedded, tenant, 10)

    with capture_logs() as logs:
        found = await flapping(embedded, tenant, shown, lived_max=-1)

    assert found == {}
    assert [line["event"] for line in logs] == ["flapping not told"]
