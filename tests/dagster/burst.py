"""Tell 20,000 events of a real instance by the sensor, whose gateway is away at first. Prints what it cost.

Run by tests/integration/test_dagster.py in the environment that .ci/peer dagster prepares.
"""

import json
import os
import time
from importlib import import_module
from typing import Any

from flowgauge.producers.dagster.position import Position, encoded
from flowgauge.producers.dagster.sensor import flowgauge_sensor

RUNS, LINES = 20, 996  # each run has four events of its own besides, at the least

dagster: Any = import_module("dagster")


def chatty(context: Any) -> None:
    for number in range(LINES):
        context.log.info("row %d", number)


chatty.__annotations__["context"] = dagster.OpExecutionContext
op: Any = dagster.op(chatty)


def burst() -> None:
    op()


def ticks(instance: Any, sensor: Any, cursor: str) -> tuple[list[str], str]:
    """Call the sensor until it has nothing new; return what it said each time, and its cursor."""
    said: list[str] = []
    while not said or not said[-1].startswith("0 "):
        result = sensor(dagster.build_sensor_context(instance=instance, cursor=cursor))
        said.append(result.skip_reason.skip_message)
        cursor = result.cursor
    return said, cursor


def main() -> None:
    job: Any = dagster.job(burst)
    instance = dagster.DagsterInstance.ephemeral()
    for _ in range(RUNS):
        job.execute_in_process(instance=instance)
    begin = encoded(Position(0.0))

    url, os.environ["FLOWGAUGE_URL"] = os.environ["FLOWGAUGE_URL"], "http://127.0.0.1:1"
    away, stood = ticks(instance, flowgauge_sensor(), begin)
    os.environ["FLOWGAUGE_URL"] = url
    began = time.process_time()
    said, _ = ticks(instance, flowgauge_sensor(), begin)
    cpu_s = time.process_time() - began
    again, _ = ticks(instance, flowgauge_sensor(), begin)  # as after a crash before the cursor was kept
    said_all = {"away": away, "stood": stood == begin, "said": said, "cpu_s": cpu_s, "again": again}
    print(json.dumps(said_all), flush=True)
    os._exit(0)  # the publisher that never had an answer would wait for one


main()
