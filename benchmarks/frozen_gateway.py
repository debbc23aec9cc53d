"""A gateway that is frozen (SIGSTOP) while a worker works: what publishing costs the work, and what is lost of it.

Two workers do the same fixed work, one after the other in turns: one publishes an event after each unit of it, with a
spool; the other has no publisher. So whatever else the machine does meets both alike.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE, Popen
from typing import NamedTuple

import httpx2
import msgspec

from benchmarks.measure import Line, line_of
from benchmarks.sockets import gateway_child

UNIT_S = 0.01  # of work between two events: a hundred events a second of a worker that never waits
UNITS_A_TURN = 100
BURST = 10_000
THAW_S = 300  # for what waits to arrive, on a busy machine


class Turn(NamedTuple):
    """What a turn took: seconds by the clock, of CPU over all threads, and of these what publishing did.

    The last is measured where it happens, so it tells a hundredth that the other two lose among other work.
    """

    clock_s: float
    cpu_s: float
    publishing_s: float


class Counts(msgspec.Struct):
    """What the publishing worker says in the end. `emit_s` is the CPU of emitting BURST events at once."""

    emitted: int
    sent: int
    spooled: int
    dropped: int
    refused: int
    emit_s: float


def bench_frozen_gateway(events: int) -> Line:
    """Freeze a gateway while `events` units of work are done, twice; thaw it and count what arrives."""
    turns = max(events // UNITS_A_TURN, 2)
    loops = _loops_of(UNIT_S)
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        root = Path(folder)
        with gateway_child(root / "log") as (url, gateway), _worker(loops) as plain:
            with _worker(loops, url, str(root / "spool")) as publishing:
                gateway.send_signal(signal.SIGSTOP)
                frozen_s = time.monotonic()
                pairs = [(_turn(plain), _turn(publishing)) for _ in range(turns)]
                _ask(publishing, "burst")
                frozen_s = time.monotonic() - frozen_s
                gateway.send_signal(signal.SIGCONT)
                counts = msgspec.json.decode(_ask(publishing, "end"), type=Counts)
            accepted = _accepted(url)
    publishes = [there for _, there in pairs]
    cpu_s, publishing_s = sum(turn.cpu_s for turn in publishes), sum(turn.publishing_s for turn in publishes)
    cpu = median(there.cpu_s / alone.cpu_s for alone, there in pairs)
    clock = median(there.clock_s / alone.clock_s for alone, there in pairs)
    return line_of("frozen-gateway", BURST, counts.emit_s, {"emit": counts.emit_s}).noting(
        publishing_percent=publishing_s / (cpu_s - publishing_s) * 100,
        slower_by_cpu_percent=(cpu - 1) * 100,
        slower_by_clock_percent=(clock - 1) * 100,
        events_a_second=1 / UNIT_S,
        frozen_s=frozen_s,
        emitted=counts.emitted,
        spooled=counts.spooled,
        lost=counts.emitted - accepted,
        dropped=counts.dropped + counts.refused,
    )


def _accepted(url: str) -> int:
    """Return how many events of distinct ids the gateway has in its log."""
    with httpx2.Client(trust_env=False, timeout=60) as client:
        count: int = client.get(f"{url}/distinct").raise_for_status().json()
    return count


def _loops_of(seconds: float) -> int:
    """Return how many loops of work take so long here."""
    loops = 1_000
    while (took := _timed(loops)) < seconds / 4:
        loops *= 2
    return int(loops * seconds / took)


def _timed(loops: int) -> float:
    began = time.thread_time()
    _work(loops)
    return time.thread_time() - began


def _work(loops: int) -> int:
    """Be a worker that holds Python's lock throughout: the worst neighbour of a thread, and for it."""
    value = 1
    for _ in range(loops):
        value = (value * 48_271) % 2_147_483_647
    return value


@contextmanager
def _worker(loops: int, *publishing: str) -> "Generator[Popen[str]]":
    command = [sys.executable, "-m", "benchmarks.frozen_gateway", str(loops), *publishing]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as worker:
        try:
            _answer(worker)
            yield worker
        finally:
            worker.kill()


def _turn(worker: "Popen[str]") -> Turn:
    return Turn(*map(float, _ask(worker, "turn").split()))


def _ask(worker: "Popen[str]", what: str) -> str:
    assert worker.stdin is not None
    worker.stdin.write(f"{what}\n")
    worker.stdin.flush()
    return _answer(worker)


def _answer(worker: "Popen[str]") -> str:
    assert worker.stdout is not None
    answer = worker.stdout.readline()
    assert answer, "a worker has ended"
    return answer


def _be_worker(loops: int, url: str = "", spool: str = "") -> None:
    """Do what standard input asks for, and say what it took."""
    from flowgauge.producers import Publisher  # noqa: PLC0415  # the other worker has none

    publisher = Publisher(url, spool=spool) if url else None
    said = {"event": "etl.step", "kind": "other", "flow": "etl", "resource": {"id": "etl"}, "payload": {"rows": 42}}
    emitted, emit_s = 0, 0.0
    if publisher is not None:
        publisher.emit(said)
        emitted += 1
        assert publisher.flush(60_000)
    spent = _spent()
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "turn\n":
            in_emit, began = 0.0, time.perf_counter()
            for _ in range(UNITS_A_TURN):
                _work(loops)
                if publisher is not None:
                    before = time.thread_time()
                    emitted += publisher.emit(said)
                    in_emit += time.thread_time() - before
            clock_s = time.perf_counter() - began
            # Since the turn before: what its threads did meanwhile is a cost of it too.
            cpu_s, threads_s = _spent()
            print(clock_s, cpu_s - spent[0], in_emit + threads_s - spent[1], flush=True)
            spent = cpu_s, threads_s
        elif publisher is not None and line == "burst\n":
            began = time.thread_time()
            emitted += sum(publisher.emit(said) for _ in range(BURST))
            emit_s = time.thread_time() - began
            print("done", flush=True)
        elif publisher is not None:
            publisher.flush(THAW_S * 1_000)
            publisher.close()
            counts = publisher.sent, publisher.spooled, publisher.dropped, publisher.refused
            print(msgspec.json.encode(Counts(emitted, *counts, emit_s)).decode(), flush=True)


def _spent() -> tuple[float, float]:
    """Return the CPU seconds of this process so far, and those of its other threads."""
    cpu_s = time.process_time()
    return cpu_s, cpu_s - time.thread_time()


if __name__ == "__main__":
    _be_worker(int(sys.argv[1]), *sys.argv[2:])
