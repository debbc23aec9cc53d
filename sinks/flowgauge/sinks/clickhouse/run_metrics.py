"""The questions about groups of runs: how they ended, how long they took, how late they were. Pure.

Their queries read runs through fragments: runs_known.sql, and around it runs_asked.sql; runs_kept.sql alone where
nothing came since the last fold. What came is read from the states of runs (`runs_now`). A query says where, and by
which time a run belongs to the time asked for:

    -- runs heard of                                in [since, until)
    -- runs by ended                                in [since, until)
    -- runs by ended, and of the four weeks before  in [since - 28 d, until)
    -- runs by started, and of the week before      in [since - 7 d, until)
    -- runs by …, once each                         whatever they are grouped by
    -- runs by …, known                             as they are known, not grouped by anything
"""

import re
from enum import Enum
from functools import cache, partial
from importlib.resources import files
from typing import Final

from flowgauge.sinks.clickhouse import runs_now
from flowgauge.sinks.clickhouse.metric import Metric

FOUR_WEEKS_MS: Final = 28 * 86_400_000
WEEK_MS: Final = 7 * 86_400_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000


class Came(Enum):
    """Of how many runs something came since the last fold: the fewer, the sooner the engine knows what to do."""

    NOTHING = "nothing"  # what is kept is all
    FEW = "few"  # they are named one by one: {came:Array(String)}, of one tenant
    MANY = "many"  # the engine looks them up


RUN_METRICS: Final = (
    Metric(
        "states",
        "Runs by the state they are in, in the bucket in which they came into it",
        (
            "flow",
            "runs",
            "completed",
            "failed",
            "crashed",
            "cancelled",
            "running",
            "waiting",
            "failure_rate",
        ),
        per="",
        bucket_ms=DAY_MS,
    ),
    Metric(
        "durations",
        "How long finished runs took, and by which share longer than in the four weeks before",
        (
            "flow",
            "runs",
            "p50_seconds",
            "p90_seconds",
            "p95_seconds",
            "p99_seconds",
            "max_seconds",
            "runs_before",
            "p50_drift",
            "p90_drift",
            "p95_drift",
            "p99_drift",
        ),
        per="flow",
        bucket_ms=0,
    ),
    Metric(
        "top",
        "What fails most, takes longest or changed most against the four weeks before",
        (
            "flow",
            "runs",
            "failed",
            "failure_rate",
            "failure_rate_before",
            "p95_seconds",
            "p95_before_seconds",
            "failure_z",
            "duration_z",
        ),
        per="flow",
    ),
    Metric(
        "lateness",
        "How late runs started, and how long they waited",
        (
            "flow",
            "runs",
            "due_runs",
            "late_p50_seconds",
            "late_p95_seconds",
            "late_max_seconds",
            "queued_runs",
            "wait_p50_seconds",
            "wait_p95_seconds",
            "wait_max_seconds",
        ),
        per="flow",
        bucket_ms=0,
    ),
    Metric(
        "adherence",
        "Which share of the expected runs started within the grace",
        ("flow", "expected", "on_time", "late", "never_started", "adherence"),
        per="flow",
        bucket_ms=0,
    ),
    Metric(
        "retries",
        "How often runs ran again, and how many that saved",
        ("flow", "runs", "retried", "retries", "attempts_max", "retried_share", "saved"),
        per="flow",
        bucket_ms=0,
    ),
    Metric(
        "concurrency",
        "How many runs ran at the same time",
        ("flow", "max_runs", "mean_runs"),
        per="",
        bucket_ms=HOUR_MS,
    ),
)

