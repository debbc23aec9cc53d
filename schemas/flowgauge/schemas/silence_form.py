"""Silences as people write them, and back: `flow=~"orders-.*"`, `Sat,Sun 22:00-02:00`. Pure.

What is refused says which field, what came and what to write instead.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar, cast, get_args
from zoneinfo import available_timezones

import msgspec

from flowgauge.schemas.control import MATCHERS_MAX, TEXT_CHARS_MAX, Matcher, MatcherOp, Recurrence, Silence
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.hours import hours_of
from flowgauge.schemas.safe_pattern import check_pattern
from flowgauge.schemas.silencing import text_test
from flowgauge.schemas.times import WEEKDAYS, format_duration, parse_duration_ms, parse_time_ms, rfc3339

LENGTH_MAX_MS = 366 * 86_400_000  # a silence that outlives a year is a rule to be changed
FIELD_CHARS_MAX = 200
VALUE_CHARS_MAX = 1_024
PATTERNS_MAX = 4  # of one silence: each takes up to 200 kB, and `a|b` is one
ID_CHARS_MAX = 64
_SHOWN = 60  # characters of what came
_EXAMPLE = 'flow=~"orders-.*"'
_EVERY_EXAMPLE = "Sat,Sun 22:00-02:00"

_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{ID_CHARS_MAX}}}")
_MATCHER = re.compile(r"\s*([^\s=!~\"']+)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')  # other backslashes stay: patterns are full of them
_TO_ESCAPE = re.compile(r'(["\\])')
_EVERY = re.compile(r"\s*(.+?)\s+(\d{1,2}:\d{2})\s*-\s*(\d{1,2}:\d{2})\s*")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_DAY_NAMES = {name: day for day, whole in enumerate(WEEKDAYS) for name in (whole.lower(), whole[:3].lower())}
_ALL_DAYS = frozenset({"daily", "every day", "mon-sun"})
_DAY_MINUTES = 1_440
_Parsed = TypeVar("_Parsed")
_OPERATORS: tuple[str, ...] = get_args(MatcherOp)


class SilenceAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A silence as it is asked for. `matchers` must all hold, such as `flow=~"orders-.*"`; patterns match whole values.

    It `starts` now where that is left out, and goes on until it `ends`, or for as long as it `lasts`: one of the two
    is needed. With `every`, such as `Sat,Sun 22:00-02:00` by the clock of `timezone`, it hides in these hours alone.
    `everything` says that it is meant to hide all incidents, `everyone` (for the operator) those of all tenants. An
    `id` that was given before adds nothing.
    """

    matchers: list[str] = []
    starts: str = ""
    ends: str = ""
    lasts: str = ""
    reason: str = ""
    every: str = ""
    timezone: str = ""
    everything: bool = False
    everyone: bool = False
    id: str = ""
    by: str = ""


def silence_of(asked: SilenceAsked, *, silence_id: str, now_ms: int) -> Silence:
    """Return the silence that is asked for at `now_ms`; raise BadInput with the field and a remedy."""
    matchers = [_at(f"matchers[{at}]", parse_matcher, text) for at, text in enumerate(asked.matchers)]
    _refuse_too_many(matchers)
    if not asked.everything and all(text_test(each)("") for each in matchers):
        what = "each of them holds for an empty value" if matchers else "there is none"
        raise BadInput(
            f"matchers: {what}, so it would hide everything: write one such as {_EXAMPLE}, or say `everything`"
        )
    starts_ms = _at("starts", parse_time_ms, asked.starts) if asked.starts else now_ms
    ends_ms = _ends_ms(asked, starts_ms)
    _refuse_times(starts_ms, ends_ms, now_ms)
    reason = asked.reason.strip()
    if not reason:
        raise BadInput("reason: say why nobody is to be told, for whoever finds it")
    if len(reason) > TEXT_CHARS_MAX:
        raise BadInput(f"reason: at most {TEXT_CHARS_MAX} characters, got {len(reason)}")
    silence = Silence(
        silence_id=silence_id,
        matchers=matchers,
        starts_ms=starts_ms,
        ends_ms=ends_ms,
        reason=reason,
        recurrence=_recurrence(asked),
    )
    if silence.recurrence and not next(hours_of(silence.recurrence).windows(max(starts_ms, now_ms), ends_ms), None):
        raise BadInput(
            f"every: no window of {asked.every!r} lies before it ends, {rfc3339(ends_ms)}: let it last longer"
        )
    return silence


