"""What Airflow's listeners are told, as flowgauge events. Pure: imports no Airflow.

    DAG run          kind flow-run   run   DAG/RUN                a run_id is unique within its DAG only
    task instance    kind task-run   task  DAG/RUN/TASK[MAP]      the same over all its tries
    asset event      kind asset      of the run that made it

The scheduler calls listeners within a transaction of its own. So of its records only columns are read, and of what is
related to them only what has been loaded: an attribute that is not would be a query. The scheduler has loaded the
columns; in the API server a record may have expired, and is loaded again when it is asked.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, cast

from flowgauge.producers.airflow.states import STATES
from flowgauge.producers.connector_event import CONNECTORS, EventJson, text, utc, without_empty
from flowgauge.producers.run_scope import TAGS_MAX
from flowgauge.producers.stable_id import stable_id

_OWNERS_OF_NOBODY: Final = frozenset({"", "airflow"})  # Airflow's default owner
_UNSCHEDULED: Final = frozenset({"backfill"})  # asked for now; their times lie in the past
_PASSWORD: Final = re.compile(r"(//[^/?#@:]*:)[^/?#]*@")  # Airflow itself drops it from some addresses only
_RUN_TIMES: Final = {"queued": "queued_at", "running": "start_date", "success": "end_date", "failed": "end_date"}


def dag_run_event(dag_run: Any, word: str, message: str = "") -> EventJson:
    """Map a DAG run that came into Airflow's state `word`. `message` is why, as Airflow says it."""
    key = f"{dag_run.dag_id}/{dag_run.run_id}"
    payload: dict[str, object] = {
        "run_type": text(dag_run.run_type),
        "logical_date": utc(dag_run.logical_date),
        "data_interval_start": utc(dag_run.data_interval_start),
        "data_interval_end": utc(dag_run.data_interval_end),
        "message": message if word == "failed" else "",
    }
    loaded = cast("dict[str, Any]", vars(dag_run))
    dag, model = loaded.get("dag"), loaded.get("dag_model")
    version = _attribute(dag_run, "created_dag_version_id")
    related = [
        _flow(dag_run.dag_id, version),
        *_deployment(_attribute(model, "bundle_name"), _attribute(dag_run, "bundle_version")),
        *_tags(dag),
        *_team(_attribute(dag_run, "team_name"), _attribute(dag, "owner")),
    ]
    cleared = _attribute(dag_run, "clear_number") or 0  # a run that is cleared runs again under its old id
    return _event(
        id=stable_id(CONNECTORS, "airflow", "dag-run", dag_run.dag_id, dag_run.run_id, cleared, word),
        occurred=utc(_attribute(dag_run, _RUN_TIMES[word])),
        event=f"airflow.dag-run.{word}",
        kind="flow-run",
        flow=dag_run.dag_id,
        run=key,
        state=STATES.runs[word],
        scheduled_for=_scheduled_for(dag_run),
        resource={"id": f"airflow.dag-run.{key}", "name": text(dag_run.run_id)},
        related=related,
        payload=without_empty(payload),
    )


def task_instance_event(instance: Any, word: str, message: str = "") -> EventJson:
    """Map a task instance that came into Airflow's state `word`: a worker's, or the database's record of it."""
    key, run = task_key(instance), f"{instance.dag_id}/{instance.run_id}"
    tried = instance.try_number
    payload = {"try_number": tried, "message": message}
    return _event(
        id=stable_id(CONNECTORS, "airflow", "task-instance", key, tried, word),
        occurred=utc(_attribute(instance, "start_date" if word == "running" else "end_date")),
        event=f"airflow.task-instance.{word}",
        kind="task-run",
        flow=instance.dag_id,
        run=run,
        task=key,
        state=STATES.tasks[word],
        resource=_task_labels(instance),
        related=[_run_labels(instance), *_task_related(instance)],
        payload=without_empty(payload),
    )


def word_of_failure(instance: Any) -> str:
    """Return the state of a task instance that failed: `failed` for good, or `up_for_retry`."""
    state = _attribute(instance, "state")
    return "up_for_retry" if _attribute(state, "value") == "up_for_retry" or state == "up_for_retry" else "failed"


def log_event(instance: Any, *, at: datetime, level: str, logger: str, message: str) -> EventJson:
    """Map a line that a task instance wrote; the publisher gives it an id, for it is written once."""
    return _event(
        occurred=utc(at),
        event="log.write",
        kind="log",
        flow=instance.dag_id,
        run=f"{instance.dag_id}/{instance.run_id}",
        task=task_key(instance),
        resource=_task_labels(instance),
        related=[_run_labels(instance)],
        payload={"level": level, "logger": logger, "message": message},
    )


