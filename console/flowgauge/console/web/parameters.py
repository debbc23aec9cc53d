"""What stands in the query of a URL, read: times, lengths, numbers, switches, and a whole question. Pure.

Whatever cannot be read raises BadInput with the parameter's name, what is expected and what came.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec

from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.event import KINDS, STATES
from flowgauge.schemas.times import parse_duration_ms, parse_time_ms
from flowgauge.sinks.clickhouse.metric import GRACE_MS_DEFAULT, LIMIT_DEFAULT, MetricQuery, refuse_limit
from flowgauge.sinks.clickhouse.metrics import CHOICES, METRICS, parameters_of, since_of
from flowgauge.sinks.clickhouse.prices import NO_PRICES, PriceList
from flowgauge.sinks.clickhouse.tenant_rows import PagePlace

DIGITS_MAX = 9
TIME_MS_MAX = 4_102_444_800_000  # 2100: hours are 32-bit seconds in ClickHouse, which end in 2106
EPOCH_MS_MIN = 10**12  # 2001: a smaller plain number is a year, seconds, or a duration without its unit
TIME_CHARS_SHOWN = 40  # of a time that cannot be read
SWITCHES: Mapping[str, bool] = {"": False, "0": False, "false": False, "1": True, "true": True}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PARAMETERS = frozenset({"since", "until", "tenant", *CHOICES})
_TEXTS = frozenset(CHOICES) - {"bucket", "context", "grace", "limit"}
AHEAD_MS = 10_000  # workers' clocks may run ahead: their events are of now too


def metric_query(  # noqa: PLR0917  # the question's own four, and what its runs cost
    name: str, tenant: str, parameters: Mapping[str, str], now_ms: int, prices: PriceList = NO_PRICES
) -> MetricQuery:
    """Return the question `name` as the parameters of a URL ask it.

    Raises BadInput with the field and what is expected, also for one that this question would pass over.
    """
    refuse_unknown(parameters, _PARAMETERS)
    if name in METRICS:
        _refuse_passed_over(name, parameters)
    return MetricQuery(
        tenant=tenant,
        since_ms=moment_ms(
            "since", parameters.get("since") or since_of(name, of_run=bool(parameters.get("run"))), now_ms
        ),
        until_ms=moment_ms("until", parameters["until"], now_ms) if parameters.get("until") else now_ms + AHEAD_MS,
        limit=limit_of(parameters.get("limit", "")),
        context=whole_of("context", parameters.get("context", "") or "0"),
        bucket_ms=length_ms("bucket", parameters["bucket"]) if parameters.get("bucket") else None,
        grace_ms=length_ms("grace", parameters["grace"]) if parameters.get("grace") else GRACE_MS_DEFAULT,
        prices=prices,
        now_ms=now_ms,
        **{name: parameters[name] for name in _TEXTS if parameters.get(name)},
    )


def moment_ms(name: str, text: str, now_ms: int) -> int:
    """Return the time that `text` means: a duration ago, the beginning of a day in UTC, or a time.

    Raises BadInput that names the field, also for a number that can hardly be meant as epoch milliseconds.
    """
    try:
        at_ms = _moment_ms(text, now_ms)
    except ValueError:
        shown = text[:TIME_CHARS_SHOWN]
        raise BadInput(
            f"{name}: expected how long ago, such as 90m or 7d, a day such as 2026-11-24 or an RFC 3339 time, "
            f"got {shown!r}"
        ) from None
    if not 0 <= at_ms < TIME_MS_MAX:
        raise BadInput(
            f"{name}: expected a time from 1970 until 2100, such as 7d or 400d, got {text[:TIME_CHARS_SHOWN]!r}"
        )
    return at_ms


def _moment_ms(text: str, now_ms: int) -> int:
    try:
        return now_ms - parse_duration_ms(text)
    except ValueError:
        at_ms = parse_time_ms(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    if text.isdecimal() and at_ms < EPOCH_MS_MIN:
        raise ValueError(text)
    return at_ms


def length_ms(name: str, text: str) -> int:
    """Return how long `text` says; raise BadInput that names the field where it says nothing of the kind."""
    try:
        return parse_duration_ms(text)
    except ValueError:
        raise BadInput(f"{name}: expected how long, such as 15m, 1h or 1d, got {text[:TIME_CHARS_SHOWN]!r}") from None


def limit_of(text: str) -> int:
    """Return how many rows `text` asks for; raise BadInput when that is no number of rows that an answer may have."""
    limit = whole_of("limit", text or str(LIMIT_DEFAULT))
    refuse_limit(limit)
    return limit


def whole_of(name: str, text: str) -> int:
    """Return the number that `text` is; raise BadInput that names the field when it is none."""
    if not (text.isdecimal() and len(text) <= DIGITS_MAX):
        raise BadInput(f"{name}: expected a whole number, got {text[:20]!r}")
    return int(text)


def refuse_repeated(parameters: Iterable[tuple[str, str]]) -> None:
    """Raise BadInput that names a parameter which stands more than once, where there is one."""
    repeated = {name: times for name, times in Counter(name for name, _ in parameters).items() if times > 1}
    if repeated:
        raise BadInput(f"{min(repeated)}: expected once, got it {repeated[min(repeated)]} times")


def switch_of(name: str, text: str) -> bool:
    """Return whether `text` says yes, which nothing does not; raise BadInput that names the field for neither."""
    if text not in SWITCHES:
        raise BadInput(f"{name}: expected true or false, got {text[:20]!r}")
    return SWITCHES[text]


def refuse_unknown(parameters: Mapping[str, str], known: Collection[str]) -> None:
    """Raise BadInput that names a parameter which is not `known`, or says nothing, where there is one.

    What is empty by mistake, a variable of a shell above all, would be taken for everything.
    """
    unknown = parameters.keys() - known
    if unknown:
        raise BadInput(f"{min(unknown)}: unknown parameter; known are {', '.join(sorted(known))}")
    if empty := [name for name, value in parameters.items() if not value]:
        name = min(empty)
        raise BadInput(f"{name}: expected a value, got an empty one: fill it in, or leave {name} out")


def looks_in(text: str) -> list[str]:
    """Return the looks KIND:STATE that `text` names, with a comma between; all that there are where it names none.

    Raises BadInput for one that no event has.
    """
    known = [f"{kind}:{state}" for kind in KINDS for state in ("", *STATES)]
    looks = text.split(",") if text else known
    if unknown := set(looks) - set(known):
        shown = min(unknown)[:TIME_CHARS_SHOWN]
        raise BadInput(f"looks: expected KIND:STATE or KIND: of events, with a comma between, got {shown!r}")
    return looks


def page_place(text: str) -> PagePlace:
    """Return the place that a page told as `next`, the beginning for no text; raise BadInput for any other text."""
    try:
        return msgspec.json.decode(text, type=PagePlace) if text else PagePlace()
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise BadInput(
            f"after: expected what the page before said as `next`, got {text[:TIME_CHARS_SHOWN]!r}"
        ) from None


def _refuse_passed_over(name: str, parameters: Mapping[str, str]) -> None:
    known = {"since", "until", "tenant"} | parameters_of(name)
    passed_over = sorted(each for each, value in parameters.items() if value and each not in known)
    if passed_over:
        utc = "; its times are UTC" if "tz" in passed_over else ""
        raise BadInput(
            f"{', '.join(passed_over)}: the question {name} does not look at that{utc}; "
            f"it knows {', '.join(sorted(known))}"
        )
