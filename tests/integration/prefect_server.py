"""A real Prefect server in its own environment, which .ci/peer prefect prepares, alone or one of several."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from tests.integration.fenced_blocks import blocks, exports
from tests.integration.peer_environment import end_group, peer_environment
from tests.integration.prefect_database import VENV, environment_of, prepare_database

from flowgauge.producers.prefect.api import Credentials
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

ROOT = Path(__file__).parents[2]
FLOWS = ROOT / "tests" / "prefect" / "flows.py"
BURST = ROOT / "tests" / "prefect" / "burst.py"
URL, REDIS = "FLOWGAUGE_URL", "PREFECT_REDIS_MESSAGING_URL"
START_S_MAX = 300.0  # its first start compiles all of Prefect

STOP_S_MAX = 20.0

AfterSigterm = Callable[[subprocess.Popen[bytes]], None]


class PrefectServer:
    """A Prefect server in its own environment, set up as docs/connect-prefect.md says: over HTTP, or to Kafka.

    `where` has the variables that say where flowgauge is, and where the Redis is that several servers share, if any;
    None: a server that knows nothing of flowgauge. Servers with the same `database` share that too. `more` goes to the
    server and to its clients as it is.
    """

    def __init__(
        self, home: Path, where: Mapping[str, str] | None, *, database: Path | None = None, **more: str
    ) -> None:
        told = where or {}
        documented = documented_exports("FLOWGAUGE_KAFKA_BOOTSTRAP" if "FLOWGAUGE_KAFKA_BOOTSTRAP" in told else URL)
        if REDIS in told:
            documented |= documented_exports(REDIS)
        assert told.keys() <= {*documented, "FLOWGAUGE_KAFKA_PREFIX"}
        self._home = home
        self._home.mkdir(exist_ok=True)
        kept = database or home / "prefect.db"
        prepare_database(kept)
        self._port = free_port()
        self.api = f"http://127.0.0.1:{self._port}/api"
        self.headers = Credentials.of(more).headers
        self._environment = {
            **environment_of(home, kept),
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            **({} if where is None else {**documented, **where}),
            **more,
        }

    @property
    def log(self) -> str:
        return (self._home / "server.log").read_text()

    @contextmanager
    def serving(self, *flags: str, after_sigterm: AfterSigterm = lambda _process: None) -> Generator["PrefectServer"]:
        process = self._begin("start", "--host", "127.0.0.1", "--port", str(self._port), *flags, log="server.log")
        try:
            self._wait_until_it_answers(process)
            yield self
        finally:
            stop(process, after_sigterm)

    @contextmanager
    def services(self, *, after_sigterm: AfterSigterm) -> Generator[None]:
        """Run the services of a server that runs none itself, in a process of their own."""
        process = self._begin("services", "start", log="services.log")
        try:
            yield
        finally:
            stop(process, after_sigterm)

    def _begin(self, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        with (self._home / log).open("wb") as output:
            return subprocess.Popen(
                [str(VENV / "bin" / "prefect"), "server", *arguments],
                cwd=self._home,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run_flows(self) -> dict[str, str]:
        """Run the three flows; return their run ids by flow."""
        return cast("dict[str, str]", self._ask(FLOWS))

    def burst(self, count: int) -> set[str]:
        """Emit events as fast as Prefect's own client does; return their ids once all are with the server."""
        return set(cast("list[str]", self._ask(BURST, str(count))))

    def publish(self, events: Sequence[Mapping[str, object]]) -> int:
        """Post events; return the status of the answer."""
        return httpx2.post(f"{self.api}/events", json=events, timeout=60).status_code

    def add_automation(self, *, expect: str) -> None:
        """Let the services tell of each event with a name that they saw it."""
        trigger = {"type": "event", "posture": "Reactive", "expect": [expect], "threshold": 1, "within": 0}
        automation = {"name": "seen", "trigger": trigger, "actions": [{"type": "do-nothing"}]}
        assert httpx2.post(f"{self.api}/automations/", json=automation).status_code == 201

    def stored_events(self, name: str) -> list[str]:
        """Return the ids of the events with a name that Prefect itself has stored by now, 50 at most."""
        wanted = {"filter": {"event": {"name": [name]}}, "limit": 50}
        events = httpx2.post(f"{self.api}/events/filter", json=wanted).json()["events"]
        return [cast("str", stored["id"]) for stored in events]

    def _ask(self, program: Path, *arguments: str) -> object:
        """Run a program that uses Prefect to its end; return the JSON in its last line."""
        done = subprocess.run(
            [VENV / "bin" / "python", program, *arguments],
            cwd=self._home,
            env=self._environment | {"PREFECT_API_URL": self.api},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.log
        return json.loads(done.stdout.splitlines()[-1])

    def call(self, path: str, body: object) -> Any:
        """Return what Prefect answers to a POST."""
        response = httpx2.post(f"{self.api}{path}", json=body, headers=self.headers, timeout=60)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def stored_ids(self) -> set[str]:
        """Return the ids of the logs and flow-run events that Prefect itself has stored by now."""
        logs = self.call("/logs/filter", {"limit": 200})
        wanted = {"filter": {"event": {"prefix": ["prefect.flow-run."]}}, "limit": 50}
        events = self.call("/events/filter", wanted)["events"]
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


def documented_exports(name: str) -> dict[str, str]:
    """Return what the block of docs/connect-prefect.md exports that sets the variable `name`."""
    every = (exports(block) for block in blocks(ROOT / "docs" / "connect-prefect.md", "sh"))
    return next(found for found in every if name in found)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes], after_sigterm: AfterSigterm) -> None:
    """End the process group that was started, gently first."""
    process.terminate()
    after_sigterm(process)
    end_group(process, STOP_S_MAX)


def need_prefect() -> None:
    """Skip where there is no Prefect environment; fail on a machine that must have one."""
    peer_environment("prefect", "220 MB")
