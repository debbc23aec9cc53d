"""A cron expression as one scheduler reads it: which local times it names. `slots` turns these into instants.

Libraries read the fields: cronsim those of Debian's cron, croniter those of the schedulers that are built on it. Here
stands what they would take and the scheduler does not, and what two versions of croniter read differently, so that
an expression has the same times whatever version is installed. docs/schedules.md has the table, ADR 21 the reasons.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from croniter import CroniterBadDateError, croniter
from cronsim import CronSim, CronSimError

Dialect = Literal["debian", "airflow", "dagster", "prefect", "croniter"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

CRON_CHARS_MAX = 500  # no schedule that people write is longer; libraries take time for each item
YEAR_MIN, YEAR_MAX = 1970, 2199  # of local times; the years that croniter knows begin with 1970
YEARS_BETWEEN_MAX = 50  # 29 February on one weekday may wait for 40 years; what waits longer never fires

_COMMON = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_NICKNAMES: dict[Dialect, dict[str, str]] = {
    **dict.fromkeys(DIALECTS, _COMMON),
    "airflow": _COMMON | {"@quarterly": "0 0 1 */3 *"},
}
_FIELD_COUNTS: dict[Dialect, tuple[int, ...]] = {
    **dict.fromkeys(DIALECTS, (5, 6, 7)),
    "debian": (5,),
    "dagster": (5,),
}
_CARRIES_ITS_OWN = frozenset({"dagster", "prefect"})  # a croniter of before 7, whatever is installed
_FIRST = datetime(YEAR_MIN, 1, 1)  # noqa: DTZ001  # a local time
_HOUR, _DAY, _WEEKDAY, _SECOND = 1, 2, 4, 5
_ANY = frozenset({"*", "?"})
_EVERY_MONTH_HAS = 28  # days
_CHARS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    lowest: int
    highest: int
    last_name: str = ""  # the name of the highest value, where values have names
    names: str = ""

    def __str__(self) -> str:
        return f"{self.lowest}-{self.highest}" + (f" or {self.names}" if self.names else "")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, "dec", "jan-dec"),
    _Field("day of week", 0, 6, "sat", "sun-sat, 7 is Sunday"),
    _Field("second", 0, 59),
    _Field("year", 1970, 2099),
)
_DEBIAN_ITEM = re.compile(r"(?:\*|(?:\d+|[a-z]{3})-(?:\d+|[a-z]{3}))(?:/\d+)?|\d+|[a-z]{3}", re.IGNORECASE)
_BARE_STEP = re.compile(r"(?:\d+|[a-z]{3})/\d+", re.IGNORECASE)
_HASHED = re.compile(r"[hr](?:\(.*\))?(?:/\d+)?", re.IGNORECASE)
_PLAIN_WEEKDAYS = re.compile(r"[^*?#l]+", re.IGNORECASE)
_NEAREST_WEEKDAY = re.compile(r"l?w\d*|\d+w", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that `parse_cron` has read: its fields as the library gets them, and what summer time asks."""

    dialect: Dialect
    fields: tuple[str, ...]
    is_every_hour: bool  # runs in each hour: its times follow the clock through a change of offset
    is_once_a_day: bool  # one minute of one hour, by day, weekdays or day of the month: Dagster finds these by itself

    def walls(self, after: datetime) -> Iterator[datetime]:
        """Yield the local times, naive, that are later than `after`, a naive local time in whole seconds.

        Ends before year YEAR_MAX + 1, or where nothing comes for YEARS_BETWEEN_MAX years.
        """
        try:
            for wall in self._read(after):
                if wall.year > YEAR_MAX:
                    return
                yield wall
        except CroniterBadDateError:
            return

    def last_wall(self) -> datetime | None:
        """Return its last local time where its years end, None where it names times of every year."""
        if len(self.fields) < len(_FIELDS) or self.fields[-1] in _ANY:
            return None
        return self.wall_before(datetime(YEAR_MAX + 1, 1, 1))  # noqa: DTZ001  # a local time

    def wall_before(self, before: datetime) -> datetime | None:
        """Return the last local time before `before`, None where there is none. Not for debian."""
        return next(self._croniter(before).all_prev(datetime), None)

    def _read(self, after: datetime) -> Iterator[datetime]:
        if self.dialect == "debian":
            return iter(CronSim(" ".join(self.fields), after))
        return self._croniter(after).all_next(datetime)

    def _croniter(self, start: datetime) -> "croniter[datetime]":
        years = YEAR_MAX - YEAR_MIN if len(self.fields) == len(_FIELDS) else YEARS_BETWEEN_MAX
        return croniter(" ".join(self.fields), start, ret_type=datetime, max_years_between_matches=years)


