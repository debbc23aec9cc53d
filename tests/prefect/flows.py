"""Three flows against a real Prefect server: one is fine, one fails, one needs its retries. Prints their run ids.

Run by tests/integration/test_prefect_server.py in the environment that .ci/peer prefect prepares. Prefect is not
in the environment that types are checked in: so it is imported as Any, and its decorators are called.
"""

import json
from importlib import import_module
from typing import Any

prefect: Any = import_module("prefect")
context: Any = import_module("prefect.context")

RETRIES = 2
attempts: list[int] = []
runs: dict[str, str] = {}


def note_run(name: str) -> None:
    runs[name] = str(context.get_run_context().flow_run.id)


def extract() -> int:
    return 42


def flaky() -> None:
    attempts.append(1)
    if len(attempts) <= RETRIES:
        raise ConnectionError("warehouse refused the connection")


def nightly_etl() -> None:
    note_run("nightly-etl")
    prefect.get_run_logger().info("extracted %d rows", prefect.task(extract)())


def orders_sync() -> None:
    note_run("orders-sync")
    prefect.get_run_logger().error("orders-db is away")
    raise RuntimeError("orders-db is away")


def stubborn_report() -> None:
    note_run("stubborn-report")
    prefect.task(retries=RETRIES, retry_delay_seconds=0)(flaky)()
    prefect.get_run_logger().warning("it took its retries")


if __name__ == "__main__":
    prefect.flow(name="nightly-etl")(nightly_etl)()
    prefect.flow(name="orders-sync")(orders_sync)(return_state=True)
    prefect.flow(name="stubborn-report")(stubborn_report)()
    print(json.dumps(runs))
