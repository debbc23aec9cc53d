"""`POST /api/v1/lineage` and `/api/v1/lineage/batch`: the door of OpenLineage's HTTP transport.

    200  {"accepted": n, "rejected": m, "errors": [{index, id, reason, detail}]}: counted are the events that became of
         what was sent, `index` is the place of the one that was sent
    422  nothing of it was accepted: it is in the dlq, and a client that raises tells its user why

All other refusals are those of POST /v1/events.
"""

from collections.abc import Sequence
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowgauge.producers.answer import Answer, EventError
from flowgauge.producers.gateway.batch_body import EVENTS_MAX
from flowgauge.producers.gateway.door import Door, Refused, answering, encode
from flowgauge.producers.gateway.http_events import content_type_of_events, events_of
from flowgauge.producers.gateway.intake import ERRORS_MAX, Unfit
from flowgauge.producers.openlineage import ASSETS_MAX, made_of, makes
from flowgauge.schemas.errors import InvalidEvent

AT_A_TIME = 200  # events of OpenLineage that are translated and stored together; each may become a hundred of ours
MADE_BYTES_MAX = 8 * 1_048_576  # once so much is made of them, it is stored before more is: what is made counts as held


def openlineage(door: Door) -> list[BaseRoute]:
    """Return the routes."""

    async def publish(request: Request) -> Response:
        tenant = door.tenant_of(request)
        content_type = content_type_of_events(request)
        async with door.body_of(request) as body:
            raws = await events_of(door, tenant, body, content_type)
            if len(raws) * (1 + ASSETS_MAX) > EVENTS_MAX:
                await door.intake.heavy(len(body), partial(_refuse_many, raws))
            answer = await _store(door, tenant, raws)
        status = 422 if answer.rejected and not answer.accepted else 200
        return Response(encode(answer), status, None, "application/json")

    paths = ("/api/v1/lineage", "/api/v1/lineage/batch")
    return [Route(path, answering(publish), methods=["POST"]) for path in paths]


def _refuse_many(raws: Sequence[bytes]) -> None:
    """Raise Refused where more events would become of `raws` than a request may bring in, before one is made."""
    if sum(map(makes, raws)) > EVENTS_MAX:
        raise Refused(413, f"more than {EVENTS_MAX} events would become of these: send smaller batches")


async def _store(door: Door, tenant: str, raws: Sequence[bytes]) -> Answer:
    answer = Answer(accepted=0, rejected=0)
    first = 0
    while first < len(raws):
        some = raws[first : first + AT_A_TIME]
        made, places = await door.intake.heavy(sum(map(len, some)), partial(_translated, some))
        with door.intake.holding(tenant, sum(len(each) for each in made if isinstance(each, bytes))):
            taken = await door.take(tenant, made, goes_on=first > 0)
        answer.accepted += len(taken.accepted)
        answer.rejected += len(taken.letters)
        for error in msgspec.convert(taken.errors, list[EventError])[: ERRORS_MAX - len(answer.errors)]:
            answer.errors.append(msgspec.structs.replace(error, index=first + places[error.index]))
        first += places[-1] + 1
    answer.errors_omitted = answer.rejected - len(answer.errors)
    return answer


def _translated(raws: Sequence[bytes]) -> tuple[list[bytes | Unfit], list[int]]:
    """Return what became of the first of `raws`, and for each of it the place in `raws` of what it came from."""
    made: list[bytes | Unfit] = []
    places: list[int] = []
    size = 0
    for place, raw in enumerate(raws):
        if size > MADE_BYTES_MAX:
            break
        try:
            made += (events := made_of(raw))
            size += sum(map(len, events))
        except InvalidEvent as invalid:
            made.append(Unfit(raw, invalid))
        places += [place] * (len(made) - len(places))
    return made, places
