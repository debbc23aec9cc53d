"""What the API's description says of the door for events. Pure."""

from typing import Any, Final

import msgspec

from flowgauge.console.web.openapi import Content, Operation, Schema
from flowgauge.producers.answer import Answer
from flowgauge.schemas.event import Event
from flowgauge.schemas.times import rfc3339

NOT_SENT: Final = ("tenant", "extra")  # the token says whose it is; fields that are not known are gathered
ONE: Schema = {"$ref": "#/components/schemas/Event"}
MANY: Schema = {"type": "array", "items": ONE}
EVENT_ID: Final = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def intake_operation(now_ms: int) -> Operation:
    """Return what a process that takes events does; the example occurred at `now_ms`."""
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
            "application/json": Content({"anyOf": [ONE, MANY]}, [example]),
            "application/x-ndjson": Content({"type": "string"}, f"{line}\n"),
        },
        answer=Answer,
        refusals=(400, 401, 403, 408, 413, 415, 429, 503),
        schemas={"Event": _event_schema()},
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
