"""What the API's description says of acts on incidents. Pure."""

from collections.abc import Mapping
from typing import Final

from flowgauge.console.web.acts import BODIES, EXAMPLES, Verb
from flowgauge.console.web.answer_records import HandledIncident
from flowgauge.console.web.metric_operations import TENANT
from flowgauge.console.web.openapi import OF_QUESTIONS, Content, Operation, Parameter

INCIDENT_ID: Final = Parameter(
    name="incident_id", about="Its id, or the first six or more of its digits", example="0123456789abcdef"
)
TITLES: Mapping[Verb, str] = {
    "ack": "Say that somebody looks after an incident",
    "assign": "Say whose an incident is",
    "note": "Write something down about an incident",
    "resolve": "Say that an incident is over, whatever its rule says",
    "merge": "Make an incident part of another",
}


def act_path(verb: Verb) -> str:
    """Return the path of an act."""
    return f"/v1/incidents/{{incident_id}}/{verb}"


ACT_OPERATIONS = tuple(
    Operation(
        method="POST",
        path=act_path(verb),
        title=title,
        about="Durable when it is answered. Who does it is what the body says; the token proves the tenant alone.",
        parameters=(INCIDENT_ID, TENANT),
        body={"application/json": Content(BODIES[verb], EXAMPLES[verb])},
        answer=HandledIncident,
        refusals=(*OF_QUESTIONS, 404, 413, 415),
    )
    for verb, title in TITLES.items()
)
