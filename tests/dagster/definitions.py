"""Two jobs that a schedule starts each minute: one is fine, one fails in the end.

tests/integration/test_dagster.py adds the definitions of docs/connect-dagster.md, and has a real Dagster daemon run
them in the environment that .ci/peer dagster prepares. Dagster is not in the environment that types are checked in: so
it is imported as Any, and its decorators are called.
"""

from importlib import import_module
from typing import Any

dagster: Any = import_module("dagster")


def orders(context: Any) -> Any:
    context.log.warning("extracted 42 rows")
    return dagster.MaterializeResult(metadata={"dagster/row_count": 42, "bytes": 1_048_576})


def flaky() -> None:
    raise ConnectionError("orders-db is away")


orders.__annotations__["context"] = dagster.AssetExecutionContext
assets: Any = [dagster.asset(orders)]
op: Any = dagster.op(retry_policy=dagster.RetryPolicy(max_retries=1))(flaky)


def orders_sync() -> None:
    op()


jobs: Any = [
    dagster.define_asset_job("nightly_etl", selection="*", tags={"stage": "prod", "team": "data"}),
    dagster.job(executor_def=dagster.in_process_executor)(orders_sync),  # the other has a process for each step
]
schedules: Any = [
    dagster.ScheduleDefinition(job=job, cron_schedule="* * * * *", default_status=dagster.DefaultScheduleStatus.RUNNING)
    for job in jobs
]
