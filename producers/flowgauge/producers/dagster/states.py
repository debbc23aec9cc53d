"""Dagster's states in flowgauge's words: statuses of runs, and the events of steps."""

from typing import Final

from flowgauge.producers.state_table import StateTable

STATES: Final = StateTable(
    orchestrator="Dagster",
    page="connect-dagster.md",
    runs={
        "QUEUED": "pending",
        "STARTING": "pending",
        "STARTED": "running",
        "SUSPENDED": "paused",
        "CANCELING": "cancelling",
        "CANCELED": "cancelled",
        "SUCCESS": "completed",
        "FAILURE": "failed",
    },
    tasks={
        "STEP_START": "running",
        "STEP_RESTARTED": "running",
        "STEP_UP_FOR_RETRY": "retrying",
        "STEP_SUCCESS": "completed",
        "STEP_FAILURE": "failed",
        "STEP_SKIPPED": "cancelled",
    },
    scheduled_for=(
        "The tick of the schedule that made the run, from the run's tag `.dagster/scheduled_execution_time`. "
        "A run that executes another one anew has none."
    ),
    occurred="The `timestamp` of the entry in Dagster's event log.",
    cannot_tell=(
        "A run that its schedule should have made, and did not.",
        "When a run was to start that a sensor, a person or a backfill launched.",
        "A run in no instance: what `execute_in_process` and `materialize` do without one, as in tests.",
        "Asset events that no run made, and asset checks.",
        "What is printed: lines of `context.log` are seen, and of loggers that Dagster manages.",
    ),
)

# The event in a run's log by which the run comes into a status.
STATUS_BY_EVENT: Final = {
    "PIPELINE_ENQUEUED": "QUEUED",
    "PIPELINE_STARTING": "STARTING",
    "PIPELINE_START": "STARTED",
    "RUN_SUSPENDED": "SUSPENDED",
    "RUN_RESUMED": "STARTED",
    "PIPELINE_CANCELING": "CANCELING",
    "PIPELINE_CANCELED": "CANCELED",
    "PIPELINE_SUCCESS": "SUCCESS",
    "PIPELINE_FAILURE": "FAILURE",
}
