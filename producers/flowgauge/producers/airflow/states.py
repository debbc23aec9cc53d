"""Airflow's states in flowgauge's words."""

from typing import Final

from flowgauge.producers.state_table import StateTable

STATES: Final = StateTable(
    orchestrator="Airflow",
    page="connect-airflow.md",
    runs={"queued": "pending", "running": "running", "success": "completed", "failed": "failed"},
    tasks={
        "scheduled": "scheduled",
        "queued": "pending",
        "running": "running",
        "restarting": "retrying",
        "up_for_retry": "retrying",
        "up_for_reschedule": "paused",
        "deferred": "paused",
        "awaiting_input": "paused",
        "success": "completed",
        "failed": "failed",
        "skipped": "cancelled",
        "upstream_failed": "cancelled",
        "removed": "cancelled",
    },
    scheduled_for=(
        "A run's `run_after`; where Airflow has none (2.x), the end of its data interval, else its logical date. "
        "A backfill's runs have none."
    ),
    occurred="A run's `queued_at`, `start_date` and `end_date`, a task instance's `start_date` and `end_date`.",
    cannot_tell=(
        "That a run waits in the queue: it is told when it starts, with the time at which it was queued.",
        "A task before it runs, or that never does: scheduled, queued, skipped by a branch, `upstream_failed`.",
        "How a task ended whose process was killed, unless the scheduler finds it: the run's own end is seen.",
        "That a task waits between two runs of it: deferred, rescheduled, awaiting input.",
        "Lines that are printed, or written by Airflow's own loggers: those of Python's `logging` are seen.",
    ),
)
