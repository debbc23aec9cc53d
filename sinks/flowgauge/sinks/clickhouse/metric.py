"""The metric: one question of ClickHouse's, what may be asked with it, and the columns of its answer. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import format_duration, parse_duration_ms, rfc3339
from flowgauge.sinks.clickhouse.call_settings import ROWS_MAX
from flowgauge.sinks.clickhouse.prices import NO_PRICES, PriceList
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.text_search import OPEN, text_search

TEXT_MAX = 200  # characters of a log search: more is no search
LIMIT_DEFAULT = 100
SINCE_DEFAULT = "7d"
BUCKET_MS_MIN = 60_000
BUCKET_MS_MAX = 31 * 86_400_000
BUCKETS_MAX = 1_000  # of one answer: more is no chart
BUCKETS_OFFERED = ("5m", "15m", "1h", "3h", "6h", "12h", "1d", "1w", "31d")  # where those asked for are too many
GRACE_MS_DEFAULT = 60_000
GRACE_MS_MAX = 7 * 86_400_000
CONTEXT_MAX = 50  # lines on each side
GROUPS = ("tenant", "flow", "deployment", "work_pool", "tag")
PER = (*GROUPS, "team")  # whose a run is, only questions about money know
BY = ("failing", "slowest", "changed")
LEVELS: Mapping[str, int] = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "WARN": 30,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
    "FATAL": 50,
}


class InvalidQuestion(BadInput):
    """A question that cannot be asked: says which field, what came and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuery:
    """What is asked: event times in [since_ms, until_ms) of one tenant, or of ANY_TENANT. Empty text means any."""

    tenant: str
    since_ms: int
    until_ms: int
    flow: str = ""
    deployment: str = ""
    work_pool: str = ""
    tag: str = ""
    run: str = ""
    resource: str = ""
    text: str = ""
    level: str = ""  # a log level and all above it
    before: str = ""  # the cursor of a log line: only what is older
    context: int = 0  # lines of the same run around each log line that is found
    limit: int = LIMIT_DEFAULT
    tz: str = "UTC"  # of the heat map
    per: str = ""  # what runs are grouped by; empty: what the metric says
    by: str = "failing"  # what is at the top
    bucket_ms: int | None = None  # how long the buckets of time are; None: what the metric says
    grace_ms: int = GRACE_MS_DEFAULT  # how late a run may start and be on time
    prices: PriceList = NO_PRICES  # what runs cost that tell no cost
    now_ms: int | None = None  # what may still start is not judged; None: until_ms is over


