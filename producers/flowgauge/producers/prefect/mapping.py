"""Prefect's published events and logs as flowgauge event objects. Pure.

Input is the JSON that Prefect puts on its topics `events` and `logs`, decoded. Output is the event of the
wire (design: the event), as a plain dict ready for the publisher: no `tenant` (the gateway sets it) and
no field that is absent or empty. What is not understood comes back as `Unmappable` with the reason;
nothing raises. What becomes of each field:

    event    id, occurred, event, payload, follows   as they are (times in UTC)
             prefect.resource.id | name | role       id | name | role; other labels keep their names, and
                                                     a label called id, name or role that would be
                                                     overwritten becomes label.id, label.name, label.role
             received                                dropped: the log's append time says the same
             any other field                         under `extra`
    log      name, level, message                    payload.logger, payload.level (a name), payload.message
             timestamp                               occurred
             created, updated                        dropped: empty until Prefect stores the log
             any other field                         under `extra`
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

import msgspec

from flowgauge.producers.connector_event import EventJson
from flowgauge.producers.prefect.flow_cache import RunSeen
from flowgauge.producers.prefect.states import canonical_state
from flowgauge.producers.stable_id import stable_id

LOG_EVENT: Final = "log.write"

_FLOW: Final = "prefect.flow."
_FLOW_RUN: Final = "prefect.flow-run."
_TASK_RUN: Final = "prefect.task-run."

# The first prefix that fits decides. An asset's resource id is its own URI, so its event name is asked too.
_KIND_BY_RESOURCE: Final = (
    (_FLOW_RUN, "flow-run"),
    (_TASK_RUN, "task-run"),
    ("prefect.worker.", "worker"),
    ("prefect.runner.", "worker"),
    ("prefect.work-pool.", "worker"),
    ("prefect.work-queue.", "worker"),
    ("prefect.asset.", "asset"),
)
_ASSET_EVENTS: Final = "prefect.asset."

_RENAMED: Final = {
    "prefect.resource.id": "id",
    "prefect.resource.name": "name",
    "prefect.resource.role": "role",
}
_EVENT_FIELDS: Final = frozenset({"id", "occurred", "event", "resource", "related", "payload", "follows", "received"})
_LOG_FIELDS: Final = frozenset(
    {"id", "created", "updated", "name", "level", "message", "timestamp", "flow_run_id", "task_run_id"}
)
_LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

# Identity of logs that carry none: a random but fixed namespace.
_LOG_NAMESPACE: Final = uuid.UUID("7d0f7a53-8f0f-4f2c-9a55-3d7f3b8f1c20")


@dataclass(frozen=True, slots=True)
class Unmappable:
    """Input that is no Prefect event or log, with what was expected and what came."""

    reason: str


class _OddInputError(Exception):
    """Inside this file only: carries the reason up to the public function, which returns it."""


def map_event(data: object) -> EventJson | Unmappable:
    """Map one message of Prefect's topic `events`."""
    try:
        return _event(_object(data, "event"))
    except _OddInputError as odd:
        return Unmappable(str(odd))


def map_log(data: object, run: RunSeen | None) -> EventJson | Unmappable:
    """Map one message of Prefect's topic `logs`; `run` is what is known of its flow run.

    A log without an id gets one made of its contents, so that the same log always has the same.
    """
    try:
        return _log(_object(data, "log"), run)
    except _OddInputError as odd:
        return Unmappable(str(odd))


def run_of_log(data: object) -> str | None:
    """Return the id of the flow run that a log belongs to, if it names one."""
    if not isinstance(data, dict):
        return None
    run = cast("dict[str, object]", data).get("flow_run_id")
    return run if isinstance(run, str) and run else None


def seen_in(event: EventJson) -> tuple[str, RunSeen] | None:
    """Return the run that a mapped event tells the flow of, with what it tells."""
    run, flow = event.get("run"), event.get("flow")
    if not isinstance(run, str) or not isinstance(flow, str):
        return None
    return run, RunSeen(flow, _run_name(event, f"{_FLOW_RUN}{run}"))


def utc_time(value: object) -> datetime | None:
    """Read an RFC 3339 time with an offset; None for anything else, a time without one included."""
    try:
        moment = msgspec.convert(value, datetime)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return None


def rfc3339(moment: datetime) -> str:
    """Write a UTC time as Prefect does: microseconds and Z."""
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _event(data: Mapping[str, object]) -> EventJson:
    name = _text(data, "event")
    resource = _labels(data.get("resource"), "resource", ("id",))
    related = _related(data.get("related"))
    payload = _payload(data.get("payload"))
    kind = _kind(name, resource["id"])
    mapped: EventJson = {
        "id": _uuid(data.get("id"), "id"),
        "occurred": _time(data, "occurred"),
        "event": name,
        "kind": kind,
        "flow": _flow(resource, related),
        "run": _bare_id(_FLOW_RUN, "flow-run", resource, related),
        "task": _bare_id(_TASK_RUN, "task-run", resource, related),
        "state": _state(kind, resource),
        "scheduled_for": _scheduled_for(kind, payload),
        "resource": resource,
        "related": related,
        "payload": payload,
        "follows": None if data.get("follows") is None else _uuid(data["follows"], "follows"),
        "extra": _others(data, _EVENT_FIELDS),
    }
    return _without_empty(mapped)


