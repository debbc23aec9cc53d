"""`rules plan` and `rules explain` against the rules in force: of a running server, and out of its data folder."""

import json
from pathlib import Path

import pytest
from tests.integration.commands_here import run_here
from tests.integration.up_process import RULES, Up, run, running_up, wait_for
from tests.property.detection import START_MS
from tests.unit.test_replay import line

from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CHANGED = RULES.replace("above: 50%", "above: 40%").replace("  - name: runs not starting", "  - name: runs late")
PLANNED = """\
~ flow failing: changed; its windows begin empty; 1 open incident goes on under the same id
    when.failure_rate.above: 50% → 40%
+ runs late: new; its windows begin empty
"""
REMOVED = "- runs not starting: removed; nothing is open\n3 rules: 1 new, 1 changed, 1 removed\n"


PLAN = ("rules", "plan", "new.yaml", "--data", "data")


def failing(up: Up) -> None:
    """Let runs of orders fail until that is an open incident, of a window that is not over soon."""
    shift_ms = now_ms() - START_MS
    lines = [line(number, shift_ms, state="failed", flow="orders") for number in range(6)]
    events = [{k: v for k, v in json.loads(each).items() if not k.startswith("_")} for each in lines]
    up.http.post("/v1/events", json=events).raise_for_status()
    wait_for(lambda: up.rows("/v1/incidents", open="true"), "the incident")


def test_a_plan_and_an_explanation_are_of_the_rules_that_run_and_without_a_server_of_the_folders_log(
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    (tmp_path / "new.yaml").write_text(CHANGED, encoding="utf-8")
    asked = ("rules", "explain", "flow failing", "flow=orders", "--data", "data", "--since", "1h")

    with running_up(tmp_path / "data") as up:
        applied = run_here("rules", "apply", "rules.yaml", "--data", "data", cwd=tmp_path)
        wait_for(lambda: up.get("/v1/health")["rules_version"] == 2, "the rules")
        failing(up)
        live = run_here(*PLAN, cwd=tmp_path)
        as_json = json.loads(run_here(*PLAN, "--format", "json", cwd=tmp_path).stdout)["rules"]
        # It reads what is stored, which is up to some seconds behind what is detected.
        wait_for(lambda: "firing" in run_here(*asked, cwd=tmp_path).stdout, "what is stored to reach the incident")
        explained = run_here(*asked, cwd=tmp_path)
    alone = run(*PLAN, cwd=tmp_path)
    unknown = run("rules", "explain", "no such rule", "--data", "data", cwd=tmp_path)

    assert applied.returncode == 0, applied.stderr
    assert (live.returncode, live.stderr) == (0, "")
    assert live.stdout.startswith(PLANNED)
    assert live.stdout.endswith(REMOVED)
    assert [(each["rule"], each["what"], each["open_incidents"]) for each in as_json] == [
        ("flow failing", "changed", 1),
        ("runs late", "new", 0),
        ("runs not starting", "removed", 0),
    ]
    assert explained.returncode == 0, explained.stderr
    assert "firing" in explained.stdout
    assert alone.stdout == live.stdout
    assert "no server runs: the rules in force are read from data" in alone.stderr
    assert unknown.returncode == 2
    assert "tenant default has no rule 'no such rule'; there are flow failing, runs not starting" in unknown.stderr


def test_a_plan_where_nothing_runs_and_nothing_ran_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(CHANGED, encoding="utf-8")

    found = run_here(*PLAN, "--url", "http://127.0.0.1:1", cwd=tmp_path)

    assert found.returncode == 3
    assert "start one with `flowgauge up`" in found.stderr
