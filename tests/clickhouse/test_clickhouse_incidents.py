"""What the console asks of transitions, deliveries, runs and logs."""

import uuid
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from flowgauge.schemas.delivery import Delivery, Outcome, encode_delivery
from flowgauge.schemas.times import parse_time_ms
from flowgauge.schemas.transition import AlertState, ExampleRun, Transition, encode_transition
from flowgauge.sinks.clickhouse.incidents import Ended, incident, incidents, open_incidents
from flowgauge.sinks.clickhouse.metric import InvalidQuestion
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore

T0_MS = 1_795_000_000_000


async def put(store: ClickHouseStore, table: str, values: Sequence[bytes], *, times: int = 2) -> None:
    """Insert `values` as the sink does, `times` over, each time as new records."""
    for _ in range(times):
        lines = [
            row(value, log_id="a", partition=0, offset=at, append_ms=T0_MS).line for at, value in enumerate(values)
        ]
        await store.insert(f"flowgauge.{table}", b"\n".join(lines), str(uuid.uuid4()))


def transition(incident_id: str, seq: int, to: str, **more: object) -> bytes:
    made = Transition(
        transition_id=f"{incident_id}-{seq}",
        incident_id=incident_id,
        seq=seq,
        tenant=str(more.pop("tenant")),
        rule="orders failing",
        rule_kind=str(more.pop("rule_kind", "failure_rate")),
        rules_version=1,
        key=msgspec.convert(more.pop("key", {"flow": "orders"}), dict[str, str]),
        from_state="inactive",
        to_state=cast("AlertState", to),
        at_ms=T0_MS + seq * 1_000,
        opened_at_ms=T0_MS,
        reason=f"went to {to}",
        value=0.5 if to == "firing" else None,
        threshold=0.2,
        samples=8,
        window_ms=600_000,
        examples=[ExampleRun(T0_MS * 1000, "e1", "run-1", "orders")] if to == "firing" else [],
        severity="critical",
        labels={"team": "data"},
        summary="{{ flow }} fails",
        notify=["oncall"],
        runbook="https://wiki.example/orders" if to == "firing" else "",
    )
    return encode_transition(made)


async def test_an_incident_is_open_from_firing_until_it_resolves(store: ClickHouseStore) -> None:
    tenant = "incidents-open"
    await put(store, "transitions", [transition("a", 0, "firing", tenant=tenant)])

    found = await open_incidents(store, tenant)

    assert [(i.incident_id, i.state, i.is_open, i.value, i.samples) for i in found] == [("a", "firing", True, 0.5, 8)]
    assert found[0].key == {"flow": "orders"}
    assert found[0].labels == {"team": "data"}
    assert found[0].resolved_at_ms is None
    assert found[0].runbook == "https://wiki.example/orders"

    await put(store, "transitions", [transition("a", 1, "resolved", tenant=tenant)])

    assert await open_incidents(store, tenant) == []
    listed = await incidents(store, tenant, 10)
    assert [(i.state, i.is_open, i.value, i.resolved_at_ms) for i in listed] == [
        ("resolved", False, 0.5, T0_MS + 1_000)
    ]


async def test_an_incident_is_found_by_the_first_digits_of_its_id_where_only_one_begins_so(
    store: ClickHouseStore,
) -> None:
    tenant, one, other = "incidents-begin", "abcdef12" + "0" * 24, "abcdef13" + "0" * 24
    await put(store, "transitions", [transition(each, 0, "firing", tenant=tenant) for each in (one, other)])

    found = [await incident(store, tenant, asked) for asked in ("abcdef12", "ABCDEF13", one, "abcde", "abcdef14", "%")]

    assert [view and view.incident.incident_id for view in found] == [one, other, one, None, None, None]
    assert await incident(store, "incidents-of-others", "abcdef12") is None
    with pytest.raises(InvalidQuestion, match=f"several ids begin with abcdef1, such as {one} and {other}: write more"):
        await incident(store, tenant, "abcdef1")


@pytest.mark.parametrize("rule_kind", ["event", "prefect"])
async def test_a_point_incident_is_listed_and_never_open(store: ClickHouseStore, rule_kind: str) -> None:
    tenant = f"incidents-point-{rule_kind}"
    key = {"flow": "orders", "event_id": "e1"}
    await put(store, "transitions", [transition("p", 0, "firing", tenant=tenant, rule_kind=rule_kind, key=key)])

    assert await open_incidents(store, tenant) == []
    assert [i.incident_id for i in await incidents(store, tenant, 10)] == ["p"]


