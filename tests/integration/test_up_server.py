"""`flowgauge up` over a ClickHouse server: two of them, each with a log of its own, share one."""

from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from tests.clickhouse_front import Front
from tests.integration.up_process import Up, run, running_up, wait_for

from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def publish_a_failed_run(up: Up, flow: str) -> None:
    run_id = str(uuid4())
    event = {
        "id": str(uuid4()),
        "occurred": rfc3339(now_ms()),
        "event": "flow-run.failed",
        "kind": "flow-run",
        "flow": flow,
        "run": run_id,
        "state": "failed",
        "resource": {"id": f"flow-run.{run_id}"},
    }
    assert up.http.post("/v1/events", json=[event]).is_success


def shows_both(up: Up) -> bool:
    rows = up.rows("/v1/metrics/runs", since="1h")
    return {str(row["flow"]) for row in rows} == {"orders", "reports"}


def test_two_servers_of_ours_share_a_clickhouse_and_keep_nothing_of_it_themselves(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with Front(tmp_path / "front") as front:
        named = front.environment
        with running_up(folders[0] / "data", env=named) as one, running_up(folders[1] / "data", env=named) as two:
            publish_a_failed_run(one, "orders")
            publish_a_failed_run(two, "reports")

            for up in (one, two):
                wait_for(partial(shows_both, up), "the runs of both")

    assert not any((folder / "data" / "clickhouse").exists() for folder in folders)


def test_a_start_without_the_clickhouse_server_says_so_in_one_line(tmp_path: Path) -> None:
    refused = run("up", "--port", "0", env={"FLOWGAUGE_CLICKHOUSE_URL": "http://127.0.0.1:1"}, cwd=tmp_path)

    assert (refused.returncode, refused.stdout, refused.stderr) == (
        3,
        "",
        (
            "flowgauge: no ClickHouse answers at http://127.0.0.1:1: no connection: Connection refused"
            " (start it there, or correct clickhouse.url)\n"
        ),
    )
    assert [path.name for path in (tmp_path / ".flowgauge").iterdir() if path.name not in {"lock", "rules"}] == []
