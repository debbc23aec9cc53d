"""Prefect's events as they come over the wire, each as the bytes of one of ours. Pure, but for giving others a turn."""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from flowgauge.producers.gateway.intake import EVENT_COST_BYTES, HERE_BYTES_MAX, TURN_BYTES, Intake, Unfit
from flowgauge.producers.prefect.mapping import Unmappable, map_event
from flowgauge.schemas.check import decode_json
from flowgauge.schemas.errors import InvalidEvent

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


async def mapped(intake: Intake, raws: Sequence[bytes]) -> list[bytes | Unfit]:
    """Return what to hand in for each of `raws`, in their order."""
    found: list[bytes | Unfit] = []
    turn = 0
    for raw in raws:
        turn += len(raw) + EVENT_COST_BYTES
        if turn > TURN_BYTES:
            turn = 0
            await asyncio.sleep(0)
        if len(raw) > HERE_BYTES_MAX:
            found.append(await intake.heavy(len(raw), partial(mapped_one, raw)))
        else:
            found.append(mapped_one(raw))
    return found


def mapped_one(raw: bytes) -> bytes | Unfit:
    """Return the event that `raw` says, or why it says none."""
    try:
        event = map_event(decode_json(raw, _decode))
    except InvalidEvent as invalid:
        return Unfit(raw, invalid)
    except RecursionError:
        return Unfit(raw, InvalidEvent("too deep", "objects and arrays are nested deeper than the decoder's stack"))
    if isinstance(event, Unmappable):
        return Unfit(raw, InvalidEvent("wrong field", event.reason))
    try:
        return _encode(event)
    except (ValueError, OverflowError) as error:  # a number, or half a surrogate, that only the decoder takes
        return Unfit(raw, InvalidEvent("not JSON", str(error)))
