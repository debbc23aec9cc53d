"""The forms in which people write the fields of a rule, as JSON Schema: what an editor completes and checks. Pure.

`rule` reads what is written; here stands the same as far as a schema can say it. A form may let pass what `rule`
refuses, such as a window of 400 days.
"""

from typing import Any

from flowgauge.schemas.event import KINDS, STATES

Form = dict[str, Any]

PLAIN_FIELDS = ("event", "kind", "state", "flow", "task", "run")
LABEL_FIELD = r"^(resource\..+|related\.[^.]+\..+)$"
_DURATION = r"^([0-9]+(ms|s|m|h|d|w))+$"
_PERCENT = r"^0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$"
_UNITS = "A number with its unit: ms, s, m, h, d or w, such as 30s, 10m, 1h30m or 7d; at most 31d."

DURATION: Form = {"anyOf": [{"type": "string", "pattern": _DURATION, "description": _UNITS}, {"const": 0}]}
WINDOW: Form = {"anyOf": [{"type": "string", "pattern": _DURATION, "description": f"{_UNITS} At least 1s."}]}
SHARE: Form = {
    "anyOf": [
        {"type": "string", "pattern": _PERCENT, "description": "A share such as 20%."},
        {"type": "number", "minimum": 0, "maximum": 1, "description": "A share such as 0.2."},
    ]
}
RUNBOOK_CHARS_MAX = 1_000  # it goes with every message, which has its own bound
RUNBOOK: Form = {"type": "string", "maxLength": RUNBOOK_CHARS_MAX, "pattern": "^(https?://[!-~]+)?$"}
FIELD: Form = {"anyOf": [{"enum": list(PLAIN_FIELDS)}, {"type": "string", "pattern": LABEL_FIELD}]}


def _one_or_many(form: Form, most: int) -> Form:
    return {"anyOf": [form, {"type": "array", "items": form, "minItems": 1, "maxItems": most}]}


def _patterns(words: tuple[str, ...] = (), *, longest: int, most: int) -> Form:
    """Return the form of patterns: globs, or with `words` one of these, or what may stand for some of them."""
    text: Form = {"type": "string", "maxLength": longest}
    if not words:
        return _one_or_many({"anyOf": [text, {"type": ["integer", "boolean"]}]}, most)
    known = [*words, *(f"!{word}" for word in words)]
    return _one_or_many({"anyOf": [{"enum": known}, {**text, "pattern": r"[*?\[]"}]}, most)


def match_form(*, longest: int, most: int) -> Form:
    """Return the form of `match`: patterns of at most `longest` characters, at most `most` to a field."""
    words = {"kind": KINDS, "state": STATES}
    forms = {name: _patterns(words.get(name, ()), longest=longest, most=most) for name in PLAIN_FIELDS}
    return {
        "type": "object",
        "properties": forms,
        "patternProperties": {LABEL_FIELD: _patterns(longest=longest, most=most)},
        "additionalProperties": False,
    }


def labels_form(*, longest: int, most: int) -> Form:
    """Return the form of patterns by label, whatever the labels are called."""
    return {"type": "object", "additionalProperties": _patterns(longest=longest, most=most)}


def for_each_form(*, most: int) -> Form:
    """Return the form of `for_each`: one field, or a list of at most `most`."""
    return {"anyOf": [FIELD, {"type": "array", "items": FIELD, "uniqueItems": True, "maxItems": most}]}
