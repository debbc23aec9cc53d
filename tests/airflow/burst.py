"""Call the plugin's hooks with Airflow's own records until FLOWGAUGE_BURST_EVENTS are told; then end as a task does.

Run by tests/integration/test_airflow.py in the environment that .ci/peer airflow prepares. Prints what it cost.
"""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

from flowgauge.producers.airflow.plugin import FlowgaugePlugin

EVENTS = int(os.environ["FLOWGAUGE_BURST_EVENTS"])
RUNS, TASKS = EVENTS // 10, EVENTS * 7 // 20  # 3 events of each run, 2 of each task instance
AT = datetime(2026, 11, 30, tzinfo=UTC)

sdk: Any = import_module("airflow.sdk")
runtime: Any = import_module("airflow.sdk.execution_time.task_runner")
models: Any = import_module("airflow.models.dagrun")
hook: Any = import_module("airflow.listeners.listener").get_listener_manager().hook


def dag_run(number: int) -> Any:
    run = models.DagRun(
        dag_id="nightly-etl", run_id=f"run-{number}", logical_date=AT, run_after=AT, run_type="scheduled"
    )
    run.queued_at, run.start_date, run.end_date = AT, AT + timedelta(seconds=1), AT + timedelta(seconds=2)
    return run


def task_instance(operator: Any, number: int) -> Any:
    return runtime.RuntimeTaskInstance.model_construct(
        id=UUID(int=number),
        task_id="extract",
        dag_id="nightly-etl",
        run_id=f"run-{number % RUNS}",
        try_number=1 + number // RUNS,
        map_index=-1,
        task=operator,
        start_date=AT,
        end_date=AT + timedelta(seconds=1),
    )


def main() -> None:
    (listener,) = FlowgaugePlugin.listeners
    with sdk.DAG("nightly-etl", tags=["prod"], schedule=None):
        operator = sdk.BaseOperator(task_id="extract", owner="data")
    runs = [dag_run(number) for number in range(RUNS)]
    instances = [task_instance(operator, number) for number in range(TASKS)]
    began = time.process_time()
    for run in runs:
        hook.on_dag_run_running(dag_run=run, msg="started")
        hook.on_dag_run_success(dag_run=run, msg="success")
    for instance in instances:
        hook.on_task_instance_running(previous_state=None, task_instance=instance)
        hook.on_task_instance_failed(previous_state=None, task_instance=instance, error=OSError("orders-db is away"))
    while not listener.flushed(5_000):  # the gateway may be slower than the end of a task waits
        pass
    hook.before_stopping(component=None)
    print(json.dumps({"cpu_s": time.process_time() - began}), flush=True)
    os._exit(0)


main()
