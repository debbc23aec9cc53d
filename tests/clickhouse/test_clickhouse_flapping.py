"""Which incidents flap, as ClickHouse has their transitions."""

import msgspec
from tests.clickhouse.test_clickhouse_incidents import T0_MS, put, transition

from flowgauge.schemas.flapping import Flapping
from flowgauge.schemas.transition import Transition, encode_transition
from flowgauge.sinks.clickhouse.incidents import flapping, incident, incidents
from flowgauge.sinks.clickhouse.store import ClickHouseStore

MINUTE = 60_000


def lived(tenant: str, number: int, begin: int, *steps: tuple[str, int], flow: str = "orders") -> list[bytes]:
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
            encode_transition(msgspec.structs.replace(made, at_ms=at_ms, opened_at_ms=opened_ms, from_state=came_from))
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