@dataclass(frozen=True, slots=True)
class Metric:
    """One question: its name, what it answers, and the columns of the answer in order.

    Questions about groups of runs have `flow` first: the answer calls it as what runs are grouped by, or leaves it out
    where all are one group, and puts `bucket` before it where there are buckets of time.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    per: str | None = None  # what runs are grouped by unless asked otherwise; empty: all are one group; None: no groups
    bucket_ms: int | None = None  # the buckets unless asked otherwise; 0: all time is one; None: there never are any
    groups: tuple[str, ...] = GROUPS  # what runs may be grouped by
    since: str = SINCE_DEFAULT  # how far back, where nothing is said
    of_one_tenant: bool = False  # not to be asked of everyone
    since_of_run: str = ""  # the same, where one run is asked of
    one_of: tuple[str, ...] = ()  # a question without any of these fields would be about everything
    also: tuple[str, ...] = ()  # fields that its own query has no parameter of
    tells_tenant: bool = False  # its rows are of a tenant each, which its query has before the columns


def refuse_unbounded(metric: Metric, query: MetricQuery) -> None:
    """Raise InvalidQuestion for the first bound that `query` passes, with what is expected."""
    if not query.tenant:
        raise InvalidQuestion("tenant: expected a name, got none")
    if query.tenant == ANY_TENANT and metric.of_one_tenant:
        raise InvalidQuestion(f"tenant: {metric.name} is asked of one tenant: name it")
    if query.since_ms >= query.until_ms:
        raise InvalidQuestion(f"since ({rfc3339(query.since_ms)}) is expected before until ({rfc3339(query.until_ms)})")
    refuse_limit(query.limit)
    if len(query.text) > TEXT_MAX:
        raise InvalidQuestion(f"text: expected at most {TEXT_MAX} characters, got {len(query.text)}")
    if query.text and text_search(query.text) is None:
        raise InvalidQuestion(f"text: expected a part of a word by the {OPEN}, got {query.text!r}")
    _refuse_context(query)
    _refuse_zone(query.tz)
    _refuse_other("per", query.per, ("", *metric.groups))
    _refuse_other("by", query.by, BY)
    _refuse_level(query.level)
    _refuse_buckets(metric, query)
    if not 0 <= query.grace_ms <= GRACE_MS_MAX:
        raise InvalidQuestion(f"grace: expected 0s to 7d, got {format_duration(query.grace_ms)}")
    if metric.one_of and not any(getattr(query, field) for field in metric.one_of):
        raise InvalidQuestion(f"the question {metric.name} is about one of {', '.join(metric.one_of)}: name it")


def refuse_limit(limit: int) -> None:
    """Raise InvalidQuestion where an answer may not have `limit` rows."""
    if not 1 <= limit <= ROWS_MAX:
        raise InvalidQuestion(f"limit: expected 1 to {ROWS_MAX}, got {limit}")


def arranged(metric: Metric, query: MetricQuery, rows: Sequence[tuple[object, ...]]) -> Table:
    """Return the answer as `Metric` says; of questions about groups the rows begin with the bucket and the group.

    Of all tenants together rows say whose they are.
    """
    if metric.tells_tenant and query.tenant == ANY_TENANT:
        return Table(["tenant", *metric.columns], list(rows))
    if metric.per is None:
        return Table(list(metric.columns), [row[metric.tells_tenant :] for row in rows])
    names = ("bucket", query.per, *metric.columns[1:])
    shown = [at for at in range(len(names)) if at > 1 or (query.per if at else query.bucket_ms)]
    return Table([names[at] for at in shown], [tuple(row[at] for at in shown) for row in rows])


def _refuse_context(query: MetricQuery) -> None:
    if not 0 <= query.context <= CONTEXT_MAX:
        raise InvalidQuestion(f"context: expected 0 to {CONTEXT_MAX} lines, got {query.context}")
    if query.context and query.limit * (2 * query.context + 1) > ROWS_MAX:
        raise InvalidQuestion(
            f"context: {query.context} lines on each side of {query.limit} may be more than {ROWS_MAX} lines: "
            "ask for fewer (context, limit)"
        )


def _refuse_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidQuestion(f"tz: expected an IANA time zone such as Europe/Berlin, got {zone!r}") from None


def _refuse_other(field: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InvalidQuestion(f"{field}: expected one of {', '.join(filter(None, known))}, got {value[:40]!r}")


def _refuse_level(level: str) -> None:
    if level and level.upper() not in LEVELS:
        raise InvalidQuestion(f"level: expected one of {', '.join(LEVELS)}, got {level[:40]!r}")


def _refuse_buckets(metric: Metric, query: MetricQuery) -> None:
    bucket_ms = metric.bucket_ms or None if query.bucket_ms is None else query.bucket_ms
    if bucket_ms is None:
        return
    said = format_duration(bucket_ms)
    if not BUCKET_MS_MIN <= bucket_ms <= BUCKET_MS_MAX:
        raise InvalidQuestion(f"bucket: expected 1m to 31d, got {said}")
    if query.since_ms < (since_ms := query.until_ms - BUCKETS_MAX * bucket_ms):
        asked = said if query.bucket_ms else f"none was asked for, and {said}, which {metric.name} has then,"
        long_ms = (query.until_ms - query.since_ms) / BUCKETS_MAX
        fitting = (each for each in BUCKETS_OFFERED if parse_duration_ms(each) >= long_ms)
        longer = f"for {fits} or longer, or " if (fits := next(fitting, "")) else ""
        raise InvalidQuestion(
            f"bucket: {asked} makes more than {BUCKETS_MAX} buckets of the time asked for: "
            f"ask {longer}since {rfc3339(since_ms)} or later"
        )
