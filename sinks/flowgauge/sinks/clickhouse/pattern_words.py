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
        _when(pattern),
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
    return (
        f"{share} of the failures of {pattern.flow} fall {_where(pattern, tz)}, {_times(pattern)}; "
        f"{runs} of its runs end then; chance alone: {chance}"
    )


def _where(pattern: Pattern, tz: str) -> str:
    match pattern.kind:
        case "hour":
            mostly = f", mostly {_weekdays(pattern.weekdays, plural='s')}" if pattern.weekdays else ""
            return f"between {_clock(pattern.slots[0])} and {_clock(pattern.slots[-1] + 1)} {tz}{mostly}"
        case "weekday":
            return f"on {_weekdays(pattern.slots, plural='s')} ({tz})"
        case "day of month":
            return f"on day {_listed([str(day) for day in pattern.slots])} of the month ({tz})"


def _times(pattern: Pattern) -> str:
    match pattern.kind:
        case "hour":
            return f"on {pattern.times} days"
        case "weekday":
            return f"in {pattern.times} weeks"
        case "day of month":
            return f"in {pattern.times} months"


def _when(pattern: Pattern) -> str:
    match pattern.kind:
        case "hour":
            return f"{_clock(pattern.slots[0])}-{_clock(pattern.slots[-1] + 1)}"
        case "weekday":
            return _weekdays(pattern.slots)
        case "day of month":
            return _listed([str(day) for day in pattern.slots])


def _clock(hour: int) -> str:
    return f"{hour % HOURS:02}:00"


def _weekdays(days: tuple[int, ...], plural: str = "") -> str:
    return _listed([WEEKDAYS[day - 1] + plural for day in days])


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return f"{percent:.0f}%" if percent >= 1 else "less than 1%"
