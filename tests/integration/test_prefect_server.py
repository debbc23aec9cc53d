"""A real Prefect server with the broker plugin: what its flows do arrives, whole and in flowgauge's words."""

import gzip
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".cache" / "prefect-venv"
FLOWS = ROOT / "tests" / "prefect" / "flows.py"
TOKEN = "prefect-token"

START_S_MAX = 90.0
ARRIVAL_S_MAX = 30.0

Json = dict[str, Any]

pytestmark = [pytest.mark.prefect, pytest.mark.integration]


class Recorder:
    """Stands for flowgauge: keeps the events that are posted to /v1/events with the right token."""

    def __init__(self) -> None:
        self._events: dict[str, Json] = {}
        self._arrived = threading.Condition()
        self._open = threading.Event()
        self._open.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def events(self, is_enough: Callable[[list[Json]], bool]) -> list[Json]:
        """Return what arrived, in order, once it is enough or the time is up."""
        with self._arrived:
            self._arrived.wait_for(lambda: is_enough(list(self._events.values())), ARRIVAL_S_MAX)
            return list(self._events.values())

    def hold(self) -> None:
        """Answer nobody until `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    @contextmanager
    def serving(self) -> Generator["Recorder"]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _keep(self, body: bytes) -> int:
        events = cast("list[Json]", [json.loads(line) for line in body.splitlines() if line.strip()])
        with self._arrived:
            self._events.update((event["id"], event) for event in events)
            self._arrived.notify_all()
        return len(events)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        keep, is_open = self._keep, self._open

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the standard library's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_open.wait(ARRIVAL_S_MAX)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                is_ours = self.path == "/v1/events" and self.headers.get("Authorization") == f"Bearer {TOKEN}"
                answer = json.dumps({"accepted": keep(body) if is_ours else 0, "rejected": 0, "errors": []}).encode()
                self.send_response(200 if is_ours else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Be quiet."""

        return Handler


