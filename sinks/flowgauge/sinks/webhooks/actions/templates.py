"""The templates of an action: texts in the language of summaries, alone or as the texts of a JSON value. Pure.

    {"text": "{{ flow }} is {{ state }}", "tags": ["a"]}  ──►  {"text": "orders is firing", "tags": ["a"]}

JSON is built of values and never of text, so nothing that a run is called can add to it. A text without a template
stays as it is, line breaks included. Names that are missing are empty, as in a summary.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema

from flowgauge.schemas.summary import TEMPLATE_CHARS_MAX, check_template, render_template, summarize, summary_values
from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.message import incident_link

TEXTS_MAX = 200  # of one JSON value: an incident, not a document
DEPTH_MAX = 16
_BEGINS = ("{{", "{%", "{#")


class CannotRender(Exception):  # says what cannot be done; bounded words, no values
    """The templates of an action give nothing that can be sent."""


def values_of(notice: Notice) -> dict[str, object]:
    """Return the names that a template may use: those of a summary, and the incident's own."""
    transition = notice.transition
    return summary_values(transition) | {
        "incident_id": transition.incident_id,
        "transition_id": transition.transition_id,
        "delivery_id": notice.delivery_id,
        "summary": summarize(transition),
        "opened_at": rfc3339(transition.opened_at_ms),
        "at": rfc3339(transition.at_ms),
        "link": incident_link(transition.incident_id, notice.public_url) or "",
    }


def render_text(template: str, values: Mapping[str, object]) -> str:
    """Return the text of `template`; raise CannotRender where it fails."""
    if not _is_template(template):
        return template
    try:
        return render_template(template, values)
    except Exception:  # noqa: BLE001  # whatever it is: nothing is sent, and people are told
        raise CannotRender("a template fails") from None


def render_target(template: str, values: Mapping[str, object], what: str) -> str:
    """Return the text of `template`, which names `what` an action is about; raise CannotRender where it is empty."""
    text = render_text(template, values).strip()
    if not text or text in {".", ".."}:
        raise CannotRender(f"its {what} is empty here")
    return text


def render_json(written: JsonValue, values: Mapping[str, object]) -> JsonValue:
    """Return `written` with each of its texts rendered, but for the names of fields; raise CannotRender."""
    match written:
        case str():
            return render_text(written, values)
        case list():
            return [render_json(each, values) for each in written]
        case dict():
            return {name: render_json(each, values) for name, each in written.items()}
        case _:
            return written


def _is_template(text: str) -> bool:
    return any(begins in text for begins in _BEGINS)


def _checked_text(text: str) -> str:
    if _is_template(text) and (complaint := check_template(text)):
        raise ValueError(complaint)
    return text


def _checked_json(written: JsonValue) -> JsonValue:
    for number, (text, depth) in enumerate(_texts_in(written, 0)):
        if depth > DEPTH_MAX or number >= TEXTS_MAX:
            raise ValueError(f"at most {TEXTS_MAX} texts, nested {DEPTH_MAX} deep, are sent")
        _checked_text(text)
    return written


def _texts_in(written: JsonValue, depth: int) -> Iterator[tuple[str, int]]:
    match written:
        case str():
            yield written, depth
        case list():
            for each in written:
                yield from _texts_in(each, depth + 1)
        case dict():
            for each in written.values():
                yield from _texts_in(each, depth + 1)
        case _:
            return


TemplateText: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=TEMPLATE_CHARS_MAX), AfterValidator(_checked_text)
]
TemplateJson: TypeAlias = Annotated[JsonValue, AfterValidator(_checked_json), WithJsonSchema({})]
