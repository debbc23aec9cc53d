"""The questions about money: where it goes, what a result costs, and which runs cost most. Pure.

Their queries read runs with their costs through one fragment, run_costs.sql. A query says which:

    -- costs of runs                                  that ended in [since, until)
    -- costs of runs, and of the four weeks before    in [since - 28 d, until)
"""

import re
from functools import cache
from importlib.resources import files
from typing import Final

from flowgauge.sinks.clickhouse.metric import PER, Metric
from flowgauge.sinks.clickhouse.run_metrics import BUCKET, Came, with_runs

_GROUPS: Final = PER[1:]  # prices are a tenant's own

COST_METRICS: Final = (
    Metric(
        "costs",
        "Where the money goes, against the four weeks before, and how much of it brings no result",
        (
            "flow",
            "currency",
            "runs",
            "cost",
            "share",
            "cost_before",
            "trend",
            "waste",
            "failed_cost",
            "crashed_cost",
            "retry_cost",
            "late_cost",
            "bytes",
            "rows",
        ),
        per="flow",
        bucket_ms=0,
        groups=_GROUPS,
        of_one_tenant=True,
    ),
    Metric(
        "pipelines",
        "What a result costs, and how much of the time goes into waiting, retries and idling",
        (
            "flow",
            "currency",
            "runs",
            "completed",
            "cost",
            "cost_per_success",
            "cost_drift",
            "p50_seconds",
            "p50_drift",
            "work_seconds",
            "wait_seconds",
            "wait_share",
            "retries",
            "retried_share",
            "cpu_utilization",
            "gpu_utilization",
        ),
        per="flow",
        groups=_GROUPS,
        of_one_tenant=True,
    ),
    Metric(
        "cost-runs",
        "The runs that explain most of the cost",
        (
            "run",
            "flow",
            "currency",
            "cost",
            "share",
            "cumulative_share",
            "state",
            "attempts",
            "seconds",
            "rank",
            "runs",
            "runs_to_80",
        ),
        of_one_tenant=True,
    ),
)

# Each group in SQL as `of`, and its place among those of its run as `nth`: only tags are several.
GROUPS_OF: Final = {
    **{per: f"{per} AS of, 1 AS nth" for per in ("flow", "deployment", "work_pool", "team")},
    "tag": "emptyArrayToSingle(tags) AS all_tags, arrayJoin(arrayZip(all_tags, arrayEnumerate(all_tags))) AS numbered, "
    "toString(numbered.1) AS of, numbered.2 AS nth",
}
_COSTS: Final = re.compile(r"-- costs of runs(, and of the four weeks before)?$", re.MULTILINE)


def with_costs(sql: str, came: Came = Came.MANY) -> str:
    """Return `sql` with the runs and their costs that its comments ask for."""
    return with_runs(_COSTS.sub(_costs, sql), came)


def _costs(asked: re.Match[str]) -> str:
    return _fragment().replace("<which>", asked[1] or "").replace("<bucket>", BUCKET.replace("<at>", "ended"))


@cache
def _fragment() -> str:
    return (files("flowgauge.sinks.clickhouse") / "queries" / "run_costs.sql").read_text("utf-8")