class PrefectServer:
    """A Prefect server in its own environment, with the plugin pointed at a flowgauge."""

    def __init__(self, home: Path, flowgauge_url: str) -> None:
        self._home = home
        self._port = free_port()
        self.api = f"http://127.0.0.1:{self._port}/api"
        self._environment = {
            "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "PREFECT_HOME": str(home),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home}/prefect.db",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "flowgauge.producers.prefect.broker",
            "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
            "FLOWGAUGE_URL": flowgauge_url,
            "FLOWGAUGE_TOKEN": TOKEN,
        }

    @property
    def log(self) -> str:
        return (self._home / "server.log").read_text()

    @contextmanager
    def serving(self, after_sigterm: Callable[[], None] = lambda: None) -> Generator["PrefectServer"]:
        command = [str(VENV / "bin" / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(self._port)]
        with (self._home / "server.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self._home,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers(process)
            yield self
        finally:
            stop(process, after_sigterm)

    def run_flows(self) -> dict[str, str]:
        """Run the three flows; return their run ids by flow."""
        environment = self._environment | {"PREFECT_API_URL": self.api}
        done = subprocess.run(
            [VENV / "bin" / "python", FLOWS],
            cwd=self._home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.log
        return cast("dict[str, str]", json.loads(done.stdout.splitlines()[-1]))

    def stored_ids(self) -> set[str]:
        """Return the ids of the logs and flow-run events that Prefect itself has stored by now."""
        logs = httpx2.post(f"{self.api}/logs/filter", json={"limit": 200}).json()
        wanted = {"filter": {"event": {"prefix": ["prefect.flow-run."]}}, "limit": 50}
        events = httpx2.post(f"{self.api}/events/filter", json=wanted).json()["events"]
        return {cast("str", stored["id"]) for stored in [*logs, *events]}

    def write_logs(self, count: int) -> None:
        """Write logs of no run, as many requests."""
        log = {"name": "late", "level": 20, "message": "last words", "timestamp": "2026-11-23T10:00:00Z"}
        for _ in range(count):
            assert httpx2.post(f"{self.api}/logs/", json=[log]).status_code == 201

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            assert process.poll() is None, f"Prefect's server ended by itself:\n{self.log}"
            try:
                if httpx2.get(f"{self.api}/health", timeout=5).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.2)  # nothing tells when a foreign server is ready but asking it
        pytest.fail(f"Prefect's server did not answer within {START_S_MAX} s:\n{self.log}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes], after_sigterm: Callable[[], None]) -> None:
    """End the process group that was started, gently first."""
    process.terminate()
    after_sigterm()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


@pytest.fixture
def prefect_environment() -> None:
    if (VENV / ".made-from").exists():
        return
    remedy = "no Prefect environment: run .ci/prefect (a minute, 220 MB in .cache/)"
    if os.environ.get("CI") == "true":
        pytest.fail(remedy)
    pytest.skip(remedy)


def states(events: Sequence[Json], kind: str, run: str) -> list[str]:
    """Return the states of a run, or of its only task, in event-time order."""
    about = (e for e in events if e["kind"] == kind and e.get("run") == run and "state" in e)
    return [event["state"] for event in sorted(about, key=lambda e: cast("str", e["occurred"]))]


@pytest.mark.timeout(180)
def test_flows_on_a_real_prefect_server_arrive_with_states_logs_and_flow(
    tmp_path: Path, prefect_environment: None
) -> None:
    with Recorder().serving() as flowgauge:
        with PrefectServer(tmp_path, flowgauge.url).serving(after_sigterm=flowgauge.release) as prefect:
            runs = prefect.run_flows()
            flowgauge.hold()
            prefect.write_logs(50)
            stored = prefect.stored_ids()
        # The server has ended: what it had published, and could not send before SIGTERM, it has sent after it.
        events = flowgauge.events(lambda events: stored <= {e["id"] for e in events} and all_ended(events, runs))

    assert stored - {event["id"] for event in events} == set()
    assert {flow: states(events, "flow-run", run) for flow, run in runs.items()} == {
        "nightly-etl": ["pending", "running", "completed"],
        "orders-sync": ["pending", "running", "failed"],
        "stubborn-report": ["pending", "running", "completed"],
    }
    assert {flow: states(events, "task-run", run) for flow, run in runs.items()} == {
        "nightly-etl": ["pending", "running", "completed"],
        "orders-sync": [],
        "stubborn-report": ["pending", "running", "retrying", "retrying", "completed"],
    }
    told = {(e.get("flow"), e["payload"]["level"], e["payload"]["message"]) for e in events if e["kind"] == "log"}
    assert {
        ("nightly-etl", "INFO", "extracted 42 rows"),
        ("orders-sync", "ERROR", "orders-db is away"),
        ("stubborn-report", "WARNING", "it took its retries"),
    } <= told
    assert {e["flow"] for e in events if e["kind"] in ("flow-run", "task-run", "log") and "run" in e} == set(runs)
    assert "not told to flowgauge" not in prefect.log


@pytest.mark.timeout(180)
def test_a_flowgauge_that_is_away_changes_nothing_for_prefect(tmp_path: Path, prefect_environment: None) -> None:
    with PrefectServer(tmp_path, f"http://127.0.0.1:{free_port()}").serving() as prefect:
        runs = prefect.run_flows()

        assert set(runs) == {"nightly-etl", "orders-sync", "stubborn-report"}
        assert prefect.stored_ids() != set()


def all_ended(events: Sequence[Json], runs: dict[str, str]) -> bool:
    """Tell whether each run has ended, and the tasks of those that have one."""
    ended = {(e["kind"], e.get("run")) for e in events if e.get("state") in ("completed", "failed")}
    with_task = ("nightly-etl", "stubborn-report")
    return {("flow-run", run) for run in runs.values()} | {("task-run", runs[flow]) for flow in with_task} <= ended
