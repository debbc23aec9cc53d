"""A real Prefect server in its own environment, which .ci/peer prefect prepares."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from tests.integration.fenced_blocks import blocks, exports

from flowgauge.producers.prefect.api import Credentials
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".cache" / "prefect-venv"
FLOWS = ROOT / "tests" / "prefect" / "flows.py"
START_S_MAX = 300.0  # its first start compiles all of Prefect

AfterSigterm = Callable[[subprocess.Popen[bytes]], None]


class PrefectServer:
    """A Prefect server in its own environment, set up as docs/connect-prefect.md says: over HTTP, or to Kafka.

    `where` has the variables that say where flowgauge is; None: a server that knows nothing of flowgauge.
    """

    def __init__(self, home: Path, where: Mapping[str, str] | None, **more: str) -> None:
        over_http, to_kafka, *_ = blocks(ROOT / "docs" / "connect-prefect.md", "sh")
        documented = exports(to_kafka if "FLOWGAUGE_KAFKA_BOOTSTRAP" in (where or {}) else over_http)
        assert (where or {}).keys() <= {*documented, "FLOWGAUGE_KAFKA_PREFIX"}
        self._home = home
        self._port = free_port()
        self.api = f"http://127.0.0.1:{self._port}/api"
        self.headers = Credentials.of(more).headers
        self._environment = {
            "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "PREFECT_HOME": str(home),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home}/prefect.db",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            **({} if where is None else {**documented, **where}),
            **more,
        }

    @property
    def log(self) -> str:
        return (self._home / "server.log").read_text()

    @contextmanager
    def serving(self, after_sigterm: AfterSigterm = lambda _process: None) -> Generator["PrefectServer"]:
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
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.log
        return cast("dict[str, str]", json.loads(done.stdout.splitlines()[-1]))

    def ask(self, path: str, body: object) -> Any:
        """Return what Prefect answers to a POST."""
        response = httpx2.post(f"{self.api}{path}", json=body, headers=self.headers, timeout=60)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def stored_ids(self) -> set[str]:
        """Return the ids of the logs and flow-run events that Prefect itself has stored by now."""
        logs = self.ask("/logs/filter", {"limit": 200})
        wanted = {"filter": {"event": {"prefix": ["prefect.flow-run."]}}, "limit": 50}
        events = self.ask("/events/filter", wanted)["events"]
        return {cast("str", stored["id"]) for stored in [*logs, *events]}

    def write_logs(self, count: int) -> None:
        """Write logs of no run, as many requests."""
        log = {"name": "late", "level": 20, "message": "last words", "timestamp": rfc3339(now_ms())}
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
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes], after_sigterm: AfterSigterm) -> None:
    """End the process group that was started, gently first."""
    process.terminate()
    after_sigterm(process)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def need_prefect() -> None:
    """Skip where there is no Prefect environment; fail on a machine that must have one."""
    if (VENV / ".made-from").exists():
        return
    remedy = "no Prefect environment: run .ci/peer prefect (a minute, 220 MB in .cache/)"
    if os.environ.get("CI") == "true":
        pytest.fail(remedy)
    pytest.skip(remedy)
