"""What a pattern of failures says, in words and as a row. Pure."""

from flowgauge.schemas.times import WEEKDAYS
from flowgauge.sinks.clickhouse.patterns import HOURS, Pattern

PATTERN_COLUMNS = (
    "flow",
    "kind",
    "when",
    "weekdays",
    "failed",
    "failed_then",
    "finished",
    "finished_then",
    "times",
    "p",
    "says",
)
_SURE = 0.001


def pattern_row(pattern: Pattern, tz: str) -> tuple[object, ...]:
    """Return the values of PATTERN_COLUMNS; `p` is corrected for all that was tried."""
    return (
        pattern.flow,
        pattern.kind,
        _spoken(pattern, tz)[0],
        _weekdays(pattern.weekdays),
        pattern.failed,
        pattern.failed_then,
        pattern.finished,
        pattern.finished_then,
        pattern.times,
        float(f"{pattern.chance:.2g}"),
        statement(pattern, tz),
    )


def statement(pattern: Pattern, tz: str) -> str:
    """Return one sentence: how much falls where, how often, what else ends then, and what chance makes of it."""
    share = _percent(pattern.failed_then, pattern.failed)
    runs = _percent(pattern.finished_then, pattern.finished)
    chance = "p < 0.001" if pattern.chance < _SURE else f"p = {pattern.chance:.1g}"
    _, where, times = _spoken(pattern, tz)
    return (
        f"{share} of the failures of {pattern.flow} fall {where}, {times.format(pattern.times)}; "
        f"{runs} of its runs end then; chance alone: {chance}"
    )


def _spoken(pattern: Pattern, tz: str) -> tuple[str, str, str]:
    """Return the slots as a cell says them, where they lie as a sentence says it, and how often, without the number."""
    match pattern.kind:
        case "hour":
            begin, end = _clock(pattern.slots[0]), _clock(pattern.slots[-1] + 1)
            mostly = f", mostly {_weekdays(pattern.weekdays, plural='s')}" if pattern.weekdays else ""
            return f"{begin}-{end}", f"between {begin} and {end} {tz}{mostly}", "on {} days"
        case "weekday":
            return _weekdays(pattern.slots), f"on {_weekdays(pattern.slots, plural='s')} ({tz})", "in {} weeks"
        case "day of month":
            days = _listed([str(day) for day in pattern.slots])
            return days, f"on day {days} of the month ({tz})", "in {} months"


def _clock(hour: int) -> str:
    return f"{hour % HOURS:02}:00"


def _weekdays(days: tuple[int, ...], plural: str = "") -> str:
    return _listed([WEEKDAYS[day - 1] + plural for day in days])


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return f"{percent:.0f}%" if percent >= 1 else "less than 1%"
