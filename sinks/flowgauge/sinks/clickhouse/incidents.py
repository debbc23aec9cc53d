"""Incidents as people look at them: the list, and one with its transitions, deliveries, failing runs and their logs.

Everything is read from transitions, deliveries, runs and events; distinct ids, so a replayed record changes nothing.
"""

import asyncio
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, cast

import structlog

from flowgauge.schemas.flapping import FLAPPING_SPAN_MS, Flapping, Lived, flapping_among
from flowgauge.schemas.transition import RULE_CHANGED, RULE_REMOVED
from flowgauge.sinks.clickhouse.call_settings import ROWS_MAX
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.metric import InvalidQuestion
from flowgauge.sinks.clickhouse.questions import question, question_of, to_the_point
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import rows_of
from flowgauge.sinks.clickhouse.timeline import DAY_MS

OPEN_MAX = 500  # open incidents on one page
LOG_LINES_MAX = 5  # error lines shown of a run
ASKED_MAX = 1_000  # incidents whose flapping one question asks about: their ids go with it, some 40 bytes each
LIVED_MAX = 100_000  # incidents that decide about them: of one key more than one every other second of two days
_ID_BEGINS = re.compile(r"[0-9a-fA-F]{6,31}")  # as much of an id as people copy; fewer digits say little