def parse_cron(text: str, dialect: Dialect) -> Cron:
    """Read `text` as `dialect` does.

    Raises ValueError with the field, what is wrong and what to write instead; also for what never fires, for what
    gives other times whenever it is read (`H`, `R`), and for every second of a single minute: `0 0 2 * * *` is meant
    to begin with the second, as nowhere here.
    """
    if len(text) > CRON_CHARS_MAX or not text.isascii():
        raise ValueError(f"expected at most {CRON_CHARS_MAX} ASCII characters, got {text[:_CHARS_SHOWN]!r}")
    written = text.split()
    if len(written) == 1 and written[0].startswith("@"):
        written = _named(written[0], dialect).split()
    if len(written) not in _FIELD_COUNTS[dialect]:
        forms = "5 fields (minute, hour, day of month, month, day of week)"
        more = "" if _FIELD_COUNTS[dialect] == (5,) else ", or 6 with a second, 7 with a second and a year, at the end"
        hint = _seconds_first(written, dialect)
        raise ValueError(f"{dialect} expects {forms}{more}; got {len(written)} in {text[:_CHARS_SHOWN]!r}{hint}")
    if len(written) > _SECOND and written[0] not in _ANY and written[_SECOND] in _ANY:
        message = f"{text[:_CHARS_SHOWN]!r} names every second of its minutes, for the second stands last"
        raise ValueError(f"{message}{_seconds_first(written, dialect) or ': write 0 there'}")
    try:
        fields = [_checked(field, each, dialect) for field, each in zip(_FIELDS, written, strict=False)]
    except ValueError as error:
        raise ValueError(f"{error}{_seconds_first(written, dialect)}") from None
    found = _together(fields, dialect)
    if found is None:
        raise ValueError(f"{text!r} never fires: no such day ever comes; change the day of month, month or day of week")
    return found


def _named(nickname: str, dialect: Dialect) -> str:
    names = _NICKNAMES[dialect]
    found = names.get(nickname if dialect == "debian" else nickname.lower())
    if found is None:
        raise ValueError(f"{nickname!r} names no times for {dialect}: write five fields, or one of {', '.join(names)}")
    return found


def _seconds_first(written: Sequence[str], dialect: Dialect) -> str:
    """Return what to write in place of fields as Quartz and Spring have them; empty where these are none either."""
    if len(written) <= _SECOND:
        return ""
    second, *fields = written[: _SECOND + 1]
    if _FIELD_COUNTS[dialect] != (5,):
        fields += [second, *written[_SECOND + 1 :]]
    try:
        for field, each in zip(_FIELDS, fields, strict=False):
            _checked(field, each, dialect)
    except ValueError:
        return ""
    return f": if its first is the second, write {' '.join(fields)!r}"


def _checked(field: _Field, written: str, dialect: Dialect) -> str:
    """Return one field as the library is to read it; raise ValueError where `dialect` would not take it."""
    items = written.split(",")
    for item in items:
        remedy = _remedy(field, item, dialect)
        if remedy:
            raise ValueError(f"{field.name}: {item[:_CHARS_SHOWN]!r} cannot be used with {dialect}: {remedy}")
    if dialect != "debian":
        written = ",".join(_same_in_all_versions(field, item, dialect) for item in items)
    alone = ["*"] * max(_FIELDS.index(field) + 1, 5)
    alone[_FIELDS.index(field)] = written
    try:
        _compiled(alone, dialect)
        next(_compiled(alone, dialect).walls(_FIRST), None)
    except (CronSimError, ValueError, KeyError, IndexError, AssertionError):
        ranges = ", and of a range the lower end first" if dialect == "debian" else ""
        raise ValueError(f"{field.name}: cannot read {written[:_CHARS_SHOWN]!r}: expected {field}{ranges}") from None
    return written


