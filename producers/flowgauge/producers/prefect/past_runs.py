"""A run's states, as Prefect's API tells them, as the events that Prefect published when they were entered. Pure.

    POST /flow_runs/filter ──► a run ──┐
    GET /flow_run_states/  ──► states ─┼─► one event a state: as its broker would have told it, then `mapping`
    flows, deployments, …  ──► names ──┘                     id: the state's, which is what Prefect's own event has

So what a connector brought as well is one event in every answer. Each is marked as history: no rule sees it (ADR 26).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowgauge.producers.connector_event import EventJson
from flowgauge.producers.prefect.look_back import Json
from flowgauge.producers.prefect.mapping import Unmappable, map_event
from flowgauge.producers.prefect.run_lookup import scheduled_for

MESSAGE_CHARS_MAX: Final = 100_000  # as Prefect cuts messages in its events
_TASK_RUN_SAYS: Final = (
    *("name", "task_key", "dynamic_key", "tags", "run_count", "expected_start_time", "start_time", "end_time"),
    "total_run_time",
)


@dataclass(frozen=True, slots=True)
class About:
    """The rows that a flow run names, {} of each that is not there."""

    flow: Json = field(default_factory=dict[str, object])
    deployment: Json = field(default_factory=dict[str, object])
    work_pool: Json = field(default_factory=dict[str, object])


def flow_run_events(run: Json, states: Sequence[Json], about: About) -> Iterator[EventJson | Unmappable]:
    """Yield the event of each state of a flow run, in their order."""
    related = _related(run, about)
    expected = scheduled_for(run)
    for event in _events("flow-run", run, states, related):
        mapped = _as_history(event)
        if expected is not None and not isinstance(mapped, Unmappable):
            mapped["scheduled_for"] = expected
        yield mapped


def task_run_events(task: Json, states: Sequence[Json], run: Json, about: About) -> Iterator[EventJson | Unmappable]:
    """Yield the event of each state of a task run of `run`, in their order."""
    of_run = {**_thing("flow-run", run), "prefect.resource.role": "flow-run"}
    related = [of_run, *_role("flow", about.flow), *_tags(task)]
    said = {name: task.get(name) for name in _TASK_RUN_SAYS}
    for event in _events("task-run", task, states, related):
        event["payload"]["task_run"] = said
        yield _as_history(event)


def as_history(mapped: EventJson) -> EventJson:
    """Return the event marked as history."""
    return {**mapped, "history": True}


def _as_history(event: Json) -> EventJson | Unmappable:
    mapped = map_event(event)
    return mapped if isinstance(mapped, Unmappable) else as_history(mapped)


def _events(kind: str, run: Json, states: Sequence[Json], related: Sequence[Json]) -> Iterator[Json]:
    before: Json | None = None
    for state in sorted(states, key=lambda each: str(each.get("timestamp"))):
        name, type_, message = state.get("name"), state.get("type"), str(state.get("message") or "")[:MESSAGE_CHARS_MAX]
        resource = {
            **_thing(kind, run),
            "prefect.run-count": str(run.get("run_count") or 0),
            "prefect.state-message": message,
            "prefect.state-name": name,
            "prefect.state-timestamp": state.get("timestamp"),
            "prefect.state-type": type_,
        }
        told = {"type": type_, "name": name, "message": message}
        payload = {
            "intended": {"from": before and before["type"], "to": type_},
            "initial_state": before and {"type": before["type"], "name": before["name"]},
            "validated_state": told,
        }
        yield {
            "id": state.get("id"),
            "occurred": state.get("timestamp"),
            "event": f"prefect.{kind}.{name}",
            "resource": resource,
            "related": list(related),
            "payload": payload,
        }
        before = told


def _related(run: Json, about: About) -> list[Json]:
    queue = {"id": run.get("work_queue_id"), "name": run.get("work_queue_name")} if run.get("work_queue_id") else {}
    pools = _role("work-pool", about.work_pool)
    for pool in pools:
        pool["prefect.work-pool.type"] = about.work_pool.get("type")
    return [
        *_role("flow", about.flow),
        *_role("deployment", about.deployment),
        *_role("work-queue", queue),
        *pools,
        *_tags(run, about.flow, about.deployment),
    ]


def _role(role: str, thing: Json) -> list[Json]:
    return [{**_thing(role, thing), "prefect.resource.role": role}] if thing.get("id") else []


def _thing(kind: str, thing: Json) -> Json:
    return {"prefect.resource.id": f"prefect.{kind}.{thing.get('id')}", "prefect.resource.name": thing.get("name")}


def _tags(*things: Json) -> list[Json]:
    tags = sorted({str(tag) for thing in things for tag in thing.get("tags") or ()})
    return [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags]
