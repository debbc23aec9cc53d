"""Call the plugin's hooks with an asset event, and with things that are no records: Airflow must not notice.

Run by tests/integration/test_airflow.py in the environment that .ci/peer airflow prepares. Prints what was said in the
log, and how often a listener beside ours was called.
"""

import json
import logging
import os
from importlib import import_module
from typing import Any

from pluggy import HookimplMarker

manager: Any = import_module("airflow.listeners.listener").get_listener_manager()
hookimpl = HookimplMarker("airflow")
said: list[str] = []


class Noting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said.append(record.getMessage())


class Neighbour:
    called = 0

    @hookimpl(trylast=True)
    def on_dag_run_failed(self) -> None:
        self.called += 1


def main() -> None:
    logging.getLogger("flowgauge.airflow").addHandler(Noting())
    neighbour = Neighbour()
    manager.add_listener(neighbour)
    hook = manager.hook
    for nonsense in (None, object(), 7):
        hook.on_dag_run_failed(dag_run=nonsense, msg="task_failure")
        hook.on_task_instance_running(previous_state=None, task_instance=nonsense)
        hook.on_task_instance_failed(previous_state=None, task_instance=nonsense, error=None)
        hook.on_asset_event_emitted(asset_event=nonsense)
    asset = {"uri": "x-lake://me:hunter2@lake/orders", "name": "lake"}
    told = {"asset": type("Asset", (), asset)(), "extra": {"rows": 3, "source": {"password": "hunter2"}}}
    hook.on_asset_event_emitted(asset_event=type("Told", (), told)())
    hook.before_stopping(component=None)
    print(json.dumps({"said": said, "neighbour": neighbour.called}), flush=True)
    os._exit(0)


main()
