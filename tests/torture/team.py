"""The processes of one log under torture, each with a supervisor that starts it again whenever it ends.

    with Team(env, folder, ["gateway-1", "detect-1", …]) as team:
        team["detect-1"].kill()        SIGKILL; the supervisor starts it again after RESTART_S
        team["detect-1"].freeze()      SIGSTOP; team["detect-1"].wake() later
        team["detect-1"].leave()       SIGTERM, and it stays away until `come_back`

Every end that nobody asked for is kept with its last line: it is told at the end, tracebacks by themselves.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
from tests.bytecode import COMPILED
from tests.integration.role_processes import RoleProcess
from tests.integration.up_process import COMMAND
from tests.torture.lives import LOOP_ENDS, STEADY_S, Life, ends_in_a_row

ROOT = Path(__file__).parents[2]
RESTART_S = 0.5  # a quick supervisor: with static membership nothing moves when it is quicker than the session
RESTART_S_MAX = 3.0
LOOK_S = 0.1
ASK_S_MAX = 2.0


class Member:
    """One process, over all its lives."""

    def __init__(self, process: RoleProcess, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.lock = threading.RLock()
        self.is_wanted = True
        self.killed = False  # by us: its end is no surprise
        self.kills = 0  # by SIGKILL, over all its lives
        self.was_frozen = False  # in this life
        self.began_s = time.monotonic()
        self.loop_ends = 0  # see `lives`
        self.early_ends = 0  # in a row, whatever explains them: how long the next start waits
        self._read_to = 0  # of its log file

    @property
    def role(self) -> str:
        """What it does."""
        return self.process.role

    @property
    def instance(self) -> str:
        """Who it is."""
        return self.process.instance

    @property
    def is_up(self) -> bool:
        """Whether it runs and is not frozen."""
        return self.process.is_running() and not self.process.frozen

    def kill(self) -> None:
        """End it as a power cut does."""
        with self.lock:
            self.killed = True
            self.kills += self.process.is_running()
            self.process.kill()

    def freeze(self) -> None:
        """Stop it where it is."""
        with self.lock:
            if self.process.is_running():
                self.was_frozen = True
                self.process.freeze()

    def wake(self) -> None:
        """Let it go on."""
        with self.lock:
            if self.process.is_running() and self.process.frozen:
                self.process.wake()

    def leave(self) -> int:
        """End it in order and keep it away; return its exit code."""
        with self.lock:
            self.is_wanted = False
            self.killed = True
        return self.process.end()

    def come_back(self) -> None:
        """Let the supervisor start it again."""
        self.is_wanted = True

    def partitions(self, topic: str) -> list[int]:
        """Return its partitions of `flowgauge.TOPIC`; none while it does not answer."""
        try:
            groups: list[dict[str, Any]] = self.ask("/readyz").json()["groups"]
        except (httpx2.HTTPError, ValueError, KeyError):
            return []
        return [p for each in groups if each["topic"] == f"flowgauge.{topic}" for p in each["partitions"]]

    def is_ready(self) -> bool:
        """Tell whether it says so."""
        try:
            return self.ask("/readyz").status_code == 200
        except httpx2.HTTPError:
            return False

    def ask(self, path: str) -> httpx2.Response:
        """Ask it, not for long."""
        return httpx2.get(self.url + path, trust_env=False, timeout=ASK_S_MAX)

    def new_lines(self) -> list[str]:
        """Return what it wrote on standard error since the last call."""
        with self.process.log_file.open("rb") as file:
            file.seek(self._read_to)
            found = file.read()
        self._read_to += len(found)
        return found.decode(errors="replace").splitlines()

    def restart(self) -> None:
        """Begin another life."""
        with self.lock:
            self.process.end()  # closes the pipe of the life before
            self.killed = self.was_frozen = False
            self.process.restart()
            self.began_s = time.monotonic()


class Team:
    """Processes by their instance, such as `detect-2`. `planted` are commands that some of them run by instead."""

    def __init__(
        self,
        env: Mapping[str, str],
        folder: Path,
        instances: Sequence[str],
        *,
        more: Mapping[str, Sequence[str]] | None = None,
        planted: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        known = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWGAUGE_", "PYTHON"))}
        self.env = {**known, **env, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(COMPILED)}
        self.folder = folder
        self.ends: list[Life] = []
        self.on_end: Callable[[Life], None] = lambda life: None  # noqa: ARG005  # of one that nobody asked for
        self.repeats = 0  # of inserts that a sink found pending at a start
        self.problem = ""  # a crash loop
        self._instances = instances
        self._more = more or {}
        self._planted = planted or {}
        self._members: dict[str, Member] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> "Team":
        for instance, port in zip(self._instances, _free_ports(len(self._instances)), strict=True):
            role = instance.partition("-")[0]
            arguments = ["--port", str(port), *self._more.get(role, ())]
            command = self._planted.get(role, COMMAND)
            process = RoleProcess(role, instance, self.env, self.folder, arguments, command)
            self._members[instance] = Member(process, port)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        for member in self:
            member.killed = True
            member.process.terminate()
        for member in self:
            member.process.end()
            self._read(member)

    def __getitem__(self, instance: str) -> Member:
        return self._members[instance]

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def of(self, role: str) -> list[Member]:
        """Return the processes of a role."""
        return [member for member in self if member.role == role]

    def wait_until_ready(self, wait_s: float) -> None:
        """Return when all are; fail with what those that are not said."""
        deadline = time.monotonic() + wait_s
        waiting = list(self)
        while waiting and time.monotonic() < deadline and not self.problem:
            waiting = [member for member in waiting if not member.is_ready()]
            time.sleep(LOOK_S)
        assert not waiting, {member.instance: member.process.text()[-1_000:] for member in waiting}

    def _supervise(self) -> None:
        due: dict[str, float] = {}
        while not self._stop.wait(LOOK_S):
            for member in self:
                if member.process.is_running() or not member.is_wanted:
                    continue
                now_s = time.monotonic()
                if member.instance not in due:
                    due[member.instance] = now_s + self._note_end(member, now_s)
                elif now_s >= due[member.instance]:
                    del due[member.instance]
                    member.restart()

    def _note_end(self, member: Member, now_s: float) -> float:
        """Note how it ended; return after how many seconds it starts again."""
        life = _life(member, self._read(member), now_s)
        member.loop_ends = ends_in_a_row(member.loop_ends, life)
        if life.by_us:
            member.early_ends = 0
            return RESTART_S
        member.early_ends = member.early_ends + 1 if life.lived_s < STEADY_S else 1
        self.ends.append(life)
        self.on_end(life)
        if member.loop_ends >= LOOP_ENDS:
            self.problem = f"{member.instance} ended {member.loop_ends} times in a row: {life.said[:300]}"
        return min(RESTART_S * member.early_ends, RESTART_S_MAX)

    def _read(self, member: Member) -> list[str]:
        lines = member.new_lines()
        for line in lines:
            with contextlib.suppress(ValueError, AttributeError):
                self.repeats += json.loads(line).get("event") == "pending insert repeated"
        return lines


def _life(member: Member, lines: Sequence[str], now_s: float) -> Life:
    """Return the life that ended, which wrote `lines`."""
    last = next((line for line in reversed(lines) if not line.startswith("{")), lines[-1] if lines else "")
    has_traceback = any("Traceback" in line for line in lines)
    if has_traceback and not member.killed:  # where it came from; its log file has all of it
        last = f"{last} ({[line.strip() for line in lines if line.lstrip().startswith('File ')][-1]})"
    return Life(
        member.instance,
        member.process.process.returncode,
        last[:500],
        now_s - member.began_s,
        was_frozen=member.was_frozen,
        by_us=member.killed,
        has_traceback=has_traceback,
    )


def planted_command(name: str) -> list[str]:
    """Return the command that runs a role with the fault `name` planted in it."""
    return [sys.executable, "-m", "tests.torture.plants", name]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