def _remedy(field: _Field, item: str, dialect: Dialect) -> str:
    """Return what to write in place of an item that `dialect` lacks or that has no fixed times; empty where fine."""
    values = f"write {field}"
    if _HASHED.fullmatch(item):
        return f"H and R stand for values that are drawn: {values}, such as the one that was drawn"
    if field.name == "day of month" and _NEAREST_WEEKDAY.fullmatch(item):
        return f"the weekday nearest to a day is not computed here: {values}, or L for the last day"
    if dialect == "debian" and not _DEBIAN_ITEM.fullmatch(item):
        if _BARE_STEP.fullmatch(item):
            first, step = item.split("/")
            return f"a step needs a range: write {first}-{field.highest}/{step}"
        return f"{values}, ranges a-b, * and steps */n or a-b/n"
    return ""


def _same_in_all_versions(field: _Field, item: str, dialect: Dialect) -> str:
    """Return `item` so that every version of croniter reads it as the one of `dialect` does.

    They differ in a step from the highest value. `59/15` is minute 59 since croniter 7, and before, as `59-59/15`, all
    from 0 in steps of 15.
    """
    start, slash, step = item.partition("/")
    if not slash or start.lower() not in {str(field.highest), field.last_name or str(field.highest)}:
        return item
    return f"{field.lowest}-{field.highest}/{step}" if dialect in _CARRIES_ITS_OWN else start


def _compiled(fields: Sequence[str], dialect: Dialect) -> Cron:
    if dialect == "debian":
        CronSim(" ".join(fields), _FIRST)
        return Cron(dialect, tuple(fields), fields[0].startswith("*") or fields[_HOUR].startswith("*"), False)
    expanded, nth_weekdays = croniter.expand(" ".join(fields))
    return Cron(dialect, tuple(fields), expanded[_HOUR] == ["*"], not nth_weekdays and _is_once_a_day(expanded))


def _is_once_a_day(expanded: Sequence[Sequence[int | str]]) -> bool:
    """Tell whether these are what Dagster's cron_string_iterator calls daily, weekly or monthly."""
    minute, hour, day, month, weekday = expanded[:5]
    if not (_is_one(minute) and _is_one(hour) and month == ["*"]):
        return False
    if day == ["*"]:
        return weekday == ["*"] or all(isinstance(each, int) for each in weekday)
    return _is_one(day) and int(day[0]) <= _EVERY_MONTH_HAS and weekday == ["*"]


def _is_one(values: Sequence[int | str]) -> bool:
    return len(values) == 1 and isinstance(values[0], int)


def _together(fields: Sequence[str], dialect: Dialect) -> Cron | None:
    """Return what the fields mean together, None where no time ever has all of them.

    Beside a day of the month that never comes, croniter 7 takes the weekday alone; versions before find no time.
    """
    if dialect == "debian" or _firing([*fields[:_WEEKDAY], "*", *fields[_WEEKDAY + 1 :]], dialect):
        return _firing(fields, dialect)
    if dialect in _CARRIES_ITS_OWN or not _PLAIN_WEEKDAYS.fullmatch(fields[_WEEKDAY]):
        return None
    return _firing([*fields[:_DAY], "*", *fields[_DAY + 1 :]], dialect)


def _firing(fields: Sequence[str], dialect: Dialect) -> Cron | None:
    """Return the fields as one, None where the library finds no time."""
    try:
        cron = _compiled(fields, dialect)
    except CronSimError:  # each field is fine: a day that none of the months has
        return None
    return cron if any(True for _ in cron.walls(_FIRST)) else None
