"""What stands in Dagster's event log, as flowgauge events. Pure: imports no Dagster.

    event of a run         kind flow-run   run   the run's id
    event of a step        kind task-run   task  RUN/STEP, the same over all its tries
    materialisation        kind asset      of the run that made it
    log line               kind log

The id of an event is made of its run and its number in that run's log, so it is the same however often it is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flowgauge.producers.connector_event import CONNECTORS, EventJson, text, utc, without_empty
from flowgauge.producers.dagster.states import STATES, STATUS_BY_EVENT
from flowgauge.producers.run_scope import TAGS_MAX
from flowgauge.producers.stable_id import stable_id

METADATA_MAX: Final = 100  # of one asset event: what describes it, not its data

_ASSET_EVENTS: Final = {"ASSET_MATERIALIZATION": "materialized", "ASSET_OBSERVATION": "observed"}
# What metadata counts as used by the run; the first is Dagster's own name.
_ROWS: Final = ("dagster/row_count", "rows", "row_count", "num_rows")
_BYTES: Final = ("bytes", "num_bytes", "size_bytes")
_LEVELS: Final = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"))
_TEAM_TAGS: Final = ("team", "owner")
_SYSTEM_TAGS: Final = ("dagster/", ".dagster/")
_CAUSES_MAX: Final = 20  # exceptions between Dagster's and the one that the user's code raised


@dataclass(frozen=True, slots=True)
class RunLabels:
    """What every event of one run says alike."""

    run: str
    flow: str
    scheduled_for: datetime | None
    related: tuple[dict[str, str], ...]
    labels: dict[str, str]


def labels_of(run: Any) -> RunLabels:
    """Read what is told of a run of Dagster's with each of its events."""
    tags: Mapping[str, str] = run.tags
    job = text(run.job_name)
    flow = {"id": f"dagster.job.{job}", "role": "flow", "name": job}
    if run.job_snapshot_id:
        flow["version"] = text(run.job_snapshot_id)
    location = tags.get("dagster/code_location") or getattr(run.remote_job_origin, "location_name", None)
    related = [flow]
    related += _related("deployment", "dagster.code-location", location)
    related += _related("schedule", "dagster.schedule", tags.get("dagster/schedule_name"))
    related += _related("sensor", "dagster.sensor", tags.get("dagster/sensor_name"))
    related += _related("parent-run", "dagster.run", tags.get("dagster/parent_run_id"))
    own = sorted(f"{name}:{value}" if value else name for name, value in tags.items() if _is_users(name))
    for tag in own[:TAGS_MAX]:
        related += _related("tag", "tag", tag)
    related += _related("team", "team", next((tags[name] for name in _TEAM_TAGS if tags.get(name)), None))
    return RunLabels(
        run=run.run_id,
        flow=job,
        scheduled_for=_scheduled_for(tags),
        related=tuple(related),
        labels={"id": f"dagster.run.{run.run_id}", "name": job},
    )


def mapped(run: RunLabels, number: int, entry: Any, *, level_min: int | None) -> EventJson | None:
    """Map the entry with that number in a run's log; None for what flowgauge does not tell.

    Log lines below `level_min` are left out, with None all of them.
    """
    said = entry.dagster_event
    if said is None:
        event = None if level_min is None or _number(entry.level) < level_min else _log(run, entry)
    elif said.event_type_value in STATUS_BY_EVENT:
        event = _of_run(run, STATUS_BY_EVENT[said.event_type_value], said)
    elif said.event_type_value in STATES.tasks and said.step_key:
        event = _of_step(run, said)
    elif said.event_type_value in _ASSET_EVENTS:
        event = _of_asset(run, said)
    else:
        event = None
    if event is None:
        return None
    identity = {
        "id": stable_id(CONNECTORS, "dagster", run.run, number),
        "occurred": datetime.fromtimestamp(entry.timestamp, UTC),
    }
    return without_empty(identity | event)


def _of_run(run: RunLabels, status: str, said: Any) -> EventJson:
    return {
        "event": f"dagster.run.{status}",
        "kind": "flow-run",
        "flow": run.flow,
        "run": run.run,
        "state": STATES.runs[status],
        "scheduled_for": run.scheduled_for,
        "resource": run.labels,
        "related": run.related,
        "payload": {"message": text(said.message)} if status == "FAILURE" and said.message else {},
    }


