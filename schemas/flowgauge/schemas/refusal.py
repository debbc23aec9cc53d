"""What a sender is told of an event that was refused: the fault, and what to write instead. Pure.

    Invalid enum value 'Failed' - at `$.state`     →  `state`: got "Failed": did you mean "failed"?
    a JSON object names one key twice              →  … : `flow`

Only refused events come here, so that the way of good ones stays as short as it is.
"""

import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, cast

import msgspec

from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import KINDS, LABELS_MAX, RELATED_MAX, STATES

SHOWN_CHARS_MAX = 40  # of what came: enough to know it again
_AT = re.compile(r" - at `\$\.(\w+)(.*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`$")
_decode = msgspec.json.Decoder(dict[str, Any]).decode

_UUID = "expected a UUID, hex digits in the form 8-4-4-4-12, as Python's uuid4() makes it"
_TIME = 'expected a time with its zone, such as "2026-11-24T09:30:00Z"'
_FORMS: Mapping[str, str] = {"id": _UUID, "follows": _UUID, "occurred": _TIME, "scheduled_for": _TIME}
_EXAMPLES: Mapping[str, str] = {
    "id": f"{_UUID}; a retry sends the same one",
    "occurred": _TIME,
    "event": 'expected a name such as "asset.materialized"',
    "resource": 'expected what it happened to, such as {"id": "s3://lake/orders"}',
}
_CHOICES: Mapping[str, tuple[str, ...]] = {"kind": KINDS, "state": STATES}


def refusal(invalid: InvalidEvent, raw: bytes) -> str:
    """Return the detail of `invalid` with its remedy. `raw` is what was refused, or empty where it is too long to read.

    It never raises: where nothing more is known, the detail is as it was.
    """
    match invalid.reason:
        case "wrong field":
            return _wrong_field(invalid.detail, raw)
        case "duplicate key":
            key = _key_named_twice(raw)
            return f"{invalid.detail}: `{key[:SHOWN_CHARS_MAX]}`" if key else invalid.detail
        case "clock far off":
            return f"{invalid.detail}: check the sender's clock"
        case _:
            return invalid.detail


def _wrong_field(detail: str, raw: bytes) -> str:
    if missing := _MISSING.search(detail):
        name = missing[1]
        return f"`{name}` is missing: {_EXAMPLES[name]}" if name in _EXAMPLES else detail
    found = _AT.search(detail)
    if not found:
        return detail
    name, within = found[1], found[2]
    value = _fields(raw).get(name)
    if value is None or (within and name not in {"resource", "related"}):
        return detail
    say = _SAID.get(name)
    return (say(name, value) if say else None) or detail


def _choice(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        return None
    known = _CHOICES[name]
    near = get_close_matches(value.lower(), known, n=1)
    remedy = f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join(known)}"
    return f"`{name}`: got {_shown(value)}: {remedy}"


def _form(name: str, value: object) -> str:
    return f"`{name}`: got {_shown(value)}: {_FORMS[name]}"


def _labels(name: str, value: object) -> str | None:
    if isinstance(value, dict):
        labels = cast("dict[str, object]", value)
        if len(labels) > LABELS_MAX:
            return f"`{name}` has {len(labels)} labels: at most {LABELS_MAX} are kept"
        wrong = next((key for key, text in labels.items() if not isinstance(text, str)), None)
        if wrong is not None:
            return f"`{name}`: the label {_shown(wrong)} is {_shown(labels[wrong])}: a label is text, in quotes"
    return None


def _related(name: str, value: object) -> str | None:
    if not isinstance(value, list):
        return None
    related = cast("list[object]", value)
    if len(related) > RELATED_MAX:
        return f"`{name}` has {len(related)} entries: at most {RELATED_MAX} are kept"
    return next((said for at, each in enumerate(related) if (said := _labels(f"{name}[{at}]", each))), None)


_SAID: Mapping[str, Callable[[str, object], str | None]] = {
    **dict.fromkeys(_CHOICES, _choice),
    **dict.fromkeys(_FORMS, _form),
    "resource": _labels,
    "related": _related,
}


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


class _Twice(Exception):
    pass


def _key_named_twice(raw: bytes) -> str:
    """Return the key that an object in `raw` names twice, "" where none does."""
    try:
        json.loads(raw, object_pairs_hook=_refuse_twins, parse_int=str, parse_float=str)
    except _Twice as twice:
        return str(twice)
    except (ValueError, RecursionError):
        return ""
    return ""


def _refuse_twins(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Twice(key)
        seen.add(key)