def check_id(text: str) -> str:
    """Return `text`, the id that a client gives a silence; raise BadInput where it cannot be one."""
    if not _ID.fullmatch(text):
        raise BadInput(
            f"id: expected at most {ID_CHARS_MAX} letters, digits and any of . _ : -, got {text[:_SHOWN]!r}: "
            "leave it out to be given one"
        )
    return text


def parse_matcher(text: str) -> Matcher:
    """Return the matcher that `text` says: a field, an operator and a value, in quotes or not.

    Raises ValueError with what to write instead.
    """
    found = _MATCHER.fullmatch(text)
    if not found:
        raise ValueError(
            f"expected a field, one of {' '.join(_OPERATORS)} and a value, as in {_EXAMPLE}, got {_shown(text)}"
        )
    field, op, written = found[1], cast("MatcherOp", found[2]), found[3]
    if len(field) > FIELD_CHARS_MAX:
        raise ValueError(f"a field has at most {FIELD_CHARS_MAX} characters, got {len(field)}")
    if written.startswith(("=", "~", "!")):
        raise ValueError(
            f"there is no operator {op + written[0]}: write one of {' '.join(_OPERATORS)}, as in {_EXAMPLE}"
        )
    value = _unquoted(written, text)
    if len(value) > VALUE_CHARS_MAX:
        raise ValueError(f"a value has at most {VALUE_CHARS_MAX} characters, got {len(value)}")
    if op in {"=~", "!~"}:
        check_pattern(value)
    elif "*" in written and op == "=" and not written.startswith('"'):
        raise ValueError(
            f'= compares with the text {_shown(value)} itself: write {field}=~"{_as_pattern(value)}" for a pattern, '
            "or put the text in quotes"
        )
    return Matcher(field, op, value)


def format_matcher(matcher: Matcher) -> str:
    """Return the text that `parse_matcher` reads back."""
    escaped = _TO_ESCAPE.sub(r"\\\1", matcher.value)
    return f'{matcher.field}{matcher.op}"{escaped}"'


def parse_every(text: str, timezone: str) -> Recurrence:
    """Return the hours that `text` says, such as `Sat,Sun 22:00-02:00`, `Mon-Fri 06:00-07:30` or `daily 02:00-03:00`.

    Raises ValueError with what to write instead.
    """
    found = _EVERY.fullmatch(text)
    if not found:
        raise ValueError(
            f"expected days and hours, as in {_EVERY_EXAMPLE!r} or 'daily 02:00-03:00', got {_shown(text)}"
        )
    from_minute, to_minute = _minute(found[2]), _minute(found[3], is_end=True)
    return Recurrence(
        days=_days(found[1]), from_minute=from_minute, to_minute=to_minute % _DAY_MINUTES, timezone=_zone(timezone)
    )


def format_every(recurrence: Recurrence) -> str:
    """Return the text that `parse_every` reads back, without the zone."""
    days = (
        "daily"
        if len({*recurrence.days}) == len(WEEKDAYS)
        else ",".join(WEEKDAYS[day][:3] for day in sorted({*recurrence.days}) if 0 <= day < len(WEEKDAYS))
    )
    hours = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (recurrence.from_minute, recurrence.to_minute))
    return f"{days} {hours}"


def _at(place: str, parse: Callable[[str], _Parsed], text: str) -> _Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise BadInput(f"{place}: {error}") from None


def _refuse_too_many(matchers: Sequence[Matcher]) -> None:
    if len(matchers) > MATCHERS_MAX:
        raise BadInput(f'matchers: at most {MATCHERS_MAX}, got {len(matchers)}: write alternatives as one, flow=~"a|b"')
    patterns = sum(each.op in {"=~", "!~"} for each in matchers)
    if patterns > PATTERNS_MAX:
        raise BadInput(f'matchers: at most {PATTERNS_MAX} with a pattern, got {patterns}: write flow=~"a|b" as one')


