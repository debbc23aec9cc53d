"""What the page of silences says: the list, the form as it was filled in, and what a preview found. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flowgauge.console.web.silences import HiddenIncident, PreviewTold, SilenceTold, read_asked
from flowgauge.console.web.words import SEVERITIES, Mark, Moment, mark, moment
from flowgauge.schemas.control import Matcher
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.silence_form import SilenceAsked, format_matcher
from flowgauge.schemas.times import parse_time_ms

TEXTS = ("matchers", "lasts", "starts", "ends", "every", "timezone", "reason", "by")
MATCHERS_SHOWN = 20  # lines of a form that are looked at: more than a silence may have
STATES = {
    "active": Mark("Active", "check", "is-pending"),
    "recurring": Mark("Recurring", "retry", "is-idle"),
    "scheduled": Mark("Scheduled", "clock", "is-idle"),
    "expired": Mark("Expired", "dash", "is-idle"),
}


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """One silence in the list."""

    silence_id: str
    state: Mark
    hides: tuple[str, ...]
    starts: Moment
    ends: Moment
    every: str
    window: tuple[Moment, Moment] | None  # of a recurring one: the one it is in, or the next
    reason: str
    by: str
    expired_by: str
    can_end: bool


@dataclass(frozen=True, slots=True)
class HiddenRow:
    """An incident that a preview found."""

    incident_id: str
    rule: str
    key: tuple[tuple[str, str], ...]
    severity: Mark
    opened: Moment


@dataclass(frozen=True, slots=True)
class PreviewView:
    """What a preview found."""

    says: str
    groups: tuple[tuple[str, tuple[HiddenRow, ...]], ...]


@dataclass(frozen=True, slots=True)
class SilencePage:
    """Everything the page says. `fields` are the form's, as they were filled in."""

    rows: tuple[SilenceRow, ...]
    fields: Mapping[str, str]
    everything: bool
    problem: str
    preview: PreviewView | None


def silence_page(
    told: Sequence[SilenceTold],
    fields: Mapping[str, str],
    now_ms: int,
    *,
    problem: str = "",
    preview: PreviewTold | None = None,
    is_operator: bool = False,
) -> SilencePage:
    """Return the page of silences."""
    return SilencePage(
        rows=tuple(_row(each, now_ms, is_operator=is_operator) for each in told),
        fields={name: fields.get(name, "") for name in TEXTS},
        everything=bool(fields.get("everything")),
        problem=problem,
        preview=_preview(preview, now_ms) if preview else None,
    )


def asked_in(fields: Mapping[str, str], login: str, *, is_preview: bool) -> SilenceAsked:
    """Return the silence that a form asks for; raise BadInput with the field where it is not as expected."""
    texts = {name: fields.get(name, "").strip() for name in TEXTS}
    lines = [line.strip() for line in texts.pop("matchers").splitlines() if line.strip()]
    everything = bool(fields.get("everything"))
    return read_asked(
        {**texts, "matchers": lines[:MATCHERS_SHOWN], "everything": everything}, login, is_preview=is_preview
    )


def silence_query(rule: str, key: Mapping[str, str]) -> str:
    """Return the query with which the form is filled in to hide incidents of a rule and key."""
    fields = {"rule": rule, **key}
    lines = [format_matcher(Matcher(name, "=", value)) for name, value in fields.items() if value.isprintable()]
    return urlencode({"matchers": "\n".join(lines)})


def _row(told: SilenceTold, now_ms: int, *, is_operator: bool) -> SilenceRow:
    window = told["window"]
    is_of_all = told["tenant"] == ANY_TENANT
    return SilenceRow(
        silence_id=told["silence_id"],
        state=STATES[told["state"]],
        hides=(*(["of all tenants"] if is_of_all else []), *(told["matchers"] or ["everything"])),
        starts=_moment(told["starts"], now_ms),
        ends=_moment(told["ends"], now_ms),
        every=f"{told['every']} {told['timezone']}" if told["every"] else "",
        window=(_moment(window["start"], now_ms), _moment(window["end"], now_ms)) if window and told["every"] else None,
        reason=told["reason"],
        by=told["by"],
        expired_by=told["expired_by"] or "",
        can_end=told["state"] != "expired" and (is_operator or not is_of_all),
    )


def _preview(told: PreviewTold, now_ms: int) -> PreviewView:
    cut = "; the oldest were left out" if told["is_cut"] else ""
    groups = (("Open now", told["open"]["incidents"]), ("Of the past 7 days", told["late"]["incidents"]))
    return PreviewView(
        says=f"{told['says']}{cut}.",
        groups=tuple((words, tuple(_hidden(each, now_ms) for each in of)) for words, of in groups if of),
    )


def _hidden(told: HiddenIncident, now_ms: int) -> HiddenRow:
    return HiddenRow(
        incident_id=told["incident_id"],
        rule=told["rule"],
        key=tuple(told["key"].items()),
        severity=mark(SEVERITIES, told["severity"]),
        opened=_moment(told["opened_at"], now_ms),
    )


def _moment(text: str, now_ms: int) -> Moment:
    return moment(parse_time_ms(text), now_ms)
