"""A month of events, made inside ClickHouse by `month.sql`: 206 events a run, 50 tenants, from Monday 2026-10-26."""

from functools import cache
from importlib.resources import files
from typing import Final

START_MS: Final = 1_792_972_800_000  # Monday 2026-10-26 00:00 UTC
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
RUNS_A_DAY: Final = 33_334  # 30 days are a million runs and 206 M events
EVENTS_A_RUN: Final = 206


@cache
def insert() -> str:
    """Return the statement that makes runs; `run_bounds` binds which."""
    return (files("benchmarks.questions") / "month.sql").read_text("utf-8")


def run_bounds(first_run: int, runs: int) -> dict[str, object]:
    """Return the parameters of `insert` for the runs [first_run, first_run + runs)."""
    return {"first_run": first_run, "runs": runs, "start_ms": START_MS, "runs_a_day": RUNS_A_DAY}
