"""What stands around an incident: errors, error lines, what changed before it opened, what else was open."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest
from tests.clickhouse.reading import Counted
from tests.clickhouse.test_clickhouse_incidents import T0_MS, put, transition

from flowgauge.schemas.incident_context import (
    CHANGES_MAX,
    ERRORS_MAX,
    LINES_MAX,
    RELATED_MAX,
    TEXT_CHARS_MAX,
    Changed,
    ErrorGroup,
    IncidentContext,
    RelatedIncident,
    RunLink,
)
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import decode_transition
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.incident_context import (
    About,
    Links,
    about_incident,
    about_transition,
    incident_context,
)
from flowgauge.sinks.clickhouse.incidents import Example, incident
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import Seen

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EXAMPLE = Example(T0_MS * 1000, "e1", "run-1", "orders")


@pytest.fixture
def tenant() -> str:
    return f"context-{uuid.uuid4().hex[:6]}"


def about(tenant: str, **more: object) -> About:
    known: dict[str, object] = {
        "incident_id": "this",
        "tenant": tenant,
        "key": {"flow": "orders"},
        "opened_at_ms": T0_MS,
        "window_ms": 10 * MINUTE,
        "until_ms": T0_MS + HOUR,
        "examples": [EXAMPLE],
    }
    return msgspec.convert(known | more, About)


def event(tenant: str, before_ms: int, **more: object) -> bytes:
    """Return an event of a run of orders that came `before_ms` before the opening, or what `more` makes of it."""
    known: Mapping[str, object] = {
        "id": str(uuid.uuid4()),
        "tenant": tenant,
        "occurred": rfc3339(T0_MS - before_ms),
        "event": "x",
        "kind": "flow-run",
        "flow": "orders",
        "run": f"run-{before_ms}",
        "state": "running",
        "resource": {"id": "x"},
    }
    return msgspec.json.encode({**known, **more})


def failed(tenant: str, before_ms: int, message: str, **more: object) -> bytes:
    return event(tenant, before_ms, **{"state": "failed", "payload": {"message": message}, **more})


def log(tenant: str, before_ms: int, message: str, run: str = "run-1", *, level: str = "error") -> bytes:
    payload = {"level": level, "message": message, "logger": "app"}
    return event(tenant, before_ms, kind="log", run=run, state=None, payload=payload)


def other(incident_id: str, tenant: str, *steps: str, opened_ms: int = T0_MS - HOUR, **more: object) -> list[bytes]:
    """Return the transitions of another incident, its steps a second apart from `opened_ms` on."""
    return [
        msgspec.json.encode(
            msgspec.structs.replace(
                decode_transition(transition(incident_id, seq, to, tenant=tenant, **more)),
                at_ms=opened_ms + seq * 1_000,
                opened_at_ms=opened_ms,
            )
        )
        for seq, to in enumerate(steps)
    ]


async def context_of(store: ClickHouseStore, asked: About, events: Sequence[bytes] = ()) -> IncidentContext:
    if events:
        await put(store, "events", events)
    return await incident_context(store, asked)


async def test_errors_of_the_flow_are_grouped_by_what_they_say_from_the_window_on(
    store: ClickHouseStore, tenant: str
) -> None:
    events = [
        failed(tenant, 20 * MINUTE, "host 1 refused"),
        failed(tenant, 9 * MINUTE, "host 2 refused"),
        failed(tenant, -MINUTE, "host 3 refused"),
        failed(tenant, -2 * HOUR, "host 4 refused"),
        failed(tenant, 5 * MINUTE, "disk full"),
        failed(tenant, 5 * MINUTE, "elsewhere", flow="billing"),
        failed(f"{tenant}-2", 5 * MINUTE, "not yours"),
    ]

    found = await context_of(store, about(tenant), events)

    assert found.errors == [
        ErrorGroup(
            error="host <n> refused",
            count=2,
            runs=2,
            first_seen=rfc3339(T0_MS - 9 * MINUTE).replace(".000Z", "Z"),
            last_seen=rfc3339(T0_MS + MINUTE).replace(".000Z", "Z"),
            example_run=f"run-{-MINUTE}",
        ),
        ErrorGroup(
            error="disk full",
            count=1,
            runs=1,
            first_seen=rfc3339(T0_MS - 5 * MINUTE).replace(".000Z", "Z"),
            last_seen=rfc3339(T0_MS - 5 * MINUTE).replace(".000Z", "Z"),
            example_run=f"run-{5 * MINUTE}",
        ),
    ]


async def test_errors_are_of_the_examples_flows_or_runs_where_the_key_names_no_flow(
    store: ClickHouseStore, tenant: str
) -> None:
    events = [
        failed(tenant, 5 * MINUTE, "refused", run="run-1"),
        failed(tenant, 5 * MINUTE, "refused", run="run-2", flow="billing"),
        failed(tenant, 5 * MINUTE, "elsewhere", run="run-3", flow="mail"),
    ]
    of_two = about(tenant, key={}, examples=[EXAMPLE, replace(EXAMPLE, run="run-2", flow="billing")])
    of_a_run = about(tenant, key={}, examples=[replace(EXAMPLE, flow="")])
    of_nothing = about(tenant, key={}, examples=[])

    found = [
        await context_of(store, of_two, events),
        *[await context_of(store, each) for each in (of_a_run, of_nothing)],
    ]

    assert [[(each.error, each.count, each.runs) for each in context.errors] for context in found] == [
        [("refused", 2, 2)],
        [("refused", 1, 1)],
        [],
    ]


async def test_the_newest_error_lines_of_the_failing_runs_come_first_and_are_cut(
    store: ClickHouseStore, tenant: str
) -> None:
    events = [
        *[event(tenant, 5 * MINUTE, run=run) for run in ("run-1", "run-2", "run-3")],
        *[log(tenant, 1_000 * n, f"line {n}", run) for n in range(1, 7) for run in ("run-1", "run-2", "run-3")],
        log(tenant, 0, "x" * 1_000 + "\n\x1b[2J"),
        log(tenant, 500, "Traceback:\n  at line 1\nrefused"),
        log(tenant, 0, "calm", level="info"),
        log(tenant, 0, "elsewhere", "run-9"),
    ]
    examples = [replace(EXAMPLE, run=run) for run in ("run-1", "run-2", "run-3")]

    found = await context_of(store, about(tenant, examples=examples), events)

    assert found.lines[0].text == "x" * (TEXT_CHARS_MAX - 1) + "…"
    assert found.lines[1].text == "Traceback: … refused"
    assert [(line.run, line.text) for line in found.lines[2:5]] == [(f"run-{n}", "line 1") for n in (3, 2, 1)]
    assert len(found.lines) == LINES_MAX
    assert {line.level for line in found.lines} == {"ERROR"}


VERSION_1 = [{"id": "deployment.prod", "role": "deployment", "name": "prod", "version": "1.4.1"}]
VERSION_2 = [{"id": "deployment.prod", "role": "deployment", "name": "prod", "version": "1.4.2"}]


async def test_what_the_runs_of_the_flow_had_not_had_before_the_last_day_changed(
    store: ClickHouseStore, tenant: str
) -> None:
    worker = {"id": "worker.b", "role": "worker", "name": "b"}
    events = [
        event(tenant, 6 * DAY, state="completed", related=VERSION_1, resource={"id": "x", "version": "7"}),
        event(tenant, 2 * DAY, state="completed", related=VERSION_1, resource={"id": "x", "version": "8"}),
        event(tenant, 3 * HOUR, state="completed", related=VERSION_1, resource={"id": "x", "version": "8"}),
        event(tenant, 40 * MINUTE, related=[*VERSION_2, worker], resource={"id": "x", "version": "8"}),
        event(tenant, 5 * MINUTE, related=[*VERSION_2, worker], resource={"id": "x", "version": "8"}),
        event(
            tenant, 5 * MINUTE, kind="worker", state=None, run=f"run-{5 * MINUTE}", resource={"id": "w", "name": "c"}
        ),
        event(tenant, -MINUTE, related=[{"id": "later", "role": "worker"}]),
        event(tenant, 5 * MINUTE, run="of another", flow="billing", related=[{"id": "theirs", "role": "worker"}]),
        event(f"{tenant}-2", 5 * MINUTE, related=[{"id": "not yours", "role": "worker"}]),
    ]

    found = await context_of(store, about(tenant), events)

    first = f"run-{40 * MINUTE}"
    assert found.changes == [
        Changed(at=rfc3339(T0_MS - 5 * MINUTE), what="worker", name="c", flow="orders", run=f"run-{5 * MINUTE}"),
        Changed(at=rfc3339(T0_MS - 40 * MINUTE), what="worker", name="b", flow="orders", run=first),
        Changed(at=rfc3339(T0_MS - 40 * MINUTE), what="deployment version", name="1.4.2", flow="orders", run=first),
    ]


async def test_the_first_runs_of_a_flow_are_no_change(store: ClickHouseStore, tenant: str) -> None:
    events = [event(tenant, before_ms, related=VERSION_1) for before_ms in (HOUR, 2 * MINUTE)]

    assert (await context_of(store, about(tenant), events)).changes == []


async def test_deploy_events_of_the_flow_or_of_none_are_changes(store: ClickHouseStore, tenant: str) -> None:
    told: dict[str, object] = {"kind": "other", "state": None, "run": None}
    named = {"id": "d", "name": "prod", "version": "2"}
    events = [
        event(tenant, HOUR, **told, event="deploy.finished", resource=named, payload={"message": "by ci"}),
        event(tenant, 2 * HOUR, **told | {"flow": None}, event="flowgauge.deploy", payload={"version": "3"}),
        event(tenant, 3 * HOUR, **told, event="prefect.deployment.updated"),
        event(tenant, 4 * HOUR, **told, event="prefect.deployment.ready"),
        event(tenant, HOUR, **told | {"flow": "billing"}, event="deploy.finished"),
        event(tenant, 2 * DAY, **told, event="deploy.finished"),
        event(tenant, -HOUR, **told, event="deploy.finished"),
        event(f"{tenant}-2", HOUR, **told, event="deploy.finished"),
    ]

    found = await context_of(store, about(tenant), events)

    assert [(each.at, each.what, each.name, each.flow, each.detail) for each in found.changes] == [
        (rfc3339(T0_MS - HOUR), "deploy event", "deploy.finished prod", "orders", "2 by ci"),
        (rfc3339(T0_MS - 2 * HOUR), "deploy event", "flowgauge.deploy x", "", "3"),
        (rfc3339(T0_MS - 3 * HOUR), "deploy event", "prefect.deployment.updated x", "orders", ""),
    ]


async def test_incidents_that_were_open_then_and_share_a_flow_or_a_value_are_related(
    store: ClickHouseStore, tenant: str
) -> None:
    made = [
        *other("this", tenant, "firing", opened_ms=T0_MS),
        *other("same flow", tenant, "firing"),
        *other("its example", tenant, "firing", key={"team": "data"}, opened_ms=T0_MS - 2 * HOUR),
        *other("over by then", tenant, "firing", "resolved"),
        *other("over within", tenant, "firing", "resolved", opened_ms=T0_MS + MINUTE),
        *other("opened later", tenant, "firing", opened_ms=T0_MS + 2 * HOUR),
        *other("never told", tenant, "pending", "inactive"),
        *other("point", tenant, "firing", key={"flow": "orders", "event_id": "e"}, rule_kind="event"),
        *other("of others", f"{tenant}-2", "firing"),
    ]
    stranger = [
        msgspec.json.encode(msgspec.structs.replace(decode_transition(each), examples=[]))
        for each in other("nothing shared", tenant, "firing", key={"flow": "billing"})
    ]
    await put(store, "transitions", [*made, *stranger])

    found = await incident_context(store, about(tenant), links=Links(incident=lambda each: f"https://g/{each}"))

    assert [(each.incident_id, each.state, each.shares, each.link) for each in found.related] == [
        ("over within", "resolved", ["orders"], "https://g/over within"),
        ("same flow", "firing", ["orders"], "https://g/same flow"),
        ("its example", "firing", ["orders"], "https://g/its example"),
    ]
    assert found.related[1] == RelatedIncident(
        incident_id="same flow",
        rule="orders failing",
        severity="critical",
        state="firing",
        opened_at=rfc3339(T0_MS - HOUR),
        key={"flow": "orders"},
        shares=["orders"],
        link="https://g/same flow",
    )


async def test_every_list_is_bounded(store: ClickHouseStore, tenant: str) -> None:
    told: dict[str, object] = {"kind": "other", "state": None, "run": None, "event": "deploy.finished"}
    events = [
        *[failed(tenant, 1_000 * n, chr(97 + n) * 9) for n in range(20)],
        *[event(tenant, 1_000 * n, **told) for n in range(1, 20)],
    ]
    await put(store, "events", events)
    await put(store, "transitions", [each for n in range(20) for each in other(f"o{n}", tenant, "firing")])

    found = await incident_context(store, about(tenant))

    assert (len(found.errors), len(found.changes), len(found.related)) == (ERRORS_MAX, CHANGES_MAX, RELATED_MAX)


async def test_a_stored_incident_and_its_transition_ask_the_same(store: ClickHouseStore, tenant: str) -> None:
    made = transition("v", 0, "firing", tenant=tenant)
    await put(store, "transitions", [made])
    await put(store, "events", [event(tenant, 5 * MINUTE, run="run-1")])

    view = await incident(store, tenant, "v")

    assert view is not None
    stored = about_incident(view.incident, T0_MS + HOUR)
    assert stored == about_transition(decode_transition(made), T0_MS + HOUR)
    links = Links(run_url="https://prefect.example/runs/{run}?flow={flow}")
    whole, again = [await incident_context(store, stored, runs=runs, links=links) for runs in (view.runs, None)]
    assert whole == again
    link = "https://prefect.example/runs/run-1?flow=orders"
    assert whole.runs == [RunLink(run="run-1", flow="orders", state="running", link=link)]


class Failing(ClickHouseStore):
    """A store that answers all but the questions about what `about` says, which it refuses, or never answers."""

    def __init__(self, store: ClickHouseStore, about: str, *, hangs: bool = False) -> None:
        self._store = store
        self._about = about
        self._hangs = hangs

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None, *, seen: Seen) -> Table:
        if self._about in sql and self._hangs:
            await asyncio.Event().wait()
        if self._about in sql:
            raise EngineTrouble("ClickHouse: away", "known")
        return await self._store.query(sql, parameters, seen=seen)


async def test_a_part_that_clickhouse_cannot_tell_is_named_and_the_others_are_told(
    store: ClickHouseStore, tenant: str
) -> None:
    await put(store, "events", [failed(tenant, 5 * MINUTE, "refused", run="run-1")])

    found = await incident_context(Failing(store, "Runs to compare"), about(tenant))

    assert found.untold == ["changes"]
    assert [each.error for each in found.errors] == ["refused"]
    assert [each.run for each in found.runs] == ["run-1"]


async def test_what_hangs_is_given_up_at_the_deadline(store: ClickHouseStore, tenant: str) -> None:
    asked = about(tenant)

    found = await incident_context(Failing(store, "SELECT", hangs=True), asked, deadline_s=0.01)

    assert found == IncidentContext(incident_id="this", untold=["runs", "errors", "changes", "related incidents"])


async def test_a_context_takes_a_bounded_number_of_questions(store: ClickHouseStore, tenant: str) -> None:
    examples = [replace(EXAMPLE, run=f"run-{n}", flow=f"flow-{n}") for n in range(5)]
    events = [failed(tenant, 5 * MINUTE, "refused", run=each.run, flow=each.flow) for each in examples]
    await put(store, "events", events)
    counted = Counted(store)

    await incident_context(counted, about(tenant, key={}, examples=examples))

    assert counted.asked <= 10
