"""A command that is run and watched: its output passes through, signals reach it, its end is told. Light; for Linux.

    we        block signals, start it, wait for one ──► it ended: how
                                                    └─► for it: passed on
    threads   read a stream of it, write it to ours, keep the last lines

What a terminal sends goes to all of its foreground processes, so the command has it already and it is not passed on
twice; but that the terminal is gone the kernel tells its session's leader alone, so where we lead it is passed on.
Where both of our streams are one, the command has one as well, and what it prints keeps its order.
Whoever reads our output and goes away is gone for the command too. Nothing here waits for flowgauge.
"""

import fcntl
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from types import FrameType
from typing import Final

from flowgauge.producers.last_lines import LastLines
from flowgauge.transport import wall_clock

READ_BYTES = 65_536
OUTPUT_AFTER_S = 1.0  # how long what the command has left behind may be silent before we go
OUTPUT_LEFT_S = 5.0  # how long it may print on before we go: the command itself has ended, and somebody waits for us
LOOK_S = 0.01
EXIT_NOT_FOUND = 127  # as shells say it
EXIT_NOT_RUN = 126

_PASSED_ON: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_FROM_TERMINAL: Final = 0x80  # SI_KERNEL
_AWAITED: Final = {*_PASSED_ON, signal.SIGCHLD}
_DEFAULT_AGAIN: Final = (signal.SIGPIPE, signal.SIGXFSZ)  # which Python ignores, and a command must not


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code as shells say it, the signal that killed it, what kept it from starting.

    `passed_on` are the signals that came for it, from us or from the terminal; `cut_off` are the streams that something
    it left behind still held when we went.
    """

    code: int
    duration_ms: int = 0
    killed_by: str = ""
    passed_on: Sequence[str] = ()
    problem: str = ""
    cut_off: Sequence[str] = ()


def hold_signals() -> "set[int]":
    """Hold what `run_watched` passes on, in this thread and those it starts; return the signal mask before.

    Call it first: a thread that was started before would take a signal, and end us by it. Nothing lets them go again,
    so that one which comes as we end does not take the place of the command's own end.
    """
    signal.signal(signal.SIGCHLD, _hear)  # one that is ignored is never told
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)}


def run_watched(command: Sequence[str], lines: LastLines | None, mask: "set[int]") -> Ended:
    """Run `command` with the signal mask `mask` to its end; raises nothing that the command could cause.

    `lines` takes its output; None leaves our streams to it as they are.
    """
    pipes = _opened(lines)
    began = monotonic()
    try:
        child = os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=pipes.for_child(),
            setsigmask=mask,
            setsigdef=_DEFAULT_AGAIN,
        )
    except OSError as error:
        return _not_started(command[0], error)
    finally:
        pipes.hand_over()
    ended = _await(child, began)
    return replace(ended, cut_off=pipes.join())


def _opened(lines: LastLines | None) -> "_Pipes":
    try:
        return _Pipes(lines)
    except (OSError, RuntimeError):  # no descriptor or no thread is left: rather no lines than no command
        return _Pipes(None)


def _hear(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: `sigwaitinfo` tells."""


def _not_started(name: str, error: OSError) -> Ended:
    code = EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_RUN
    return Ended(code, problem=f"{name}: {'command not found' if code == EXIT_NOT_FOUND else error.strerror}")


def _await(child: int, began: float) -> Ended:
    """Wait for the child's end; pass on what comes meanwhile."""
    passed_on: list[str] = []
    while True:
        told = signal.sigwaitinfo(_AWAITED)
        if told.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code, duration_ms = os.waitstatus_to_exitcode(status), round((monotonic() - began) * 1000)
                if code >= 0:
                    return Ended(code, duration_ms, passed_on=passed_on)
                return Ended(128 - code, duration_ms, killed_by=_name_of(-code), passed_on=passed_on)
            continue
        passed_on.append(_name_of(told.si_signo))
        of_leader = told.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()
        if told.si_code != _FROM_TERMINAL or of_leader:
            with suppress(ProcessLookupError):
                os.kill(child, told.si_signo)


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time one


