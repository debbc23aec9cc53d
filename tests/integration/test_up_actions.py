"""Actions from event to deed in one process: run once, never by their own events, stopped by a word."""

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.up_process import Up, run, running_up, wait_for

from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.webhooks.actions.guard import OWN_EVENT, STOPPED
from flowgauge.sinks.webhooks.actions.result import CHAIN_MAX
from flowgauge.sinks.webhooks.telling import UNKNOWN_OUTCOME
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PROGRAM = f"""#!{sys.executable}
import json, os, sys
with open(os.path.join(os.path.dirname(sys.argv[0]), "ran"), "a") as ran:
    ran.write(json.load(sys.stdin)["data"]["rule"] + "\\n")
if os.path.exists(gate := os.path.join(os.path.dirname(sys.argv[0]), "gate")):
    open(gate).read()
"""
RULES = """
actions:
  - {name: tidy, command: {run: [PROGRAM]}, limit: {count: 1000}, timeout: 1m, idempotent: IDEMPOTENT}
rules:
  - {name: failed, match: {state: failed}, for_each: [flow], when: {event: {}}, actions: [tidy]}
  - {name: what actions did, match: {event: "flowgauge.action.*"}, when: {event: {}}, actions: [tidy]}
"""


def write_rules(folder: Path, *, is_idempotent: bool = False) -> None:
    """Write the program, the rules that run it, and the settings that let them."""
    program = folder / "program"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    (folder / "rules").mkdir()
    rules = RULES.replace("PROGRAM", str(program)).replace("IDEMPOTENT", str(is_idempotent).lower())
    (folder / "rules" / "a.yaml").write_text(rules, encoding="utf-8")
    (folder / "flowgauge.toml").write_text(f'[actions]\ncommands = ["{program}"]\n')


@pytest.fixture
def up(tmp_path: Path) -> Generator[Up]:
    write_rules(tmp_path)
    with running_up(tmp_path / "data", "--rules", "rules") as running:
        yield running


def fail(up: Up, flow: str) -> None:
    """Let a run of `flow` fail."""
    event = {"event": "flow-run.failed", "kind": "flow-run", "flow": flow, "run": str(uuid4()), "state": "failed"}
    told = {"id": str(uuid4()), "occurred": rfc3339(now_ms()), "resource": {"id": "r"}, **event}
    up.http.post("/v1/events", json=[told]).raise_for_status()


def deliveries(up: Up, rule: str) -> list[dict[str, Any]]:
    """Return what became of the actions of a rule's incidents, those that came to an end."""
    ids = [row["incident_id"] for row in up.rows("/v1/incidents") if row["rule"] == rule]
    told = [each for incident in ids for each in up.get(f"/v1/incidents/{incident}")["deliveries"]]
    return [each for each in told if each["outcome"] in {"delivered", "dead"}]


def outcomes(up: Up) -> list[tuple[str, str]]:
    return [(each["outcome"], each["reason"]) for each in deliveries(up, "failed")]


def failing_until(up: Up, ended: tuple[str, str]) -> None:
    """Let runs fail until the action of one more ended so: a word in the log is read within a second."""
    before = outcomes(up).count(ended)

    def has_ended() -> bool:
        fail(up, f"flow {uuid4()}")
        return outcomes(up).count(ended) > before

    wait_for(has_ended, f"{ended}")


def switch(up: Up, verb: str) -> str:
    done = run("actions", verb, "--as", "ann", "--url", up.url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_action_is_run_once_and_neither_by_its_own_event_nor_while_it_is_stopped(up: Up, tmp_path: Path) -> None:
    fail(up, "orders")
    (done,) = wait_for(lambda: deliveries(up, "failed"), "the action")
    circle = wait_for(
        lambda: len(found := deliveries(up, "what actions did")) > CHAIN_MAX and found, "the end of the chain"
    )
    ran = tmp_path / "ran"

    assert (done["channel"], done["outcome"], done["attempts"]) == ("action:tidy", "delivered", 1)
    assert [(each["outcome"], each["reason"]) for each in circle] == [("dead", OWN_EVENT)] * (CHAIN_MAX + 1)
    assert ran.read_text() == "failed\n"
    assert "action tidy" in up.http.get(f"/incidents/{up.rows('/v1/incidents')[-1]['incident_id']}").text

    assert "stopped" in switch(up, "stop")
    failing_until(up, ("dead", STOPPED))
    ran.unlink()
    failing_until(up, ("dead", STOPPED))
    assert not ran.exists()

    assert "going" in switch(up, "start")
    failing_until(up, ("delivered", ""))
    assert set(ran.read_text().splitlines()) == {"failed"}


@pytest.mark.parametrize(("is_idempotent", "times"), [(False, 1), (True, 2)], ids=["once", "idempotent"])
def test_after_a_kill_what_may_have_been_done_is_only_done_again_where_that_does_no_harm(
    tmp_path: Path, *, is_idempotent: bool, times: int
) -> None:
    write_rules(tmp_path, is_idempotent=is_idempotent)
    gate, ran = tmp_path / "gate", tmp_path / "ran"
    os.mkfifo(gate)
    with running_up(tmp_path / "data", "--rules", "rules") as up:
        fail(up, "orders")
        with gate.open("w"):  # the program runs, and waits
            up.process.kill()
            up.process.wait()
            gate.unlink()

    with running_up(tmp_path / "data", "--rules", "rules") as up:
        (done,) = wait_for(lambda: deliveries(up, "failed"), "the end of the action")

    ended = ("delivered", "") if is_idempotent else ("dead", UNKNOWN_OUTCOME)
    assert (done["outcome"], done["reason"]) == ended
    assert ran.read_text() == "failed\n" * times
