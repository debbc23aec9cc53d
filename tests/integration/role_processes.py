"""The roles as their users run them: processes of their own on one Kafka log, to start, kill, freeze and restart.

    with Roles(env, folder) as roles:
        match = roles.start("match", "match-1")
        match.wait_until_ready()
        match.kill(); match.restart()
        match.log()          # its log lines so far, over all its lives

Each role answers on a free port of its own. What is still running at the end is ended.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.up_process import COMMAND, environment, wait_for

WAIT_S = 240.0  # a team of ten starts with 20 s of work, and other work may keep both cores busy
END_S = 30.0  # twice what a role allows itself


@dataclass(slots=True)
class RoleProcess:
    """One process of a role; another one after each restart."""

    role: str
    instance: str
    env: Mapping[str, str]
    folder: Path
    arguments: Sequence[str] = ()
    command: Sequence[str] = tuple(COMMAND)  # another one runs a role that something was planted in
    process: "subprocess.Popen[str]" = field(init=False)
    url: str = ""  # "" until it answers
    frozen: bool = False
    told_to_end: bool = False

    def __post_init__(self) -> None:
        self.start()

    @property
    def log_file(self) -> Path:
        """The file of its log lines."""
        return self.folder / f"{self.role}-{self.instance}.err"

    def start(self) -> None:
        """Start it; `url` comes later, see `wait_until_answers`."""
        command = [*self.command, self.role, "--port", "0", "--instance", self.instance, *self.arguments]
        with self.log_file.open("a") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=dict(self.env),
                cwd=self.folder,
            )
        self.url, self.frozen, self.told_to_end = "", False, False

    def wait_until_answers(self) -> str:
        """Return its address; fail with what it said when it ended instead."""
        if not self.url:
            line = _first_line(self.process)
            assert line.startswith(f"flowgauge: {self.role} at http://"), f"{line!r}\n{self.text()}"
            self.url = line.rpartition(" ")[2].strip()
        return self.url

    def get(self, path: str, **parameters: str) -> httpx2.Response:
        """Ask it."""
        return httpx2.get(self.wait_until_answers() + path, params=parameters, trust_env=False, timeout=WAIT_S)

    def readiness(self) -> dict[str, Any]:
        """Return what it says of being ready."""
        body: dict[str, Any] = self.get("/readyz").json()
        return body

    def wait_until_ready(self) -> None:
        """Return when it is."""
        last: dict[str, Any] = {}

        def ready() -> bool:
            last.update(self.readiness())
            return bool(last["ready"])

        self.wait_until_answers()
        with contextlib.suppress(AssertionError):
            wait_for(ready, f"{self.role} {self.instance}", wait_s=WAIT_S)
        assert last["ready"], f"{self.role} {self.instance} waits: {last}\n{self.text()}"

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of `flowgauge.TOPIC` that are its own."""
        groups = self.readiness()["groups"]
        return [p for each in groups if each["topic"] == f"flowgauge.{topic}" for p in each["partitions"]]

    def measured(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a measurement that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self.process.kill()
        self._wait()

    def freeze(self) -> None:
        """Stop it where it is; it does not know."""
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def is_stopped(self) -> bool:
        """Tell whether the kernel has it stopped; fail when it ended instead."""
        assert self.is_running(), self.text()
        state = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state in "Tt"

    def wake(self) -> None:
        """Let a frozen one go on."""
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def terminate(self) -> None:
        """Tell it to end, once: a second signal would end it at once."""
        if self.frozen:
            self.wake()
        if self.is_running() and not self.told_to_end:
            self.process.send_signal(signal.SIGTERM)
            self.told_to_end = True

    def end(self) -> int:
        """End it as a service manager does; return its exit code."""
        self.terminate()
        return self._wait()

    def restart(self) -> None:
        """Start it anew under the same name."""
        assert self.process.poll() is not None, f"{self.role} {self.instance} still runs"
        self.start()

    def is_running(self) -> bool:
        """Tell whether the process is there."""
        return self.process.poll() is None

    def text(self) -> str:
        """Return all that it wrote on standard error."""
        return self.log_file.read_text(encoding="utf-8")

    def log(self) -> list[dict[str, Any]]:
        """Return its log lines, over all its lives; what is no JSON stands under `text`."""
        return [_line(text) for text in self.text().splitlines()]

    def _wait(self) -> int:
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


class Roles:
    """The processes of one log. `env` are the settings, as environment variables."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env = environment(**env)
        self.folder = folder
        self.all: list[RoleProcess] = []

    def __enter__(self) -> "Roles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each in self.all:  # all at once: each may take a while
            each.terminate()
        for each in self.all:
            each.end()

    def __iter__(self) -> Iterator[RoleProcess]:
        return iter(self.all)

    def start(self, role: str, instance: str, *arguments: str, **env: str) -> RoleProcess:
        """Start a process of `role`, with further arguments and variables; it answers a little later."""
        self.all.append(RoleProcess(role, instance, {**self.env, **env}, self.folder, arguments))
        return self.all[-1]

    def run(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with the same settings to its end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            env={**self.env, **env},
            cwd=self.folder,
            timeout=WAIT_S,
            check=False,
        )


def kafka_environment(
    bootstrap: str, prefix: str, *, partitions: int = 4, samples_partitions: int = 2
) -> dict[str, str]:
    """Return the settings of a log on a broker that stands alone."""
    return {
        "FLOWGAUGE_KAFKA_BOOTSTRAP": bootstrap,
        "FLOWGAUGE_KAFKA_PREFIX": prefix,
        "FLOWGAUGE_KAFKA_REPLICATION": "1",
        "FLOWGAUGE_PARTITIONS": str(partitions),
        "FLOWGAUGE_SAMPLES_PARTITIONS": str(samples_partitions),
        "PYTHONUNBUFFERED": "1",
        "PATH": os.environ["PATH"],
    }


def _first_line(process: "subprocess.Popen[str]") -> str:
    """Return the first line of its output, "" when it ended or said nothing in time."""
    assert process.stdout is not None
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: said.put(process.stdout.readline()), daemon=True).start()  # type: ignore[union-attr]  # looked at above
    try:
        return said.get(timeout=WAIT_S)
    except queue.Empty:
        return ""


def _line(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"text": text}
    return found