def _ends_ms(asked: SilenceAsked, starts_ms: int) -> int:
    if bool(asked.ends) is bool(asked.lasts):
        got = "both" if asked.ends else "neither"
        raise BadInput(f"ends: expected when it ends or how long it lasts (lasts, such as 2h), got {got}")
    if asked.ends:
        return _at("ends", parse_time_ms, asked.ends)
    return starts_ms + _at("lasts", parse_duration_ms, asked.lasts)


def _refuse_times(starts_ms: int, ends_ms: int, now_ms: int) -> None:
    if ends_ms <= starts_ms:
        raise BadInput(f"ends: {_moment(ends_ms)} is not after it starts, {_moment(starts_ms)}: write a later time")
    if ends_ms <= now_ms:
        raise BadInput(f"ends: {_moment(ends_ms)} is over already: write a later time")
    if ends_ms - starts_ms > LENGTH_MAX_MS or starts_ms - now_ms > LENGTH_MAX_MS:
        longest = format_duration(LENGTH_MAX_MS)
        raise BadInput(
            f"ends: a silence starts within and lasts at most {longest}: for longer, change the rule instead"
        )


def _recurrence(asked: SilenceAsked) -> Recurrence | None:
    if not asked.every:
        if asked.timezone:
            raise BadInput("timezone: only hours that come again (every) need one: leave it out")
        return None
    if not asked.timezone:
        raise BadInput("timezone: say by the clock of which place, such as Europe/Berlin or UTC")
    try:
        _zone(asked.timezone)
    except ValueError as error:
        raise BadInput(f"timezone: {error}") from None
    try:
        return parse_every(asked.every, asked.timezone)
    except ValueError as error:
        raise BadInput(f"every: {error}") from None


def _zone(name: str) -> str:
    if name in _zones():
        return name
    near = difflib.get_close_matches(name, _zones(), n=1)
    meant = f": did you mean {near[0]}?" if near else ": write one such as Europe/Berlin or UTC"
    raise ValueError(f"no time zone is called {_shown(name)}{meant}")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _days(text: str) -> list[int]:
    if text.lower() in _ALL_DAYS:
        return [*range(len(WEEKDAYS))]
    days: set[int] = set()
    for item in text.split(","):
        first, dash, last = (part.strip() for part in item.partition("-"))
        begin = _day(first)
        end = _day(last) if dash else begin
        days |= {(begin + step) % len(WEEKDAYS) for step in range((end - begin) % len(WEEKDAYS) + 1)}
    return sorted(days)


def _day(name: str) -> int:
    day = _DAY_NAMES.get(name.lower())
    if day is None:
        near = difflib.get_close_matches(name.lower(), _DAY_NAMES, n=1)
        meant = (
            f"did you mean {near[0].title()}?" if near else "write Mon, Tue, … Sun, a range such as Mon-Fri, or daily"
        )
        raise ValueError(f"{_shown(name)} is no day: {meant}")
    return day


def _minute(text: str, *, is_end: bool = False) -> int:
    found = _CLOCK.fullmatch(text)
    hour, minute = (int(found[1]), int(found[2])) if found else (-1, -1)
    total = hour * 60 + minute
    if minute not in range(60) or not 0 <= total < _DAY_MINUTES + is_end:
        raise ValueError(f"{text} is no time of the day: write one from 00:00 to 23:59")
    return total


def _unquoted(written: str, text: str) -> str:
    if written.startswith("'"):
        raise ValueError(f"a value stands in double quotes or in none, as in {_EXAMPLE}, got {_shown(text)}")
    if not written.startswith('"'):
        return written
    if not _QUOTED.fullmatch(written):
        raise ValueError(
            rf"the quotes of the value do not fit, as in {_EXAMPLE} (write \" for one within), got {_shown(text)}"
        )
    return _ESCAPED.sub(r"\1", written[1:-1])


def _as_pattern(value: str) -> str:
    return ".*".join(re.escape(part).replace(r"\-", "-") for part in value.split("*"))


def _moment(ms: int) -> str:
    try:
        return rfc3339(ms)
    except OverflowError:
        return str(ms)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
