"""Silences as programs and forms send them, and as all are told of them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypedDict

import msgspec

from flowgauge.console.web.acts import person
from flowgauge.schemas.control import Silence
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.hours import Hours, Span, hours_of
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.silence_form import SilenceAsked, format_every, format_matcher
from flowgauge.schemas.silencing import SilenceInForce, matcher_tests
from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.clickhouse.hidable import HIDABLE_MAX, StoredIncident

SILENCE_BYTES_MAX = 65_536  # 16 of the longest matchers and a reason, as a form writes them, fit
SHOWN_MAX = 100  # incidents that a preview names, of those open and of those of late
LATE_MS = 7 * 86_400_000  # how far back a preview and the list look
LATE_MAX = 100  # silences over that are told
LASTS_DEFAULT = "1w"  # of a preview: every day and hour of a week is in it
EXAMPLE: Final = {
    "matchers": ['flow=~"orders-.*"', "severity!=critical"],
    "lasts": "2h",
    "reason": "The database moves.",
    "by": "ann",
}
EXAMPLE_ID = "orders-move"

State = Literal["active", "recurring", "scheduled", "expired"]


class WindowTold(TypedDict):
    """A stretch of time, its end not in it."""

    start: str
    end: str


class SilenceTold(TypedDict):
    """A silence. `tenant` is whose incidents it hides, "*" everybody's; `ends` when it ends, or was ended.

    It is active while it hides, recurring between two of its windows, scheduled before it starts, and expired. `window`
    is the one that it is in or the next, null where there is none. `expired_by` is who ended it before its time.
    """

    silence_id: str
    tenant: str
    state: State
    matchers: list[str]
    starts: str
    ends: str
    every: str | None
    timezone: str | None
    window: WindowTold | None
    reason: str
    by: str
    added: str
    expired_by: str | None


class SilenceList(TypedDict):
    """Silences of a tenant and of everybody, by their ends; those that are over the newest first, after the others."""

    silences: list[SilenceTold]


class HiddenIncident(TypedDict):
    """An incident that a silence would hide."""

    incident_id: str
    tenant: str
    rule: str
    severity: str
    key: dict[str, str]
    opened_at: str


class HiddenOf(TypedDict):
    """How many of the `counted` incidents would be hidden, and the newest of these."""

    counted: int
    hidden: int
    incidents: list[HiddenIncident]


class PreviewTold(TypedDict):
    """What a silence would hide: of what is open now, and of what opened in the past 7 days, in its hours.

    `is_cut` where there are more incidents than one preview looks at: the oldest are left out.
    """

    says: str
    open: HiddenOf
    late: HiddenOf
    is_cut: bool


def read_asked(body: bytes | Mapping[str, object], login: str, *, is_preview: bool = False) -> SilenceAsked:
    """Return the silence that a body asks for; `login` says so where the body does not say who.

    Raises BadInput with the field where it is not as expected.
    """
    try:
        asked = (
            msgspec.json.decode(body, type=SilenceAsked)
            if isinstance(body, bytes)
            else msgspec.convert(body, type=SilenceAsked)
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"the body, such as {msgspec.json.encode(EXAMPLE).decode()}: {error}") from None
    if is_preview:  # neither who, why nor how long changes what is hidden
        lasts = asked.lasts if asked.ends or asked.lasts else LASTS_DEFAULT
        return msgspec.structs.replace(asked, lasts=lasts, reason=asked.reason.strip() or "a preview")
    return msgspec.structs.replace(asked, by=person(asked.by or login))


def silence_json(each: SilenceInForce, now_ms: int) -> SilenceTold:
    """Return a silence as it stands."""
    silence, window = each.silence, window_of(each, now_ms)
    recurrence = silence.recurrence
    return {
        "silence_id": silence.silence_id,
        "tenant": each.added.tenant,
        "state": state_of(each, now_ms),
        "matchers": [format_matcher(matcher) for matcher in silence.matchers],
        "starts": rfc3339(silence.starts_ms),
        "ends": rfc3339(max(each.ends_ms, 0)),
        "every": format_every(recurrence) if recurrence else None,
        "timezone": recurrence.timezone if recurrence else None,
        "window": {"start": rfc3339(window.from_ms), "end": rfc3339(window.to_ms)} if window else None,
        "reason": silence.reason,
        "by": each.added.by,
        "added": rfc3339(each.added.at_ms),
        "expired_by": each.expired.by if each.expired else None,
    }


def state_of(each: SilenceInForce, now_ms: int) -> State:
    """Return how a silence stands."""
    if now_ms >= each.ends_ms:
        return "expired"
    if now_ms < each.silence.starts_ms:
        return "scheduled"
    window = window_of(each, now_ms)
    return "active" if window and window.from_ms <= now_ms else "recurring"


def window_of(each: SilenceInForce, now_ms: int) -> Span | None:
    """Return the time in which it hides, or hides next, from now on; None where that is over."""
    from_ms = max(now_ms, each.silence.starts_ms)
    if from_ms >= each.ends_ms:
        return None
    hours = _hours(each.silence)
    if hours is None:
        return None if each.silence.recurrence else Span(from_ms, each.ends_ms, is_within=True)
    return next(hours.windows(from_ms, each.ends_ms), None)


def listed(silences: Sequence[SilenceInForce], now_ms: int, *, with_expired: bool) -> SilenceList:
    """Return those that go on or will, and `with_expired` the newest of those that ended in the last 7 days."""
    ahead = [each for each in silences if each.ends_ms > now_ms]
    over = [each for each in reversed(silences) if now_ms - LATE_MS <= each.ends_ms <= now_ms]
    shown = [*ahead, *(over[:LATE_MAX] if with_expired else ())]
    return {"silences": [silence_json(each, now_ms) for each in shown]}


def previewed(silence: Silence, incidents: Sequence[StoredIncident], now_ms: int) -> PreviewTold:
    """Return what of `incidents` the silence would hide, by its matchers and, of what opened of late, its hours."""
    tests, hours = matcher_tests(silence.matchers), _hours(silence)
    open_ = [each for each in incidents if each.is_open]
    late = [each for each in incidents if each.opened_at_ms >= now_ms - LATE_MS]
    matching = {each.incident_id for each in incidents if all(test(each) for test in tests)}
    hidden = [each for each in open_ if each.incident_id in matching]
    late_hidden = [each for each in late if each.incident_id in matching and _is_within(hours, each.opened_at_ms)]
    says = (
        f"{len(hidden)} of {counted(len(open_), 'incident')} open now and {len(late_hidden)} of {len(late)} that "
        "opened in the past 7 days would be hidden"
    )
    return {
        "says": says,
        "open": _hidden_of(open_, hidden),
        "late": _hidden_of(late, late_hidden),
        "is_cut": len(incidents) >= HIDABLE_MAX,
    }


def whose(asked: SilenceAsked, tenant: str) -> str:
    """Return whose incidents the silence is about."""
    return ANY_TENANT if asked.everyone else tenant


def _hidden_of(of: Sequence[StoredIncident], hidden: Sequence[StoredIncident]) -> HiddenOf:
    return {"counted": len(of), "hidden": len(hidden), "incidents": [_hidden(each) for each in hidden[:SHOWN_MAX]]}


def _hidden(each: StoredIncident) -> HiddenIncident:
    return {
        "incident_id": each.incident_id,
        "tenant": each.tenant,
        "rule": each.rule,
        "severity": each.severity,
        "key": each.key,
        "opened_at": rfc3339(each.opened_at_ms),
    }


def _is_within(hours: Hours | None, at_ms: int) -> bool:
    return hours is None or hours.span(at_ms, at_ms + 1).is_within


def _hours(silence: Silence) -> Hours | None:
    """Return the hours of a recurring silence; None of another, and where nobody here knows its zone."""
    try:
        return hours_of(silence.recurrence) if silence.recurrence else None
    except ValueError:
        return None