def asset_event(told: Any, *, redact: Callable[[object], object]) -> EventJson:
    """Map an asset event; `rows` and `bytes` of its `extra` count as the run's. The publisher gives it an id.

    `redact` returns what it is given without secrets, as Airflow's own does.
    """
    dag, run = _attribute(told, "source_dag_id"), _attribute(told, "source_run_id")
    task = _attribute(told, "source_task_id")
    extra = redact(_attribute(told, "extra") or {})
    made_by = [_flow(dag, None)] if dag else []
    if dag and run:
        made_by.append({"id": f"airflow.dag-run.{dag}/{run}", "role": "flow-run", "name": text(run)})
    return _event(
        event="airflow.asset.changed",
        kind="asset",
        flow=dag,
        run=f"{dag}/{run}" if dag and run else None,
        task=_key(dag, run, task, _attribute(told, "source_map_index")) if dag and run and task else None,
        resource={"id": _address(told.asset.uri, redact), "name": _address(told.asset.name, redact)},
        related=made_by,
        payload=extra,
    )


def _address(address: object, redact: Callable[[object], object]) -> str:
    """Return an asset's URI, or the name that may be one, without the password in it."""
    return _PASSWORD.sub(r"\1***@", text(redact(text(address))))


def task_key(instance: Any) -> str:
    """Return the id of a task instance: one over all its tries."""
    return _key(instance.dag_id, instance.run_id, instance.task_id, _attribute(instance, "map_index"))


def _key(dag: object, run: object, task: object, map_index: object) -> str:
    mapped = f"[{map_index}]" if isinstance(map_index, int) and map_index >= 0 else ""
    return f"{dag}/{run}/{task}{mapped}"


def _event(**fields: object) -> EventJson:
    return without_empty(fields)


def _scheduled_for(dag_run: Any) -> datetime | None:
    if text(dag_run.run_type) in _UNSCHEDULED:
        return None
    times = ("run_after", "data_interval_end", "logical_date")
    return next((utc(at) for at in (_attribute(dag_run, name) for name in times) if at is not None), None)


def _run_labels(instance: Any) -> dict[str, str]:
    run = f"{instance.dag_id}/{instance.run_id}"
    return {"id": f"airflow.dag-run.{run}", "role": "flow-run", "name": text(instance.run_id)}


def _task_labels(instance: Any) -> dict[str, str]:
    return {"id": f"airflow.task-instance.{task_key(instance)}", "name": text(instance.task_id)}


def _task_related(instance: Any) -> list[dict[str, str]]:
    task = _attribute(instance, "task")
    bundle = _attribute(instance, "bundle_instance")
    context = _attribute(instance, "_ti_context_from_server")
    pool = _attribute(task, "pool") or _attribute(instance, "pool")
    queue = _attribute(instance, "queue")
    related = [_flow(instance.dag_id, _attribute(instance, "dag_version_id"))]
    related += _deployment(_attribute(bundle, "name"), _attribute(bundle, "version"))
    related += [{"id": f"airflow.pool.{pool}", "role": "work-pool", "name": text(pool)}] if pool else []
    related += [{"id": f"airflow.queue.{queue}", "role": "work-queue", "name": text(queue)}] if queue else []
    related += _tags(_attribute(task, "dag"))
    return related + _team(_attribute(_attribute(context, "dag_run"), "team_name"), _attribute(task, "owner"))


def _flow(dag_id: str, version: object) -> dict[str, str]:
    labels = {"id": f"airflow.dag.{dag_id}", "role": "flow", "name": dag_id}
    return labels if version is None else {**labels, "version": str(version)}


def _deployment(bundle: object, version: object) -> list[dict[str, str]]:
    if not bundle:
        return []
    labels = {"id": f"airflow.bundle.{bundle}", "role": "deployment", "name": text(bundle)}
    return [labels if not version else {**labels, "version": text(version)}]


def _tags(dag: Any) -> list[dict[str, str]]:
    tags: Sequence[str] = sorted(map(text, _attribute(dag, "tags") or ()))[:TAGS_MAX]
    return [{"id": f"tag.{tag}", "role": "tag", "name": tag} for tag in tags]


def _team(team: object, owner: object) -> list[dict[str, str]]:
    """Return the team, else the owner whom the DAG or the task names."""
    named = text(team or ("" if owner is None or owner in _OWNERS_OF_NOBODY else owner))
    return [{"id": f"team.{named}", "role": "team", "name": named}] if named else []


def _attribute(thing: Any, name: str) -> Any:
    """Return what may be missing: a record that its session has left, or a task without a DAG, raises when asked."""
    try:
        return None if thing is None else getattr(thing, name, None)
    except Exception:  # noqa: BLE001  # a label that cannot be read must not cost the event
        return None
