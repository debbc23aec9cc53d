"""How numbers, times and states are said on pages. Pure.

A state is always a word with an icon and a tone; the tone is the CSS class, so colour is never alone.
"""

from dataclasses import dataclass

from flowgauge.processors.kinds import KINDS, Kind
from flowgauge.schemas.flapping import Flapping
from flowgauge.schemas.times import format_duration, rfc3339

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A word with its icon and its tone."""

    text: str
    icon: str
    tone: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as pages show it, in UTC: exact for machines, short for people, with how long ago it was."""

    iso: str
    text: str
    ago: str


HAPPENED = "happened"  # one event, told once: it was never open
STATES = {
    "pending": Mark("Pending", "clock", "is-pending"),
    "firing": Mark("Firing", "fire", "is-firing"),
    "recovering": Mark("Recovering", "falling", "is-pending"),
    "resolved": Mark("Resolved", "check", "is-resolved"),
    "no_data": Mark("No data", "gap", "is-unknown"),
    "inactive": Mark("Inactive", "dash", "is-idle"),
    HAPPENED: Mark("Happened", "bolt", "is-idle"),
}
SEVERITIES = {
    "critical": Mark("Critical", "fire", "is-firing"),
    "error": Mark("Error", "cross", "is-firing"),
    "warning": Mark("Warning", "warn", "is-pending"),
    "info": Mark("Info", "info", "is-idle"),
}
OUTCOMES = {
    "started": Mark("Sending", "clock", "is-pending"),
    "delivered": Mark("Delivered", "check", "is-resolved"),
    "failed": Mark("Will be retried", "retry", "is-pending"),
    "dead": Mark("Given up", "cross", "is-firing"),
    "superseded": Mark("Superseded by newer", "dash", "is-idle"),
    "backfilled": Mark("Recorded only", "dash", "is-idle"),
    "silenced": Mark("Silenced", "dash", "is-idle"),
}


def mark(marks: dict[str, Mark], name: str) -> Mark:
    """Return the mark of `name`; one that this page does not know is shown by its own name."""
    return marks.get(name) or Mark(name.replace("_", " ") or "–", "dash", "is-idle")


def moment(at_ms: int, now_ms: int) -> Moment:
    """Return `at_ms` as pages show it, seen from `now_ms`."""
    iso = rfc3339(at_ms)
    day, clock = iso[:10], iso[11:19]
    is_today = day == rfc3339(now_ms)[:10]
    return Moment(iso, f"{clock} UTC" if is_today else f"{day} {clock} UTC", ago(now_ms - at_ms))


def ago(ms: int) -> str:
    """Return how long ago, in one or two units, such as `4 min ago`."""
    if ms < 0:
        return "just now" if ms > -_MINUTE else f"in {span(-ms)}"
    return "just now" if ms < 2 * _SECOND else f"{span(ms)} ago"


def span(ms: int) -> str:
    """Return a length of time for people: the largest unit, and the next where it matters."""
    if ms < _SECOND:
        return f"{ms} ms"
    if ms < _MINUTE:
        return f"{ms // _SECOND} s"
    if ms < _HOUR:
        return f"{ms // _MINUTE} min" + (f" {ms % _MINUTE // _SECOND} s" if ms < 5 * _MINUTE else "")
    if ms < _DAY:
        return f"{ms // _HOUR} h {ms % _HOUR // _MINUTE} min"
    return f"{ms // _DAY} d {ms % _DAY // _HOUR} h"


def flapping_words(flapping: Flapping) -> str:
    """Return in words how an alert flaps, and what would damp it."""
    of = f"{flapping.incidents} incidents in {span(flapping.span_ms)}, shortest {span(flapping.shortest_ms)}"
    return f"flapping: {of}; consider `keep_firing_for: {format_duration(flapping.keep_firing_for_ms)}`"


def kind_of(rule_kind: str) -> type[Kind]:
    """Return the kind of that name; what all kinds have in common for one that this version does not know."""
    return KINDS.get(rule_kind, Kind)


def value_of(value: float | None, rule_kind: str) -> str:
    """Return a rule's value or threshold in its unit: a rate in percent, counts whole, seconds as a length of time."""
    if value is None:
        return "–"
    unit = kind_of(rule_kind).unit
    if unit == "share":
        return percent(value)
    if unit == "seconds":
        return span(round(value * 1000))
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def percent(share: float) -> str:
    """Return a share in percent, as summaries say it: with a decimal only where there is one."""
    return f"{round(share * 100, 1):g}%"


def shown_of(shown: int, of: int) -> str:
    """Return `5 of 10` where not all are shown, "" where they are."""
    return f"{shown:,} of {of:,}" if shown < of else ""


def count(number: int | float, unit: str, plural: str = "") -> str:
    """Return a number with its unit in the right form, such as `1 run` or `1,204 runs`."""
    return f"{number:,} {unit if number == 1 else plural or unit + 's'}"