def _log(data: Mapping[str, object], run: RunSeen | None) -> EventJson:
    run_id, task_id = _optional_text(data, "flow_run_id"), _optional_text(data, "task_run_id")
    logger = _optional_text(data, "name") or "unknown"
    level, message = _level(data.get("level")), data.get("message")
    if not isinstance(message, str):
        raise _OddInputError(f"message: expected a string, got {_shown(message)}")
    occurred = _time(data, "timestamp")
    identity = data.get("id")
    if identity is None:
        identity = stable_id(_LOG_NAMESPACE, occurred, run_id, task_id, logger, level, message)
    run_labels = _log_run(run_id, run)
    mapped: EventJson = {
        "id": _uuid(identity, "id"),
        "occurred": occurred,
        "event": LOG_EVENT,
        "kind": "log",
        "flow": None if run is None else run.flow,
        "run": run_id,
        "task": task_id,
        "resource": _log_resource(task_id, run_labels, logger),
        # A task's log is about the task, and related to its run.
        "related": [{**run_labels, "role": "flow-run"}] if task_id and run_labels else None,
        "payload": {"level": level, "logger": logger, "message": message},
        "extra": _others(data, _LOG_FIELDS),
    }
    return _without_empty(mapped)


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _OddInputError(f"expected one {what} as a JSON object, got {_shown(value)}")
    return cast("dict[str, object]", value)


def _text(data: Mapping[str, object], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not value:
        raise _OddInputError(f"{field}: expected a string that is not empty, got {_shown(value)}")
    return value


def _optional_text(data: Mapping[str, object], field: str) -> str | None:
    return None if data.get(field) in (None, "") else _text(data, field)


def _uuid(value: object, field: str) -> str:
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise _OddInputError(f"{field}: expected a UUID, got {_shown(value)}") from None


def _time(data: Mapping[str, object], field: str) -> str:
    moment = utc_time(data.get(field))
    if moment is None:
        raise _OddInputError(f"{field}: expected an RFC 3339 time with an offset, got {_shown(data.get(field))}")
    return rfc3339(moment)


def _labels(value: object, where: str, required: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _OddInputError(f"{where}: expected an object of labels, got {_shown(value)}")
    given = cast("dict[str, object]", value)
    labels: dict[str, str] = {}
    for name, label in given.items():
        if label is None:
            continue
        short = _RENAMED.get(name)
        if short is None:
            short = f"label.{name}" if f"prefect.resource.{name}" in given else name
        # Prefect's labels are strings; anything else in a hand-made one is kept as its JSON text.
        labels[short] = label if isinstance(label, str) else msgspec.json.encode(label).decode()
    for short in required:
        if not labels.get(short):
            raise _OddInputError(f"{where}: expected a label prefect.resource.{short} that is not empty")
    return labels


def _related(value: object) -> list[dict[str, str]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _OddInputError(f"related: expected a list, got {_shown(value)}")
    entries = cast("list[object]", value)
    return [_labels(entry, f"related[{at}]", ("id", "role")) for at, entry in enumerate(entries)]


def _payload(value: object) -> Mapping[str, object]:
    return {} if value is None else _object(value, "payload")


def _kind(event: str, resource_id: str) -> str:
    for prefix, kind in _KIND_BY_RESOURCE:
        if resource_id.startswith(prefix):
            return kind
    return "asset" if event.startswith(_ASSET_EVENTS) else "other"


def _flow(resource: Mapping[str, str], related: list[dict[str, str]]) -> str | None:
    if resource["id"].startswith(_FLOW):
        return resource.get("name")
    return next((r["name"] for r in related if r["role"] == "flow" and r.get("name")), None)


def _bare_id(prefix: str, role: str, resource: Mapping[str, str], related: list[dict[str, str]]) -> str | None:
    if resource["id"].startswith(prefix):
        return resource["id"].removeprefix(prefix)
    ids = (r["id"] for r in related if r["role"] == role and r["id"].startswith(prefix))
    return next((full.removeprefix(prefix) for full in ids), None)


def _state(kind: str, resource: Mapping[str, str]) -> str | None:
    if kind not in ("flow-run", "task-run"):
        return None
    return canonical_state(resource.get("prefect.state-type"), resource.get("prefect.state-name"))


def _scheduled_for(kind: str, payload: Mapping[str, object]) -> str | None:
    # Only task runs say when they were to start; of flow runs Prefect publishes no scheduled time.
    if kind != "task-run":
        return None
    task_run = payload.get("task_run")
    if not isinstance(task_run, dict):
        return None
    expected = utc_time(cast("dict[str, object]", task_run).get("expected_start_time"))
    return None if expected is None else rfc3339(expected)


def _level(value: object) -> str:
    if isinstance(value, str) and value.upper() in _LEVELS:
        return value.upper()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _OddInputError(f"level: expected a logging level, got {_shown(value)}")
    number = value
    # Of two that are equally near the lower is taken: 25 is below a warning.
    return min(_LEVELS, key=lambda name: (abs(_LEVELS[name] - number), _LEVELS[name]))


def _log_run(run_id: str | None, run: RunSeen | None) -> dict[str, str]:
    if run_id is None:
        return {}
    labels = {"id": f"{_FLOW_RUN}{run_id}"}
    return labels | {"name": run.name} if run is not None and run.name else labels


def _log_resource(task_id: str | None, run_labels: dict[str, str], logger: str) -> dict[str, str]:
    if task_id is not None:
        return {"id": f"{_TASK_RUN}{task_id}"}
    return run_labels or {"id": f"prefect.logger.{logger}"}


def _run_name(event: EventJson, resource_id: str) -> str | None:
    about = [cast("dict[str, str]", event["resource"])]
    about += cast("list[dict[str, str]]", event.get("related", []))
    return next((labels["name"] for labels in about if labels["id"] == resource_id and "name" in labels), None)


def _others(data: Mapping[str, object], known: frozenset[str]) -> EventJson:
    return {name: value for name, value in data.items() if name not in known and value is not None}


def _without_empty(event: EventJson) -> EventJson:
    return {name: value for name, value in event.items() if value is not None and value not in ({}, [])}


def _shown(value: object) -> str:
    return repr(value)[:80]
