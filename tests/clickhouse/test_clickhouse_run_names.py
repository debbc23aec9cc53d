"""A run's deployment, work pool and tags go by their names, whichever of its events tell them and in which order."""

import uuid

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clickhouse.older_database import older_database
from tests.clickhouse_front import Front
from tests.examples import one_in

from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT

APPEND_MS = 1_795_000_000_000
OLD_VERSION = 22  # the last whose runs did not tell names from ids
KNOWN = "SELECT deployment, work_pool, tags FROM flowgauge.runs_final WHERE tenant = {tenant:String}"

# Names below and above their ids: no order of letters may decide.
Thing = tuple[str, str, str]  # role, id, name
THINGS: tuple[Thing, ...] = (
    ("deployment", "d7", "zeta"),
    ("deployment", "d7", ""),
    ("work-pool", "p7", "alpha"),
    ("work-pool", "p7", ""),
    ("tag", "prefect.tag.gpu", ""),
    ("tag", "tag.gpu", "big machines"),
    ("tag", "tag.zoo", "animals"),
    ("tag", "tag.zoo", ""),
    ("tag", "tag.plain", ""),
)


async def tell(store: ClickHouseStore, tenant: str, things: list[Thing], number: int = 0) -> None:
    """Insert one event of the tenant's run that names `things`."""
    event = {
        "id": str(uuid.uuid4()),
        "tenant": tenant,
        "occurred": f"2026-11-16T10:00:{number:02}Z",
        "event": "flow-run.running",
        "kind": "flow-run",
        "flow": "orders",
        "run": "r1",
        "state": "running",
        "resource": {"id": "flow-run.r1"},
        "related": [{"role": role, "id": of} | ({"name": name} if name else {}) for role, of, name in things],
    }
    line = row(msgspec.json.encode(event), log_id="a", partition=0, offset=number, append_ms=APPEND_MS).line
    await store.insert("flowgauge.events", line, str(uuid.uuid4()))


def known(things: list[Thing]) -> tuple[str, str, list[str]]:
    """Return what the run is known by: for each thing the name, where any event told it, else the id."""
    names: dict[tuple[str, str], str] = {}
    for role, of, name in things:
        key = (role, of.removeprefix("prefect.").removeprefix("tag."))
        names[key] = names.get(key) or name
    found = [(role, name or of) for (role, of), name in names.items()]
    one = dict(found)
    return one.get("deployment", ""), one.get("work-pool", ""), sorted({of for role, of in found if role == "tag"})


@settings(max_examples=one_in(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.lists(st.sampled_from(THINGS), max_size=4), min_size=1, max_size=5))
async def test_a_name_beats_an_id_in_any_order_of_events(store: ClickHouseStore, events: list[list[Thing]]) -> None:
    """Of two deployments that one event names, the first counts: as it always did."""
    told = [
        [
            thing
            for at, thing in enumerate(event)
            if thing[0] == "tag" or thing[0] not in {each[0] for each in event[:at]}
        ]
        for event in events
    ]
    tenant = uuid.uuid4().hex

    for number, event in enumerate(told):
        await tell(store, tenant, event, number)

    rows = (await store.query(KNOWN, {"tenant": tenant}, seen=EVERY_TENANT)).rows
    assert msgspec.convert(rows, list[tuple[str, str, list[str]]]) == [
        known([thing for event in told for thing in event])
    ]


async def test_a_run_that_an_older_flowgauge_knew_by_its_ids_learns_its_names(front: Front) -> None:
    store = ClickHouseStore.connect(older_database(front, OLD_VERSION))
    ids: list[Thing] = [
        ("deployment", "d7", ""),
        ("work-pool", "p7", ""),
        ("tag", "tag.zoo", ""),
        ("tag", "tag.old", ""),
    ]
    await tell(store, "acme", ids)

    store.apply_schema()
    before = (await store.query(KNOWN, {"tenant": "acme"}, seen=EVERY_TENANT)).rows
    await tell(
        store, "acme", [("deployment", "d7", "alpha"), ("work-pool", "p7", "zeta"), ("tag", "tag.zoo", "animals")]
    )
    after = (await store.query(KNOWN, {"tenant": "acme"}, seen=EVERY_TENANT)).rows
    store.close()

    assert [list(each) for each in before] == [["d7", "p7", ["old", "zoo"]]]
    assert [list(each) for each in after] == [["alpha", "zeta", ["animals", "old"]]]
