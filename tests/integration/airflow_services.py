"""A real Airflow in its own environment, set up as docs/connect-airflow.md says."""

import os
import secrets
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from tests.integration.fenced_blocks import blocks, exports
from tests.integration.peer_environment import ROOT, end_group
from tests.integration.prefect_server import free_port
from tests.integration.up_process import wait_for

from flowgauge.transport.wall_clock import now_ms

DOCUMENT = ROOT / "docs" / "connect-airflow.md"
DAGS = ROOT / "tests" / "airflow" / "dags.py"
SERVICES = {"dag-processor": (), "api-server": (), "scheduler": ("--skip-serve-logs",)}
PASSWORD = "sesame-open"  # of a connection: Airflow masks it in its logs

START_S_MAX = 120.0  # its first start compiles
STOP_S_MAX = 10.0  # what it was to tell has arrived by then: LocalExecutor may wait for nothing


class Airflow:
    """An Airflow with a database, the example's DAGs, and the documented plugin and variables."""

    def __init__(self, environment: Path, home: Path, url: str, token: str) -> None:
        self._bin = environment / "bin"
        self._home = home
        self.yesterday = datetime.fromtimestamp(now_ms() / 1000, UTC).date() - timedelta(days=1)
        (plugin,) = blocks(DOCUMENT, "python")
        for folder, name, text in (
            ("plugins", "flowgauge_plugin.py", plugin.text),
            ("dags", "dags.py", DAGS.read_text()),
        ):
            (home / folder).mkdir(parents=True)
            (home / folder / name).write_text(text, encoding="utf-8")
        where = {"FLOWGAUGE_URL": url, "FLOWGAUGE_TOKEN": token}
        documented = [name for block in blocks(DOCUMENT, "sh") for name in exports(block)]
        assert documented == list(where)
        self._port = free_port()
        self.environment = {**self._settings(self._port), **where}

    def run(self, *command: str) -> str:
        """Run a command to its end; return what it prints."""
        done = subprocess.run(
            [self._bin / command[0], *command[1:]],
            cwd=self._home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self) -> Generator[None]:
        """Make the database and run the services; at the end the scheduler stops first.

        The DAG processor starts beside the API server, on which it does not wait.
        """
        self.run("airflow", "db", "migrate")
        with ExitStack() as running:
            for service in SERVICES:
                process = running.enter_context(self._service(service))
                if service == "api-server":
                    self._wait_until_it_answers(process)
            yield

    @property
    def log(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self._home.rglob("*.log")))

    @contextmanager
    def _service(self, name: str) -> Generator[subprocess.Popen[bytes]]:
        with (self._home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [self._bin / "airflow", name, *SERVICES[name]],
                cwd=self._home,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if name == "dag-processor":  # it takes 20 s to end in order, and has nothing to end
                os.killpg(process.pid, signal.SIGKILL)
            process.terminate()
            end_group(process, STOP_S_MAX)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the API server, without which tasks fail before they begin."""

        def answers() -> bool:
            assert process.poll() is None, f"Airflow's API server ended by itself:\n{self.log}"
            with suppress(httpx2.TransportError):
                return httpx2.get(f"http://127.0.0.1:{self._port}/api/v2/version", timeout=5).status_code == 200
            return False

        wait_for(answers, "Airflow's API server", wait_s=START_S_MAX)

    def _settings(self, port: int) -> dict[str, str]:
        return {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "HOME": str(self._home),
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # a busy machine is no reason for a task to fail
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "AIRFLOW_CONN_ORDERS_DB": f"postgres://reader:{PASSWORD}@orders-db/orders",
            "YESTERDAY": self.yesterday.isoformat(),
        }