# What each of PER groups runs by, in SQL: a question with all of them takes ClickHouse 5 to 12 ms longer to understand.
OF: Final = {
    "": "''",
    "tenant": "toString(tenant)",
    "flow": "concat(whose, flow)",
    "deployment": "concat(whose, deployment)",
    "work_pool": "concat(whose, work_pool)",
    "tag": "arrayJoin(arrayMap(tag -> concat(whose, tag), emptyArrayToSingle(tags)))",
}
# The bucket of time of <at>; they count from a Monday.
BUCKET: Final = (
    "if({bucket_ms:Int64} = 0, NULL, fromUnixTimestamp64Milli("
    "intDiv(toUnixTimestamp64Milli(assumeNotNull(<at>)) - 345600000, greatest({bucket_ms:Int64}, 1)) "
    "* {bucket_ms:Int64} + 345600000, 'UTC'))"
)
_RUNS: Final = re.compile(
    r"-- runs (heard of|by (\w+)(?:, and of the (four weeks|week) before)?)(, once each)?(, known)?$",
    re.MULTILINE,
)
_COLUMNS: Final = "<columns>"
_MADE: Final = "<made>"
_CARRIED: Final = "<carried>"
_THIS_RUN: Final = "({run:String} = '' OR run = {run:String})"
# What is known of a run: the columns of runs_final that are kept.
KNOWN: Final = (
    *("tenant", "run", "flow", "deployment", "work_pool", "tags", "state", "scheduled_for", "seen_first", "seen_last"),
    *("started", "ended", "due", "expected", "seconds", "late_seconds", "wait_seconds", "attempts", "failed_message"),
    *("told_team", "told_costs", "told_bytes", "told_rows", "cpu_sum", "cpu_count", "gpu_sum", "gpu_count"),
)
# Those that questions about money read as they are known.
CARRIED: Final = (
    *("run", "tags", "state", "attempts", "seconds", "wait_seconds", "late_seconds"),
    *("cpu_sum", "cpu_count", "gpu_sum", "gpu_count"),
)
_SINCE: Final = "{since_ms:Int64}"
_FROM_MS: Final = {None: _SINCE, "four weeks": f"{_SINCE} - {FOUR_WEEKS_MS}", "week": f"{_SINCE} - {WEEK_MS}"}


def with_runs(sql: str, came: Came = Came.MANY) -> str:
    """Return `sql` with the runs, or their ends, that its comments ask for, grouped by <of>: one of OF."""
    told = _RUNS.sub(partial(_runs, known=_known(came)), sql)
    return told.replace("-- ends of runs by hour\n", f"{_fragment('ends_of_runs')}\n")


def with_columns(sql: str) -> str:
    """Return `sql` with those of KNOWN that it reads, where it reads runs: each takes the engine time to understand."""
    carried = sql.replace(_CARRIED, ", ".join(_read(sql, CARRIED)))
    known = _read(carried, KNOWN)
    return carried.replace(_COLUMNS, ", ".join(known)).replace(_MADE, runs_now.made(known))


def _read(sql: str, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if re.search(rf"(?<!\bruns\.)\b{name}\b", sql)]


def _runs(asked: re.Match[str], *, known: str) -> str:
    at, before = asked[2], asked[3]
    # What a run came to lies between the first and the last that was heard of it; when it was due may lie anywhere.
    where = "true" if at == "expected" else _fragment("runs_heard_of")
    where = f"{where}\nAND {_THIS_RUN}" if at is None else _fragment("runs_at").replace("<heard of>", where)
    sql = known if at is None or asked[5] else _fragment("runs_asked").replace("<known>", known)
    sql = sql.replace("<where>", where).replace("<bucket>", BUCKET)
    if asked[4]:
        sql = sql.replace("<of>", OF[""])
    return sql.replace("<at>", at or "").replace("<from_ms>", _FROM_MS[before])


def _known(came: Came) -> str:
    kept = _fragment("runs_kept")
    if came is Came.NOTHING:
        return kept
    those = "run IN {came:Array(String)}" if came is Came.FEW else _fragment("runs_came")
    return _fragment("runs_known").replace("<kept>", kept).replace("<came>", those)


@cache
def _fragment(name: str) -> str:
    return (files("flowgauge.sinks.clickhouse") / "queries" / f"{name}.sql").read_text("utf-8").strip()