def _of_step(run: RunLabels, said: Any) -> EventJson:
    word = said.event_type_value
    failed = word in ("STEP_FAILURE", "STEP_UP_FOR_RETRY")
    return {
        "event": f"dagster.step.{word.removeprefix('STEP_')}",
        "kind": "task-run",
        "flow": run.flow,
        "run": run.run,
        "task": f"{run.run}/{said.step_key}",
        "state": STATES.tasks[word],
        "resource": _step_labels(run, said.step_key),
        "related": [{**run.labels, "role": "flow-run"}, *run.related],
        "payload": {"message": _why(said)} if failed else {},
    }


def _of_asset(run: RunLabels, said: Any) -> EventJson | None:
    asset = getattr(said.event_specific_data, "materialization", None) or getattr(
        said.event_specific_data, "asset_observation", None
    )
    if asset is None:
        return None
    metadata = _plain(asset.metadata)
    used = {"rows": _first_int(metadata, _ROWS), "bytes": _first_int(metadata, _BYTES)}
    name = "/".join(asset.asset_key.path)
    return {
        "event": f"dagster.asset.{_ASSET_EVENTS[said.event_type_value]}",
        "kind": "asset",
        "flow": run.flow,
        "run": run.run,
        "task": f"{run.run}/{said.step_key}" if said.step_key else None,
        "resource": {"id": f"dagster.asset.{name}", "name": name},
        "related": [{**run.labels, "role": "flow-run"}, *run.related],
        "payload": without_empty({**used, "partition": asset.partition, "metadata": metadata}),
    }


def _log(run: RunLabels, entry: Any) -> EventJson:
    level = _number(entry.level)
    step = entry.step_key
    return {
        "event": "log.write",
        "kind": "log",
        "flow": run.flow,
        "run": run.run,
        "task": f"{run.run}/{step}" if step else None,
        "resource": _step_labels(run, step) if step else run.labels,
        "related": [{**run.labels, "role": "flow-run"}] if step else [],
        "payload": {
            "level": next((name for least, name in _LEVELS if level >= least), "DEBUG"),
            "logger": text(step or run.flow),
            "message": text(entry.user_message),
        },
    }


def _step_labels(run: RunLabels, step: str) -> dict[str, str]:
    return {"id": f"dagster.step.{run.run}/{step}", "name": step}


def _related(role: str, prefix: str, name: object) -> list[dict[str, str]]:
    return [{"id": f"{prefix}.{name}", "role": role, "name": text(name)}] if name else []


def _is_users(tag: str) -> bool:
    return not tag.startswith(_SYSTEM_TAGS) and tag not in _TEAM_TAGS


def _scheduled_for(tags: Mapping[str, str]) -> datetime | None:
    """Return the schedule's tick. A run that executes another anew has that one's tags, and was asked for later."""
    if "dagster/parent_run_id" in tags:
        return None
    try:
        return utc(datetime.fromisoformat(tags[".dagster/scheduled_execution_time"]))
    except (KeyError, ValueError):
        return None


def _why(said: Any) -> str:
    """Return what the user's code raised: Dagster's error stands around it."""
    error = getattr(said.event_specific_data, "error", None)
    for _ in range(_CAUSES_MAX):
        cause = getattr(error, "cause", None)
        if cause is None:
            break
        error = cause
    return text(said.message if error is None else error.message).strip()


def _plain(metadata: Mapping[str, Any]) -> dict[str, object]:
    """Return what is a text or a number in an asset's metadata, at most METADATA_MAX of it."""
    values = ((text(name), getattr(value, "value", None)) for name, value in metadata.items())
    plain = [(name, value) for name, value in values if isinstance(value, str | int | float)]
    return {name: text(value) if isinstance(value, str) else value for name, value in plain[:METADATA_MAX]}


def _first_int(metadata: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    values = (metadata.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _number(level: str | int) -> int:
    if isinstance(level, int):
        return level
    return next((least for least, name in _LEVELS if name == level.upper()), 10)
