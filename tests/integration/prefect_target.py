"""`flowgauge up` as what a Prefect server tells its events, and the log that holds them."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
from tests.integration.up_process import Up, running_up

from flowgauge.console.up import partitions_of
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.local import open_local_log

TENANT, TOKEN = "data-team", "prefect-token"
SETTINGS = f"""
[tenants.{TENANT}]
tokens = [{{ env = "PREFECT_TEST_TOKEN" }}]
"""
ENDED = {("nightly-etl", "completed"), ("orders-sync", "failed"), ("stubborn-report", "completed")}
READ_MAX = 100_000  # records; far more than flows and bursts make

Json = dict[str, Any]


def over_http(url: str) -> dict[str, str]:
    """Return what a Prefect server's environment says of flowgauge at `url`."""
    return {"FLOWGAUGE_URL": url, "FLOWGAUGE_TOKEN": TOKEN}


@contextmanager
def running_target(folder: Path, rules: str = "rules: []") -> Generator[Up]:
    """Run `flowgauge up` with one tenant, whose token the client has, and nothing in it; its data is in folder/data."""
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "rules.yaml").write_text(rules, encoding="utf-8")
    (folder / "flowgauge.toml").write_text(SETTINGS, encoding="utf-8")
    with running_up(folder / "data", "--rules", "rules", env={"PREFECT_TEST_TOKEN": TOKEN}) as running:
        running.http.headers["authorization"] = f"Bearer {TOKEN}"
        yield running


def ended_runs(up: Up) -> set[tuple[str, str]]:
    """Return flow and state of the runs that ClickHouse answers with."""
    return {(row["flow"], row["state"]) for row in up.rows("/v1/metrics/runs")}


async def read_events(data: Path) -> list[Json]:
    """Return every event in the log of a folder that no process holds."""
    log = await open_local_log(data, partitions=partitions_of(Settings(data=data)))
    try:
        records = await log.read(EVENTS, 0, 0, READ_MAX)
    finally:
        await log.close()
    return [msgspec.json.decode(record.value) for record in records if record.kind == RecordKind.EVENT and record.value]


def states(events: Sequence[Json], kind: str, run: str) -> list[str]:
    """Return the states of a run, or of its only task, in event-time order."""
    about = (e for e in events if e.get("kind") == kind and e.get("run") == run and "state" in e)
    return [event["state"] for event in sorted(about, key=lambda e: cast("str", e["occurred"]))]
