"""`flowgauge up` as its users run it: a process of its own, asked over HTTP. ClickHouse is one folder a process."""

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

COMMAND = [sys.executable, "-c", "from flowgauge.console.main import main; main()"]
MAKE_TABLES = """
import sys
from pathlib import Path
from flowgauge.sinks.clickhouse.store import ClickHouseStore

store = ClickHouseStore.open(Path(sys.argv[1]))
store.apply_schema()
store.close()
"""
WAIT_S = 60.0  # for what takes a second on an idle machine
POLL_S = 0.1
RULES = """
rules:
  - name: flow failing
    match: {flow: "*"}
    for_each: [flow]
    when:
      failure_rate: {above: 50%, within: 3m, min_samples: 5, clear_below: 30%}
    keep_firing_for: 1m
    severity: critical
    summary: "{{ flow }}: {{ value|percent }} of {{ samples }} runs failed"
  - name: runs not starting
    when:
      late: {after: 30s, at_least: 10, within: 5m}
    no_data: resolve
"""


@dataclass(frozen=True, slots=True)
class Up:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    http: httpx2.Client

    def get(self, path: str, **parameters: str) -> Any:
        response = self.http.get(path, params=parameters)
        response.raise_for_status()
        return response.json()

    def rows(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.get(path, **parameters)["rows"]
        return rows


def wait_for(what: Callable[[], Any], said: str, *, wait_s: float = WAIT_S) -> Any:
    """Return the first true answer of `what`; fail with `said` when none comes."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(POLL_S)
    raise AssertionError(f"waited {wait_s:.0f} s for {said}")


def environment(**more: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGAUGE_")}
    return {**known, **more}


def run(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    found = {**environment(), **(env or {})}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=found, cwd=cwd, timeout=WAIT_S, check=False
    )


@functools.cache
def made_tables() -> Path:
    """Return a folder of ClickHouse with all tables and no row: to make them takes longer than all else of a start.

    The servers of test_demo.py and of the shell blocks in test_docs.py make theirs themselves.
    """
    folder = Path(tempfile.mkdtemp(prefix="flowgauge-tables-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([sys.executable, "-c", MAKE_TABLES, str(folder)], env=environment(), timeout=WAIT_S, check=True)
    return folder


@contextlib.contextmanager
def running_up(data: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Generator[Up]:
    """Run `flowgauge up` on a free port until the block ends; its log lines are in up.err beside the data folder."""
    if not data.exists() and "FLOWGAUGE_CLICKHOUSE_URL" not in (env or {}):
        shutil.copytree(made_tables(), data / "clickhouse", symlinks=True)
    with (data.parent / "up.err").open("a") as errors:
        process = subprocess.Popen(
            [*COMMAND, "up", "--data", str(data), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**environment(), **(env or {})},
            cwd=data.parent,
        )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "console at " in first, (data.parent / "up.err").read_text()
        url = first.rpartition(" ")[2].strip()
        with httpx2.Client(base_url=url, trust_env=False, timeout=WAIT_S) as http:
            yield Up(process, url, http)
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> int:
    """End the process as a service manager does; return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code
