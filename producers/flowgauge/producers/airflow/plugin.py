"""The listener plugin that tells flowgauge what Airflow does.

A file in Airflow's plugins folder imports it:

    from flowgauge.producers.airflow.plugin import FlowgaugePlugin

    FLOWGAUGE_URL, FLOWGAUGE_TOKEN      where flowgauge is, and who we are there; or FLOWGAUGE_KAFKA_…, see KafkaTarget
    FLOWGAUGE_AIRFLOW_LOGS              the least level of log lines that are told: INFO by default, `off` for none

    FLOWGAUGE_SPOOL                     a folder for what flowgauge has not answered when a task's process ends

Airflow calls it in the scheduler (DAG runs), in the process of each task (task instances) and in the API server (states
set by hand, asset events). Each process has a publisher of its own, made at its first event; nothing here waits but
`before_stopping`, within FLUSH_MS_MAX. A task's process ends by os._exit and runs no exit functions, so what it said is
sent there. Whatever goes wrong is logged once per cause, and neither Airflow nor its other listeners see it.
"""

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Any, Final

from pluggy import HookimplMarker

from flowgauge.producers.airflow.mapping import (
    asset_event,
    dag_run_event,
    log_event,
    task_instance_event,
    word_of_failure,
)
from flowgauge.producers.connector_event import EventJson, text
from flowgauge.producers.log_handler import OUR_THREADS
from flowgauge.producers.publisher import Publisher

__all__ = ["FlowgaugePlugin", "Listener"]

FLUSH_MS_MAX: Final = 2_000  # what the end of a task's process may take longer while flowgauge is away

OURS: Final = "flowgauge"  # loggers: each line of ours would cause the next
_SECRETS_MASKERS: Final = ("airflow.sdk.log", "airflow.utils.log.secrets_masker")  # of Airflow 3, of 2

_log = logging.getLogger("flowgauge.airflow")
_hook = HookimplMarker("airflow")
_plugins: Any = import_module("airflow.plugins_manager")


class Listener:
    """Airflow's hooks. Their arguments' names are Airflow's."""

    def __init__(self) -> None:
        self._publisher: Publisher | None = None
        self._causes: set[str] = set()
        self._lines: _TaskLines | None = None

    @_hook
    def on_dag_run_running(self, dag_run: Any) -> None:
        """Tell that a DAG run was queued, and that it runs."""
        if getattr(dag_run, "queued_at", None) is not None:  # of that Airflow calls nobody
            self.tell(lambda: dag_run_event(dag_run, "queued"))
        self.tell(lambda: dag_run_event(dag_run, "running"))

    @_hook
    def on_dag_run_success(self, dag_run: Any) -> None:
        """Tell that a DAG run ended well."""
        self.tell(lambda: dag_run_event(dag_run, "success"))

    @_hook
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """Tell that a DAG run failed, and why."""
        self.tell(lambda: dag_run_event(dag_run, "failed", text(msg)))

    @_hook
    def on_task_instance_running(self, task_instance: Any) -> None:
        """Tell that a task instance runs, and from now on the lines that it logs."""
        self.tell(lambda: task_instance_event(task_instance, "running"))
        self._end_lines()
        level = self._least_level()
        if level is not None and hasattr(task_instance, "_ti_context_from_server"):  # the process is this task's own
            self._lines = _TaskLines(self, task_instance, level)
            logging.getLogger().addHandler(self._lines)

    @_hook
    def on_task_instance_success(self, task_instance: Any) -> None:
        """Tell that a task instance ended well."""
        self._end_task(task_instance, "success")

    @_hook
    def on_task_instance_skipped(self, task_instance: Any) -> None:
        """Tell that a task instance skipped itself."""
        self._end_task(task_instance, "skipped")

    @_hook
    def on_task_instance_failed(self, task_instance: Any, error: Any) -> None:
        """Tell that a task instance failed, for good or until its next try, and why."""
        self._end_task(task_instance, word_of_failure(task_instance), error)

    @_hook
    def on_asset_event_emitted(self, asset_event: Any) -> None:
        """Tell that an asset changed."""
        self.tell(lambda: _asset(asset_event, redact=_redact()))

    @_hook
    def before_stopping(self) -> None:
        """Send what was told, for a process that is about to end."""
        if not self.flushed(FLUSH_MS_MAX):
            self._warn("unsent", f"flowgauge did not answer within {FLUSH_MS_MAX} ms")

    def flushed(self, timeout_ms: int) -> bool:
        """Return whether all that was told is with flowgauge within `timeout_ms`."""
        return self._publisher is None or self._publisher.flush(timeout_ms)

    def tell(self, made: Callable[[], EventJson]) -> None:
        """Publish the event that `made` returns. Never raises."""
        try:
            if self._publisher is None:
                self._publisher = Publisher()
            self._publisher.emit(made())  # says by itself what it cannot take
        except Exception as error:  # noqa: BLE001  # Airflow must go on, and its other listeners be called
            self._warn(type(error).__name__, f"{type(error).__name__}: {error}")

    def _least_level(self) -> int | None:
        """Return the least level of lines that are told, None for none."""
        wanted = os.environ.get("FLOWGAUGE_AIRFLOW_LOGS") or "INFO"
        level = logging.getLevelNamesMapping().get(wanted.upper())
        if level is None and wanted != "off":
            self._warn("level", f"lines: FLOWGAUGE_AIRFLOW_LOGS is a level such as INFO, or off; it is {wanted!r}")
        return level

    def _end_task(self, task_instance: Any, word: str, error: object = None) -> None:
        self._end_lines()
        message = "" if error is None else text(error) or type(error).__name__
        self.tell(lambda: task_instance_event(task_instance, word, _masked(message)))

    def _end_lines(self) -> None:
        if self._lines is not None:
            logging.getLogger().removeHandler(self._lines)
            self._lines = None

    def _warn(self, cause: str, reason: str) -> None:
        if cause not in self._causes:
            self._causes.add(cause)
            _log.warning("not told to flowgauge: %s (said once)", reason)


class _TaskLines(logging.Handler):
    """Tells the lines that a task writes by Python's logging, in its own process."""

    def __init__(self, listener: Listener, task_instance: Any, level: int) -> None:
        super().__init__(level)
        self._listener = listener
        self._task_instance = task_instance

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one line, with the secrets masked that Airflow would mask."""
        if not record.name.startswith(OURS) and not (record.threadName or "").startswith(OUR_THREADS):
            self._listener.tell(lambda: self._event(record))

    def _event(self, record: logging.LogRecord) -> EventJson:
        return log_event(
            self._task_instance,
            at=datetime.fromtimestamp(record.created, UTC),
            level=record.levelname,
            logger=record.name,
            message=_masked(text(record.getMessage())),
        )


class FlowgaugePlugin(_plugins.AirflowPlugin):  # type: ignore[misc]  # Airflow is only there where the plugin runs
    """What Airflow finds in its plugins folder."""

    name = "flowgauge"
    listeners: tuple[Listener, ...] = (Listener(),)


_asset = asset_event  # the hook's argument has this name too


def _masked(message: str) -> str:
    return str(_redact()(message))


@cache
def _redact() -> Callable[[object], object]:
    """Return the function by which Airflow masks secrets in its own logs."""
    for module in _SECRETS_MASKERS:
        try:
            redact: Callable[[object], object] = import_module(module).redact
        except (ImportError, AttributeError):
            continue
        return redact
    raise ImportError(f"none of {', '.join(_SECRETS_MASKERS)} has `redact`: this Airflow is unknown")