async def test_a_pending_that_lapsed_is_no_incident(store: ClickHouseStore) -> None:
    tenant = "incidents-lapsed"
    lapsed = [transition("l", 0, "pending", tenant=tenant), transition("l", 1, "inactive", tenant=tenant)]
    await put(store, "transitions", lapsed)

    assert await incidents(store, tenant, 10) == []
    assert await incident(store, tenant, "l") is None


async def test_an_incident_shows_its_runs_logs_and_deliveries(store: ClickHouseStore) -> None:
    tenant = "incidents-view"
    steps = [transition("v", 0, "firing", tenant=tenant), transition("v", 1, "resolved", tenant=tenant)]
    await put(store, "transitions", steps)
    events = [run_event(1, tenant, "running"), run_event(5, tenant, "failed"), *error_logs(tenant, 7)]
    await put(store, "events", events)
    await put(store, "deliveries", deliveries(tenant))

    view = await incident(store, tenant, "v")

    assert view is not None
    assert [(step.seq, step.to_state) for step in view.transitions] == [(0, "firing"), (1, "resolved")]
    assert [(d.channel, d.attempts, d.outcome, d.status) for d in view.deliveries] == [("oncall", 2, "delivered", 200)]
    run = view.runs[0]
    assert (run.run, run.flow, run.state, run.attempts, run.seconds) == ("run-1", "orders", "failed", 1, 4.0)
    assert run.message == "orders-db refused"
    assert [line.message for line in run.error_lines] == [f"error {n}" for n in (6, 5, 4, 3, 2)]
    assert await incident(store, "somebody else", "v") is None


async def test_a_firing_rate_shows_what_ended_in_its_window_and_nothing_where_nothing_did(
    store: ClickHouseStore,
) -> None:
    tenant = "incidents-window"
    await put(store, "transitions", [transition("w", 0, "firing", tenant=tenant)])
    past = msgspec.json.decode(run_event(5, tenant, "failed"))
    past |= {"id": str(uuid.UUID(int=99)), "run": "run-past", "history": True}
    events = [run_event(2, tenant, "running"), run_event(5, tenant, "failed"), msgspec.json.encode(past)]
    await put(store, "events", events)
    ended_ms = parse_time_ms("2026-11-18T11:00:05Z")

    within = await incident(store, tenant, "w", clock_ms=ended_ms + 1)
    after = await incident(store, tenant, "w", clock_ms=ended_ms + 600_001)
    unasked = await incident(store, tenant, "w")

    assert within is not None
    assert within.ended == Ended(any_kind=1, finished=1, failed=1)
    assert after is not None
    assert after.ended == Ended(any_kind=0, finished=0, failed=0)
    assert unasked is not None
    assert unasked.ended is None

    await put(store, "transitions", [transition("w", 1, "recovering", tenant=tenant)])

    recovering = await incident(store, tenant, "w", clock_ms=ended_ms + 1)
    assert recovering is not None
    assert recovering.ended is None


def run_event(second: int, tenant: str, state: str) -> bytes:
    return msgspec.json.encode(
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant}{second}{state}")),
            "tenant": tenant,
            "occurred": f"2026-11-18T11:00:{second:02d}Z",
            "event": f"run.{state}",
            "kind": "flow-run",
            "flow": "orders",
            "run": "run-1",
            "state": state,
            "resource": {"id": "run-1"},
            "payload": {"validated_state": {"message": "orders-db refused"}},
        }
    )


def error_logs(tenant: str, count: int) -> list[bytes]:
    return [
        msgspec.json.encode(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant}log{n}")),
                "tenant": tenant,
                "occurred": f"2026-11-18T11:00:{n:02d}Z",
                "event": "log.write",
                "kind": "log",
                "run": "run-1",
                "resource": {"id": "logger"},
                "payload": {"level": "error", "logger": "app", "message": f"error {n}"},
            }
        )
        for n in range(count)
    ]


def deliveries(tenant: str) -> list[bytes]:
    def step(attempt: int, outcome: str, at_ms: int, status: int) -> bytes:
        made = Delivery(
            delivery_id="d1",
            transition_id="v-0",
            incident_id="v",
            tenant=tenant,
            rule="orders failing",
            channel="oncall",
            to_state="firing",
            attempt=attempt,
            outcome=cast("Outcome", outcome),
            at_ms=at_ms,
            status=status,
        )
        return encode_delivery(made)

    return [
        step(1, "started", T0_MS, 0),
        step(1, "failed", T0_MS + 9, 500),
        step(2, "started", T0_MS + 99, 0),
        step(2, "delivered", T0_MS + 99, 200),
    ]
