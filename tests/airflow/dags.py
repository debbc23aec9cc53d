"""Two DAGs for a real Airflow: one is fine, one fails in the end. They were to start when YESTERDAY began.

tests/integration/test_airflow.py puts this file where Airflow looks for DAGs, in the environment that .ci/peer airflow
prepares. Airflow is not in the environment that types are checked in: so it is imported as Any.
"""

import logging
import os
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

sdk: Any = import_module("airflow.sdk")

YESTERDAY = datetime.fromisoformat(os.environ["YESTERDAY"]).replace(tzinfo=UTC)
DAILY = {"schedule": "@daily", "start_date": YESTERDAY, "end_date": YESTERDAY, "catchup": True}
LAKE = sdk.Asset("orders", "s3://lake/orders")


def extract(row: int, *, outlet_events: Any) -> int:
    logging.getLogger("etl").info("extracted 42 rows")
    outlet_events[LAKE].extra = {"rows": 42, "bytes": 1_048_576}
    return row


def flaky() -> None:
    password = sdk.Connection.get("orders_db").password
    raise ConnectionError(f"orders-db refused {password}")


def load() -> None:
    """Run only after what it needs."""


with sdk.DAG("nightly-etl", tags=["prod", "eu"], default_args={"owner": "data"}, **DAILY):
    sdk.task(extract, outlets=[LAKE]).expand(row=[1, 2])

with sdk.DAG("orders-sync", default_args={"owner": "sales"}, **DAILY):
    sdk.task(flaky, retries=1, retry_delay=timedelta(0))().set_downstream(sdk.task(load)())