log_lines = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident: how it stands now, and the numbers with which it last fired."""

    incident_id: str
    tenant: str
    rule: str
    rule_kind: str
    severity: str
    key: dict[str, str]
    labels: dict[str, str]
    state: str  # of the latest transition
    is_open: bool  # False for a point incident: one event, told once
    opened_at_ms: int
    at_ms: int  # of the latest transition
    fired_at_ms: int
    reason: str  # why it last fired
    latest_reason: str
    value: float | None
    threshold: float | None
    samples: int
    late_samples: int
    window_ms: int
    summary: str  # the rule's template
    runbook: str = ""  # the address of what to do about it
    examples: list["Example"]

    @property
    def resolved_at_ms(self) -> int | None:
        """When it resolved; None while it is open or for a point incident."""
        return self.at_ms if self.state == "resolved" else None


@dataclass(frozen=True, slots=True)
class Example:
    """A run that contributed to the breach."""

    occurred_us: int
    event_id: str
    run: str
    flow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One transition of the incident."""

    seq: int
    transition_id: str
    from_state: str
    to_state: str
    at_ms: int
    reason: str
    value: float | None
    threshold: float | None
    samples: int
    late_samples: int
    window_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """How telling one channel of one transition stands."""

    delivery_id: str
    transition_id: str
    channel: str
    to_state: str
    attempts: int
    outcome: str
    status: int
    reason: str
    at_ms: int
    next_attempt_ms: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One error line of a run. `time` is RFC 3339."""

    time: str
    level: str
    logger: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One example run as it stands now. Times are RFC 3339; None where nothing was heard of it."""

    run: str
    flow: str
    state: str
    scheduled_for: str | None
    started: str | None
    ended: str | None
    attempts: int
    seconds: float | None
    message: str
    error_lines: list[LogLine]  # the newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What ended in a window, of the incident's flow where its key names one, else of its tenant."""

    any_kind: int  # runs of flows and tasks, and whatever else ends
    finished: int  # flow runs that completed or failed
    failed: int


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident with all that is known of it. `ended` only of a rate that is firing, `flapping` where it does."""

    incident: Incident
    transitions: list[Step]
    deliveries: list[DeliveryView]
    runs: list[RunView]
    ended: Ended | None = None
    flapping: Flapping | None = None


async def open_incidents(store: ClickHouseStore, tenant: str) -> list[Incident]:
    """Return the incidents that are open now, the newest first, at most OPEN_MAX."""
    return await _list(store, tenant, open_only=True, limit=OPEN_MAX)


async def open_by_rule(
    store: ClickHouseStore, tenant: str, *, pairs_max: int = ROWS_MAX
) -> dict[tuple[str, str], int] | None:
    """Return how many incidents are open by rule and tenant, of `tenant` or of ANY_TENANT.

    None where that may be more than `pairs_max` pairs: one that is left out would read as nothing open.
    """
    found = await store.query(
        question_of("open_by_rule", tenant), {"tenant": tenant, "limit": pairs_max}, seen=rows_of(tenant)
    )
    rows = cast("list[tuple[str, str, int]]", found.rows)
    return {(rule, whose): count for rule, whose, count in rows} if len(rows) < pairs_max else None


async def incidents(store: ClickHouseStore, tenant: str, limit: int = 100) -> list[Incident]:
    """Return the newest incidents that ever fired, at most `limit`."""
    return await _list(store, tenant, limit=min(max(limit, 1), ROWS_MAX))


async def incident(
    store: ClickHouseStore, tenant: str, incident_id: str, *, clock_ms: int | None = None
) -> IncidentView | None:
    """Return everything about the incident whose id this is, or begins so; None when this tenant has none.

    With `clock_ms`, where detection stands now, also what ended in the window before it. Raises InvalidQuestion where
    several ids begin so.
    """
    found = await incident_named(store, tenant, incident_id)
    if found is None:
        return None
    of = {"tenant": tenant, "incident_id": found.incident_id}
    steps = await store.query(question("incident_transitions"), of, seen=rows_of(tenant))
    told = await store.query(question("incident_deliveries"), of, seen=rows_of(tenant))
    return IncidentView(
        found,
        [Step(**cast("dict[str, Any]", row)) for row in steps.dicts()],
        [_delivery(row) for row in told.rows],
        await example_runs(store, tenant, found.examples),
        await _ended(store, found, clock_ms) if clock_ms is not None else None,
        (await flapping(store, tenant, [found])).get(found.incident_id),
    )


async def incident_named(store: ClickHouseStore, tenant: str, incident_id: str) -> Incident | None:
    """Return the incident whose id this is, or begins so; None when this tenant has none.

    Raises InvalidQuestion where several ids begin so.
    """
    found = await _list(store, tenant, incident_id=incident_id, limit=1) if incident_id else []
    if not found and _ID_BEGINS.fullmatch(incident_id):
        found = await _list(store, tenant, id_begins=incident_id.lower(), limit=2)
    if len(found) > 1:
        ids = " and ".join(each.incident_id for each in found)
        raise InvalidQuestion(f"incident: several ids begin with {incident_id}, such as {ids}: write more of it")
    return found[0] if found else None


async def example_runs(store: ClickHouseStore, tenant: str, examples: Sequence[Example]) -> list[RunView]:
    """Return what is known of the runs of `examples`, each with its last error lines, by when they ended."""
    runs = sorted({example.run for example in examples if example.run})
    if not runs:
        return []
    asked = {"tenant": tenant, "runs": runs}
    found = await store.query(to_the_point(question("incident_runs"), frozenset[str]()), asked, seen=rows_of(tenant))
    known = cast("list[dict[str, Any]]", found.dicts())
    if not known:
        return []
    # Logs of a run lie about its life, as a timeline takes it (`timeline`).
    since_ms = min(row.pop("first_ms") for row in known) - DAY_MS
    until_ms = max(row.pop("last_ms") for row in known) + DAY_MS + 1
    told = {"lines": LOG_LINES_MAX, "since_ms": since_ms, "until_ms": until_ms}
    logs = await store.query(question("incident_logs"), {**asked, **told}, seen=rows_of(tenant))
    lines: dict[object, list[LogLine]] = {}
    for row in logs.dicts():
        line = LogLine(**cast("dict[str, Any]", {name: row[name] for name in LogLine.__slots__}))
        lines.setdefault(row["run"], []).append(line)
    return [RunView(**row, error_lines=lines.get(row["run"], [])) for row in known]


async def flapping(
    store: ClickHouseStore, tenant: str, of: Sequence[Incident], *, lived_max: int = LIVED_MAX
) -> dict[str, Flapping]:
    """Return by id how those of the incidents `of` flap that do.

    Nothing where ClickHouse cannot tell, nor of the oldest where more than `lived_max` incidents decide: how incidents
    stand matters more. The log says so.
    """
    alerts = [each for each in of if "event_id" not in each.key]  # a point is over at once
    told: dict[str, Flapping] = {}
    try:
        for begin in range(0, len(alerts), ASKED_MAX):
            told |= await _flapping(store, tenant, alerts[begin : begin + ASKED_MAX], lived_max)
    except EngineTrouble as trouble:
        log_lines.warning("flapping not told", tenant=tenant, error=str(trouble))
    return told


async def _flapping(store: ClickHouseStore, tenant: str, of: Sequence[Incident], lived_max: int) -> dict[str, Flapping]:
    opened_ms = {each.opened_at_ms for each in of}
    days = {moment_ms // DAY_MS for each_ms in opened_ms for moment_ms in (each_ms - FLAPPING_SPAN_MS, each_ms)}
    asked = {
        "shown": [each.incident_id for each in of],
        "opened_ms": sorted(opened_ms),
        "days": sorted(days),
        "edits": [RULE_CHANGED, RULE_REMOVED],
        "limit": lived_max,
    }
    found = await store.query(question("flapping"), {"tenant": tenant, **asked}, seen=rows_of(tenant))
    lived = cast("Sequence[Sequence[Sequence[Any]]]", found.column("lived") if found.rows else [])
    whole_ms = 0
    if sum(map(len, lived)) >= lived_max:
        whole_ms = min(opened for alert in lived for _, opened, *_ in alert) + FLAPPING_SPAN_MS
        log_lines.warning("flapping not told of the oldest", tenant=tenant, incidents_max=lived_max)
    ids = {each.incident_id for each in of if each.opened_at_ms > whole_ms}
    return await asyncio.to_thread(_flapping_in, lived, ids)


def _flapping_in(lived: Sequence[Sequence[Sequence[Any]]], ids: Set[str]) -> dict[str, Flapping]:
    alerts = (flapping_among([Lived(*values) for values in alert], ids) for alert in lived)
    return {incident_id: flaps for alert in alerts for incident_id, flaps in alert.items()}


async def _ended(store: ClickHouseStore, of: Incident, clock_ms: int) -> Ended | None:
    if not (of.is_open and of.state == "firing" and of.rule_kind == "failure_rate"):
        return None
    window = {"since_ms": clock_ms - of.window_ms, "until_ms": clock_ms}
    asked = {"tenant": of.tenant, "flow": of.key.get("flow", ""), **window}
    (row,) = (await store.query(question("incident_window"), asked, seen=rows_of(of.tenant))).dicts()
    return Ended(**cast("dict[str, Any]", row))


async def _list(
    store: ClickHouseStore,
    tenant: str,
    *,
    limit: int,
    incident_id: str = "",
    id_begins: str = "",
    open_only: bool = False,
) -> list[Incident]:
    named = {"incident_id": incident_id, "id_begins": id_begins}
    asked = {"tenant": tenant, **named, "open_only": open_only, "limit": limit}
    sql = to_the_point(question("incidents"), frozenset(name for name, value in named.items() if value))
    found = await store.query(sql, asked, seen=rows_of(tenant))
    return [_incident(tenant, row) for row in found.rows]


def _incident(tenant: str, row: Sequence[object]) -> Incident:
    values: tuple[Any, ...] = tuple(row)
    found_id, rule_is, key, latest, opened_at_ms, why, examples, labels, summary, runbook, is_open = values
    rule, rule_kind, severity = rule_is
    state, at_ms, latest_reason = latest
    value, threshold, samples, late_samples, window_ms, reason, fired_at_ms = why
    return Incident(
        incident_id=found_id,
        tenant=tenant,
        rule=rule,
        rule_kind=rule_kind,
        severity=severity,
        key=key,
        labels=labels,
        state=state,
        is_open=bool(is_open),
        opened_at_ms=opened_at_ms,
        at_ms=at_ms,
        fired_at_ms=fired_at_ms,
        reason=reason,
        latest_reason=latest_reason,
        value=value,
        threshold=threshold,
        samples=samples,
        late_samples=late_samples,
        window_ms=window_ms,
        summary=summary,
        runbook=runbook,
        examples=[_example(each) for each in examples],
    )


def _example(value: object) -> Example:
    found: Any = value
    if isinstance(found, dict):
        return Example(**cast("dict[str, Any]", found))
    return Example(*found)


def _delivery(row: Sequence[object]) -> DeliveryView:
    values: tuple[Any, ...] = tuple(row)
    delivery_id, transition_id, channel, to_state, attempts, latest = values
    return DeliveryView(
        delivery_id=delivery_id,
        transition_id=transition_id,
        channel=channel,
        to_state=to_state,
        attempts=attempts,
        **newest_record(latest),
    )


def newest_record(latest: Sequence[Any]) -> dict[str, Any]:
    """Return the fields of a DeliveryView that its newest record says, from the tuple that a question gives of it."""
    return dict(zip(("outcome", "status", "reason", "at_ms", "next_attempt_ms", "elapsed_ms"), latest, strict=True))
