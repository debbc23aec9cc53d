"""What the API's description says of silences. Pure."""

from typing import Final

from flowgauge.console.web.metric_operations import TENANT
from flowgauge.console.web.openapi import OF_QUESTIONS, Content, Operation, Parameter
from flowgauge.console.web.silences import EXAMPLE, EXAMPLE_ID, PreviewTold, SilenceList, SilenceTold
from flowgauge.schemas.silence_form import SilenceAsked

SILENCES: Final = "/v1/silences"
PREVIEW: Final = "/v1/silences/preview"
SILENCE: Final = "/v1/silences/{silence_id}"
_BODY = {"application/json": Content(SilenceAsked, EXAMPLE)}
_WRITING = (400, 401, 403, 503)

SILENCE_OPERATIONS = (
    Operation(
        method="GET",
        path=SILENCES,
        title="Silences, by their ends",
        parameters=(
            Parameter(
                name="expired",
                about="Also those that ended in the past 7 days",
                schema={"type": "boolean", "default": False},
                example="true",
            ),
            TENANT,
        ),
        answer=SilenceList,
        refusals=(400, 401, 403),
    ),
    Operation(
        method="POST",
        path=SILENCES,
        title="Hide matching incidents from channels until a time",
        about="Durable when it is answered. With an `id`, the same asked again adds nothing.",
        parameters=(TENANT,),
        body=_BODY,
        answer=SilenceTold,
        refusals=(*_WRITING, 413, 415),
    ),
    Operation(
        method="POST",
        path=PREVIEW,
        title="What a silence would hide: of what is open, and of what opened in the past 7 days",
        parameters=(TENANT,),
        body=_BODY,
        answer=PreviewTold,
        refusals=(*OF_QUESTIONS, 413, 415),
    ),
    Operation(
        method="DELETE",
        path=SILENCE,
        title="End a silence now",
        about="Durable when it is answered. What still fires is told at once. One that is over stays as it is.",
        parameters=(
            Parameter(name="silence_id", about="Its id", example=EXAMPLE_ID),
            Parameter(name="by", about="Who ends it", example="ann", required=True),
            TENANT,
        ),
        answer=SilenceTold,
        refusals=(*_WRITING, 404),
    ),
)
