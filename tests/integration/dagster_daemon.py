"""A real Dagster daemon in its own environment, set up as docs/connect-dagster.md says."""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.fenced_blocks import blocks, exports
from tests.integration.peer_environment import ROOT, end_group

DOCUMENT = ROOT / "docs" / "connect-dagster.md"
EXAMPLE = ROOT / "tests" / "dagster" / "definitions.py"
BURST = ROOT / "tests" / "dagster" / "burst.py"
STOP_S_MAX = 30.0

# Those of the next minutes wait, so that they do not take the first two's time on a busy machine.
SETTINGS = "telemetry: {enabled: false}\nconcurrency: {runs: {max_concurrent_runs: 2}}\n"


class Dagster:
    """An instance with the example's jobs, and the documented sensor and variables."""

    def __init__(self, environment: Path, home: Path, url: str, token: str) -> None:
        self._bin = environment / "bin"
        self._home = home
        home.mkdir()
        (documented,) = blocks(DOCUMENT, "python")
        (home / "definitions.py").write_text(f"{EXAMPLE.read_text(encoding='utf-8')}\n{documented.text}")
        (home / "dagster.yaml").write_text(SETTINGS)
        where = {"FLOWGAUGE_URL": url, "FLOWGAUGE_TOKEN": token}
        assert [name for block in blocks(DOCUMENT, "sh") for name in exports(block)] == list(where)
        self._environment = {
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "HOME": str(home),
            "DAGSTER_HOME": str(home),
            **where,
        }

    @property
    def log(self) -> str:
        return (self._home / "daemon.log").read_text()

    def burst(self, events: int) -> str:
        """Run a burst of so many events to its end; return what it prints."""
        done = subprocess.run(
            [self._bin / "python", BURST],
            cwd=self._home,
            env={**self._environment, "FLOWGAUGE_BURST_EVENTS": str(events)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr[-5_000:]
        return done.stdout

    @contextmanager
    def serving(self) -> Generator[None]:
        """Run the daemon, which serves the code location itself."""
        with (self._home / "daemon.log").open("wb") as log:
            process = subprocess.Popen(
                [self._bin / "dagster-daemon", "run", "--python-file", "definitions.py"],
                cwd=self._home,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            process.terminate()
            end_group(process, STOP_S_MAX)
