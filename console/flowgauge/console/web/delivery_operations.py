"""What the API's description says of deliveries. Pure."""

from typing import Final

from flowgauge.console.web.deliveries import (
    EXAMPLE_ID,
    LAG,
    LANE_CHARS_MAX,
    DeliveryList,
    ReplayAll,
    ReplayOne,
    ReplayTold,
    WholeDelivery,
)
from flowgauge.console.web.metric_operations import LIMIT, SINCE, TENANT
from flowgauge.console.web.openapi import OF_QUESTIONS, TEXT, Content, Operation, Parameter
from flowgauge.schemas.delivery import OUTCOMES

DELIVERIES: Final = "/v1/deliveries"
DELIVERY: Final = "/v1/deliveries/{delivery_id}"
REPLAY_ONE: Final = "/v1/deliveries/{delivery_id}/replay"
REPLAY_ALL: Final = "/v1/deliveries/replay"
DELIVERY_ID: Final = Parameter(
    name="delivery_id", about="Its id, or the first six or more of its digits", example=EXAMPLE_ID
)

DELIVERY_OPERATIONS = (
    Operation(
        method="GET",
        path=DELIVERIES,
        title="Deliveries as they stand, the newest first",
        about=LAG,
        parameters=(
            SINCE,
            Parameter(
                name="channel",
                about="Only those to this channel; `action:NAME` is an action",
                schema={**TEXT, "maxLength": LANE_CHARS_MAX},
                example="data-oncall",
            ),
            Parameter(
                name="outcome", about="Only those that stand so", schema={"enum": list(OUTCOMES)}, example="dead"
            ),
            LIMIT,
            TENANT,
        ),
        answer=DeliveryList,
    ),
    Operation(
        method="GET",
        path=DELIVERY,
        title="One delivery, with all that was recorded of it",
        about=LAG,
        parameters=(DELIVERY_ID, TENANT),
        answer=WholeDelivery,
        refusals=(*OF_QUESTIONS, 404),
    ),
    Operation(
        method="POST",
        path=REPLAY_ALL,
        title="Send again what was given up since a time",
        about="Durable when it is answered. It tells how many deliveries are known to be given up.",
        parameters=(TENANT,),
        body={"application/json": Content(ReplayAll, {"channel": "data-oncall", "since": "1d", "by": "ann"})},
        answer=ReplayTold,
        refusals=(*OF_QUESTIONS, 413, 415),
    ),
    Operation(
        method="POST",
        path=REPLAY_ONE,
        title="Send again a delivery that was given up, under the same id",
        about="Durable when it is answered.",
        parameters=(DELIVERY_ID, TENANT),
        body={"application/json": Content(ReplayOne, {"by": "ann"})},
        answer=ReplayTold,
        refusals=(*OF_QUESTIONS, 404, 409, 413, 415),
    ),
)
