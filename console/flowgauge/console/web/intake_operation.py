"""What the API's description says of the doors for events. Pure."""

from typing import Any, Final

import msgspec

from flowgauge.console.web.openapi import Content, Operation, Parameter, Schema
from flowgauge.producers.answer import Answer
from flowgauge.producers.gateway.cloudevents import BATCH, ONE
from flowgauge.schemas.event import Event
from flowgauge.schemas.times import rfc3339

NOT_SENT: Final = ("tenant", "extra")  # the token says whose it is; fields that are not known are gathered
EVENT: Schema = {"$ref": "#/components/schemas/Event"}
EVENT_ID: Final = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def intake_operations(now_ms: int) -> tuple[Operation, ...]:
    """Return what a process that takes events does; the examples occurred at `now_ms`."""
    return (_events(now_ms), _cloudevents(now_ms), _hook(now_ms))


def _events(now_ms: int) -> Operation:
    example = {
        "id": EVENT_ID,
        "occurred": rfc3339(now_ms),
        "event": "flow-run.failed",
        "kind": "flow-run",
        "flow": "nightly-etl",
        "run": "nightly-etl-42",
        "state": "failed",
        "resource": {"id": "flow-run.nightly-etl-42"},
        "payload": {"message": "disk full"},
    }
    line = msgspec.json.encode(example).decode()
    return Operation(
        method="POST",
        path="/v1/events",
        title="Take events",
        about="One event, a list, or one a line; gzip is welcome. Each has its own answer: a bad one never costs a "
        "good neighbour. Accepted ones are durable. After 429 and 503 send the same events, with the same ids, again.",
        body={
            "application/json": Content({"anyOf": [EVENT, {"type": "array", "items": EVENT}]}, [example]),
            "application/x-ndjson": Content({"type": "string"}, f"{line}\n"),
        },
        answer=Answer,
        refusals=(400, 401, 403, 408, 413, 415, 429, 503),
        schemas={"Event": _event_schema()},
    )


def _cloudevents(now_ms: int) -> Operation:
    example = {
        "specversion": "1.0",
        "id": "42-failed",
        "source": "/scheduler",
        "type": "com.example.run.failed",
        "time": rfc3339(now_ms),
        "kind": "flow-run",
        "flow": "nightly-etl",
        "run": "nightly-etl-42",
        "state": "failed",
        "data": {"message": "disk full"},
    }
    one: Schema = {"type": "object", "required": ["specversion", "id", "source", "type"]}
    return Operation(
        method="POST",
        path="/v1/cloudevents",
        title="Take CloudEvents",
        about="CloudEvents 1.0: one (structured), a batch, or, under any other content type, one whose attributes are "
        "in `ce-` headers (binary). A batch is answered as events are; one alone with 204, or 400 when it never fits. "
        "After 503 send the same events again.",
        body={
            BATCH: Content({"type": "array", "items": one}, [example]),
            ONE: Content(one, example, status=204),
        },
        answer=Answer,
        refusals=(400, 401, 403, 408, 413, 415, 429, 503),
    )


def _hook(now_ms: int) -> Operation:
    return Operation(
        method="POST",
        path="/v1/hooks/{name}",
        title="Take a webhook",
        about="What another program sends in a form of its own: the file of hooks says what it becomes, and how its "
        "sender is known. `accepted` is 0 where the hook ignores it. After 422 it is in the dlq.",
        parameters=(Parameter(name="name", about="The hook's name", example="cron", required=True),),
        body={
            "application/json": Content({"type": "object"}, {"job": "backup", "slot": rfc3339(now_ms), "status": "ok"})
        },
        answer=Answer,
        refusals=(400, 401, 403, 404, 408, 413, 415, 422, 503),
    )


def _event_schema() -> Schema:
    """Return the schema of an event as it is sent: fields that flowgauge does not know may stand beside its own."""
    _, found = msgspec.json.schema_components([Event])
    schema: dict[str, Any] = found["Event"]
    fields = {name: field for name, field in schema["properties"].items() if name not in NOT_SENT}
    fields["resource"] = {**fields["resource"], "required": ["id"]}
    related = fields["related"]
    fields["related"] = {**related, "items": {**related["items"], "required": ["id", "role"]}}
    return {
        **schema,
        "description": "Everything an event says.",
        "properties": fields,
        "required": [name for name in schema["required"] if name not in NOT_SENT],
    }
