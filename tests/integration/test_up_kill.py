"""kill -9 of `flowgauge up` under load, again and again: nothing lost, nothing doubled, everything told."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import msgspec
import pytest
from tests.integration.fenced_blocks import ROOT
from tests.integration.up_process import Up, end, running_up, wait_for

from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.times import parse_time_ms, rfc3339
from flowgauge.transport.wall_clock import now_ms

KILLS = int(os.environ.get("FLOWGAUGE_KILLS", "4"))  # `make torture` does more
SEED = 20261123
PARTITIONS = 2
BATCH = 40
FLOWS = ("orders-sync", "nightly-etl", "ml-train")
CHANNEL = "receiver"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NDJSON = {"Content-Type": "application/x-ndjson"}
SETTLE_MS = 15_000  # window, lateness and pane of the rule, and some pulses

FILES = """
rules:
  - name: failing
    for_each: [flow]
    when: {{failure_rate: {{above: 60%, within: 3s, min_samples: 4}}}}
    allowed_lateness: 2s
    no_data: resolve
    notify: [{channel}]
  - name: crashed
    match: {{state: crashed}}
    for_each: [flow]
    when: {{event: {{}}}}
    notify: [{channel}]
channels:
  - name: {channel}
    webhook: {{url: "http://127.0.0.1:{port}/hook", secret: {{env: HOOK_SECRET}}}}
"""


encode = msgspec.json.Encoder().encode


@dataclass
class Receiver:
    """A webhook endpoint that answers 500 to every fifth request, and remembers ids in order."""

    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    accepted: list[str] = field(default_factory=list[str])

    def serve(self) -> ThreadingHTTPServer:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.received.append((self.headers["webhook-id"], body))
                ok = len(receiver.received) % 5 != 0
                if ok:
                    receiver.accepted.append(self.headers["webhook-id"])
                self.send_response(204 if ok else 500)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


class Load:
    """A producer that sends without pause to where the process is now, retries with the same ids, and notes acks."""

    def __init__(self, chance: random.Random) -> None:
        self._url = ""
        self._chance = chance
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.acked: list[str] = []
        self.sent = 0

    def send_to(self, url: str) -> None:
        """Send to `url` from now on."""
        self._url = url
        if not self._thread.is_alive():
            self._thread.start()

    def finish(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self) -> None:
        with httpx2.Client(timeout=10) as client:
            while not self._stop.is_set():
                batch = [self._event() for _ in range(BATCH)]
                while not self._send(client, batch) and not self._stop.is_set():
                    time.sleep(0.02)

    def _send(self, client: httpx2.Client, batch: list[dict[str, object]]) -> bool:
        try:
            answer = client.post(f"{self._url}/v1/events", content=b"\n".join(map(encode, batch)), headers=NDJSON)
        except httpx2.HTTPError:
            return False
        if answer.status_code != 200:
            return False
        assert answer.json()["accepted"] == len(batch), answer.text
        self.acked += [str(event["id"]) for event in batch]
        return True

    def _event(self) -> dict[str, object]:
        self.sent += 1
        number, now = self.sent, now_ms()
        failing = FLOWS[now // 7_000 % len(FLOWS)]  # each flow in turn has its bad seconds
        flow = self._chance.choice(FLOWS)
        state = "failed" if flow == failing and self._chance.random() < 0.9 else "completed"
        state = "crashed" if self._chance.random() < 0.002 else state
        run = f"run-{number}"
        return {
            "id": str(UUID(int=number)),
            "occurred": rfc3339(now),
            "event": f"flow-run.{state}",
            "kind": "flow-run",
            "flow": flow,
            "run": run,
            "state": state,
            "resource": {"id": f"flow-run.{run}"},
        }


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, int]]:
    found = Receiver()
    server = found.serve()
    yield found, server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.integration
@pytest.mark.timeout(180 + 15 * KILLS)
def test_kills_under_load_lose_and_double_nothing(tmp_path: Path, receiver: tuple[Receiver, int]) -> None:
    hook, port = receiver
    chance = random.Random(SEED)
    data, arguments = tmp_path / "data", _arguments(tmp_path, port)
    load = Load(chance)
    try:
        for _ in range(KILLS):
            with running_up(data, *arguments, env={"HOOK_SECRET": SECRET}) as up:
                load.send_to(up.url)
                time.sleep(chance.uniform(0.1, 1.5))  # the moment of the kill is the point, not a wait for something
                up.process.kill()
        load.finish()
        with running_up(data, *arguments, env={"HOOK_SECRET": SECRET}) as up:
            _wait_until_settled(up, now_ms() + SETTLE_MS)
            assert end(up.process) == 0, (tmp_path / "up.err").read_text()
    finally:
        load.finish()

    found = _audit(data)
    told = {str(body["data"]["transition_id"]) for _, body in hook.received}
    print(
        f"kills {KILLS}: acked {len(load.acked)}, in the log {found['log_events']}, stored {found['stored']}, "
        f"transitions {len(found['told'])}, webhooks {len(hook.received)} under {len(set(hook.accepted))} ids"
    )
    assert found["stored"] == [found["log_events"], found["log_events"], len(found["log_ids"])]
    assert set(load.acked) <= set(found["log_ids"])
    assert found["runs"] == found["runs_from_raw"]
    assert found["ends"] == found["ends_from_raw"]
    assert found["told_twice"] == []
    assert found["told"] == found["expected"]
    assert found["stored_transitions"] == len(found["told"])
    assert len(found["told"]) > 0
    assert {delivery_id(transition, CHANNEL) for transition in told} == set(hook.accepted)
    assert told <= set(found["told"])
    assert set(found["to_deliver"]) - set(found["superseded"]) <= told
    assert _resolved_before_firing(hook) == []


def _arguments(folder: Path, port: int) -> list[str]:
    rules = folder / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(FILES.format(port=port, channel=CHANNEL))
    settings = folder / "settings.toml"
    settings.write_text(f'[egress]\nallow = ["127.0.0.1:{port}"]\n')
    return ["--rules", str(rules), "--config", str(settings), "--partitions", str(PARTITIONS)]


def _wait_until_settled(up: Up, clock_ms: int) -> None:
    """Wait until detection has passed `clock_ms` and nothing is owed to anybody."""

    def is_settled() -> bool:
        health = up.get("/v1/health")
        clock = health["detection_clock"]
        has_passed = clock is not None and parse_time_ms(clock) >= clock_ms
        return has_passed and not health["sink_behind"] and not health["undelivered"]

    wait_for(is_settled, "detection to pass the load, and nothing owed")


def _audit(data: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.integration.audit_up", str(data), str(PARTITIONS)]
    answer = subprocess.run(command, capture_output=True, check=False, timeout=120, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr.decode()
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def _resolved_before_firing(hook: Receiver) -> list[object]:
    """Return incidents whose resolve was accepted before their firing."""
    first: dict[object, Counter[str]] = {}
    accepted = set(hook.accepted)
    wrong: list[object] = []
    for webhook_id, body in hook.received:
        data = body["data"]
        seen = first.setdefault(data["incident_id"], Counter())
        if body["type"] == "incident.resolved" and not seen["incident.firing"]:
            wrong.append(data["incident_id"])
        if webhook_id in accepted:
            seen[str(body["type"])] += 1
    return wrong
