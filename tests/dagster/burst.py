"""Tell FLOWGAUGE_BURST_EVENTS of a real instance by the sensor, whose gateway is away at first. Prints what it cost.

There is room for two runs at once: one goes on all the time and changes between ticks, while the others wait.

Run by tests/integration/test_dagster.py in the environment that .ci/peer dagster prepares.
"""

import json
import os
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from flowgauge.producers.dagster import sensor
from flowgauge.producers.dagster.position import Position, encoded
from flowgauge.producers.dagster.sensor import flowgauge_sensor

RUNS, LINES = int(os.environ["FLOWGAUGE_BURST_EVENTS"]) // 1_000, 996  # each run has four events of its own besides

dagster: Any = import_module("dagster")


def chatty(context: Any) -> None:
    for number in range(LINES):
        context.log.info("row %d", number)


chatty.__annotations__["context"] = dagster.OpExecutionContext
op: Any = dagster.op(chatty)


def burst() -> None:
    op()


def ticks(instance: Any, told_by: Any, cursor: str) -> tuple[list[str], str]:
    """Call the sensor until it has nothing new; return what it said each time, and its cursor."""
    said: list[str] = []
    (going_on,) = instance.get_run_records(dagster.RunsFilter(statuses=[dagster.DagsterRunStatus.NOT_STARTED]))
    while not said or not said[-1].startswith("0 "):
        if said:
            instance.add_run_tags(going_on.dagster_run.run_id, {"tick": str(len(said))})
        result = told_by(dagster.build_sensor_context(instance=instance, cursor=cursor))
        said.append(result.skip_reason.skip_message)
        cursor = result.cursor
    return said, cursor


def main() -> None:
    job: Any = dagster.job(burst)
    instance = dagster.DagsterInstance.ephemeral()
    instance.create_run_for_job(job)
    for _ in range(RUNS):
        job.execute_in_process(instance=instance)
    begin = encoded(Position(0.0))
    sensor.RUNS_MAX = 2

    url, os.environ["FLOWGAUGE_URL"] = os.environ["FLOWGAUGE_URL"], "http://127.0.0.1:1"
    away, stood = ticks(instance, flowgauge_sensor(), begin)
    os.environ["FLOWGAUGE_URL"] = url
    began = time.process_time()
    said, _ = ticks(instance, flowgauge_sensor(), begin)
    cpu_s = time.process_time() - began
    again, _ = ticks(instance, flowgauge_sensor(), begin)  # as after a crash before the cursor was kept
    anew, _ = ticks(instance, flowgauge_sensor(since=datetime(2100, 1, 1, tzinfo=UTC)), "another sensor's")
    said_all = {"away": away, "stood": stood == begin, "said": said, "cpu_s": cpu_s, "again": again, "anew": anew}
    print(json.dumps(said_all), flush=True)
    os._exit(0)  # the publisher that never had an answer would wait for one


main()
