"""The SQL of questions, from queries/. Pure."""

from functools import cache
from importlib.resources import files

from flowgauge.sinks.clickhouse.run_metrics import with_runs


@cache
def question(name: str) -> str:
    """Return the SQL of the question `name`."""
    path = files("flowgauge.sinks.clickhouse") / "queries" / f"{name.replace('-', '_')}.sql"
    return with_runs(path.read_text("utf-8"))
