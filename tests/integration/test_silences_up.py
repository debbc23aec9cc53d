"""A silence end to end: given by command, it keeps an incident from a receiver, and its end tells what still fires."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.integration.commands_here import run_here
from tests.integration.up_process import Up, run, running_up, wait_for

from flowgauge.schemas.signing_keys import new_secret
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

RULES = """
rules:
  - name: flow failing once
    match: {flow: "*"}
    for_each: [flow]
    when:
      consecutive_failures: {times: 1}
    notify: [receiver]
"""
AWAY = "http://127.0.0.1:9/"  # nobody listens: that it was tried is what counts


def publish_failure(up: Up, flow: str) -> None:
    run_id = f"{flow}-1"
    event = {
        "id": str(uuid.uuid4()), "occurred": rfc3339(now_ms()), "event": "run.failed", "kind": "flow-run",
        "flow": flow, "run": run_id, "state": "failed", "resource": {"id": run_id},
    }  # fmt: skip
    up.http.post("/v1/events", json=[event]).raise_for_status()


def outcomes(up: Up, flow: str) -> set[str]:
    """Return what became of telling of the flow's incident; nothing where there is none yet."""
    of: list[dict[str, Any]] = [row for row in up.rows("/v1/incidents") if row["key"] == {"flow": flow}]
    return {each["outcome"] for row in of for each in up.get(f"/v1/incidents/{row['incident_id']}")["deliveries"]}


def test_a_silence_keeps_an_incident_from_a_channel_until_it_is_ended(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(new_secret(os.urandom(32)), encoding="utf-8")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yaml").write_text(RULES, encoding="utf-8")
    channel = {"url": AWAY, "secret": {"file": str(tmp_path / "secret")}}
    channels = {"channels": [{"name": "receiver", "webhook": channel}]}
    (tmp_path / "rules" / "channels.yaml").write_text(json.dumps(channels), encoding="utf-8")
    with running_up(tmp_path / "data", "--rules", "rules", env={"FLOWGAUGE_EGRESS_ALLOW": "127.0.0.1:9"}) as up:
        silence = (
            "flow=orders",
            "--lasts",
            "1h",
            "--reason",
            "it moves",
            "--id",
            "move",
            "--as",
            "ann",
            "--url",
            up.url,
        )
        added = run_here("silences", "add", *silence)
        again = run_here("silences", "add", *silence)
        publish_failure(up, "orders")
        wait_for(lambda: up.rows("/v1/incidents"), "the incident")
        publish_failure(up, "stock")  # is told, and comes after what is hidden
        wait_for(lambda: "failed" in outcomes(up, "stock"), "a try of what is not silenced")
        hidden = outcomes(up, "orders")
        preview = run_here("silences", "preview", "flow=orders", "--url", up.url)
        listed = run_here("silences", "list", "--url", up.url)
        wrong = run_here("silences", "add", "flow", "--lasts", "1h", "--reason", "x", "--as", "ann", "--url", up.url)
        ended = run_here("silences", "expire", "move", "--as", "bob", "--url", up.url)
        wait_for(lambda: "failed" in outcomes(up, "orders"), "a try of what still fires at the end")

    assert (added.returncode, added.stdout) == (0, again.stdout), added.stderr
    assert added.stdout.startswith("move  active, ends ")
    assert hidden <= {"silenced"}
    assert "1 of 2 incidents open now" in preview.stdout
    assert "it moves" in listed.stdout
    assert (wrong.returncode, "matchers[0]: expected a field" in wrong.stderr) == (2, True)
    assert (ended.returncode, "move  expired" in ended.stdout) == (0, True), ended.stderr
    after = run("silences", "list", "--expired", "--data", str(tmp_path / "data"))
    assert "expired" in after.stdout, after.stderr