class _Pipes:
    """What carries the child's streams through us to ours: a pipe each, one for both, or none."""

    def __init__(self, lines: LastLines | None) -> None:
        self._lines = lines
        self._locked = threading.Lock()
        self._writes: dict[int, int] = {}  # by our stream
        self._threads: list[threading.Thread] = []
        self._until_s = float("inf")  # when to go, once the child has ended
        self._ended = -1 if lines is None else os.eventfd(0)  # readable once the child has ended
        self._cut_off: list[str] = []
        for ours, name in ({} if lines is None else _streams()).items():
            read, self._writes[ours] = os.pipe()
            thread = threading.Thread(target=self._copy, args=(name, read, ours), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def for_child(self) -> "list[tuple[int, int, int]]":
        """Return what makes the pipes the child's streams."""
        actions = [(os.POSIX_SPAWN_DUP2, write, ours) for ours, write in self._writes.items()]
        return [*actions, (os.POSIX_SPAWN_DUP2, 1, 2)] if len(actions) == 1 else actions

    def hand_over(self) -> None:
        """Close what the child writes to: it has its own by now, or there is none."""
        for write in self._writes.values():
            os.close(write)

    def join(self) -> Sequence[str]:
        """Wait until all that was printed is through, however slowly somebody reads it, or until a signal comes.

        Where something else still holds one of the child's streams, wait until it was silent for OUTPUT_AFTER_S, or has
        printed on for OUTPUT_LEFT_S. Returns the streams of which the latter is true.
        """
        if self._threads:
            self._until_s = monotonic() + OUTPUT_LEFT_S
            os.eventfd_write(self._ended, 1)
        while any(thread.is_alive() for thread in self._threads):
            if signal.sigtimedwait(_PASSED_ON, LOOK_S):
                break
        with self._locked:
            if self._lines is not None:
                self._lines.end(wall_clock.now_ms())
                self._lines = None
            return sorted(self._cut_off)

    def _copy(self, name: str, read: int, ours: int) -> None:
        try:
            for data in self._printed(name, read):
                self._note(name, data)
                left = data
                while left:
                    left = left[os.write(ours, left) :]
        except OSError:
            pass  # nobody reads us any more, and from here on nobody reads the child
        finally:
            os.close(read)

    def _printed(self, name: str, read: int) -> Iterator[bytes]:
        """Yield what comes, to its end; after the child's end for a while, and at least what was printed before."""
        waiting = select.poll()
        silent_ms: float | None = None
        waiting.register(read, select.POLLIN)
        waiting.register(self._ended, select.POLLIN)
        while monotonic() < self._until_s:
            ready = dict(waiting.poll(silent_ms))
            if self._ended in ready:
                waiting.unregister(self._ended)
                silent_ms = OUTPUT_AFTER_S * 1000
            if read in ready:
                data = os.read(read, READ_BYTES)
                if not data:
                    return
                yield data
            elif not ready:
                return
        left = int.from_bytes(fcntl.ioctl(read, termios.FIONREAD, bytes(4)), sys.byteorder)
        while left:
            data = os.read(read, min(left, READ_BYTES))
            left -= len(data)
            yield data
        self._note_cut(name, read)

    def _note_cut(self, name: str, read: int) -> None:
        """Note that `name` is cut off, unless nobody holds it any more."""
        waiting = select.poll()
        waiting.register(read, select.POLLIN)
        if dict(waiting.poll(0)).get(read) != select.POLLHUP:
            self._cut_off.append(name)

    def _note(self, name: str, data: bytes) -> None:
        with self._locked:
            if self._lines is not None:
                self._lines.feed(name, data, wall_clock.now_ms())


def _streams() -> "dict[int, str]":
    """Return which of our streams to watch, and as what; none where one of them is closed."""
    try:
        return {1: "output"} if os.path.sameopenfile(1, 2) else {1: "stdout", 2: "stderr"}
    except OSError:
        return {}
