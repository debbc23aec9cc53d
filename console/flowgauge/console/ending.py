"""How a process runs its parts and ends them: `up` with all of them, and each role with its own.

    run    the parts of all stages at once; one that fails ends all
    stop   stage after stage is told to stop and waited for, intake first
           all within `shutdown_ms`; then ShutdownOverdue names what hangs

Every part keeps what it needs to go on in the log, so a kill at any moment loses nothing; stopping in order only
makes the next start quicker.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias, cast

import structlog

from flowgauge.schemas.errors import FlowgaugeError

GARBAGE_AFTER = 700  # new objects, Python's own bound: memory stays low, and no pause is long
SHUTDOWN_MS = 15_000  # an insert into ClickHouse takes up to some seconds on a slow disk

# Its name, and what runs it until the event is set.
Part: TypeAlias = tuple[str, Callable[[asyncio.Event], Coroutine[None, None, None]]]

log_lines = structlog.get_logger("flowgauge")


class ShutdownOverdue(FlowgaugeError):
    """Parts did not end in time. Nothing is lost: the next start goes on where they were."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends the parts, and how long they may take to."""

    stop: asyncio.Event
    shutdown_ms: int = SHUTDOWN_MS


async def run_parts(stages: Sequence[Sequence[Part]], ending: Ending, ready: Callable[[], None]) -> None:
    """Run all parts until `ending.stop`, then end them stage after stage. `ready` is told once they have begun.

    Raises what the part raised that failed first, ShutdownOverdue when some do not end.
    """
    try:
        async with asyncio.TaskGroup() as group:
            begun: list[tuple[asyncio.Event, list[asyncio.Task[None]]]] = []
            for parts in stages:
                stop = asyncio.Event()
                begun.append((stop, [group.create_task(run(stop), name=name) for name, run in parts]))
            ready()
            await ending.stop.wait()
            log_lines.info("stopping")
            deadline_s = asyncio.get_running_loop().time() + ending.shutdown_ms / 1000
            for stop, tasks in begun:
                stop.set()
                await wait_for_end(tasks, deadline_s)
    except BaseExceptionGroup as failures:
        raise first_of(failures) from failures


@asynccontextmanager
async def closed_after(what: str, close: Callable[[], Awaitable[None]], shutdown_ms: int) -> AsyncGenerator[None]:
    """Close `what` when the block is over, within its time; not at all when parts hang that may still use it."""
    try:
        yield
    except ShutdownOverdue:
        raise
    except BaseException:
        await _close(what, close, shutdown_ms)
        raise
    await _close(what, close, shutdown_ms)


async def _close(what: str, close: Callable[[], Awaitable[None]], shutdown_ms: int) -> None:
    try:
        async with asyncio.timeout(shutdown_ms / 1000):
            await close()
    except TimeoutError:
        raise ShutdownOverdue(f"{what} did not close in time; nothing is lost") from None


async def wait_for_end(tasks: Sequence[asyncio.Task[None]], deadline_s: float) -> None:
    """Wait for tasks; raise ShutdownOverdue at the deadline. A failure of theirs is the group's to tell."""
    if not tasks:
        return
    timeout_s = max(0.0, deadline_s - asyncio.get_running_loop().time())
    _, pending = await asyncio.wait(tasks, timeout=timeout_s)
    if pending:
        names = ", ".join(sorted(task.get_name() for task in pending))
        raise ShutdownOverdue(f"did not end in time: {names}; nothing is lost, the next start goes on from there")


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that says most: one of ours if there is one, else the first."""
    flat: list[BaseException] = []
    queue: list[BaseException] = [failures]
    while queue:
        failure = queue.pop(0)
        if isinstance(failure, BaseExceptionGroup):
            queue.extend(cast("Sequence[BaseException]", failure.exceptions))
        else:
            flat.append(failure)
    return next((failure for failure in flat if isinstance(failure, FlowgaugeError)), flat[0])


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGINT or SIGTERM and let the next one end the process at once, as if it were killed."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, end)


async def run_as_process(running: Coroutine[None, None, None]) -> None:
    """Run it as all that this process does; end the process where its parts do not.

    They do not where a thread hangs: the loop would wait for it to the end. What is in memory by now, modules above
    all, stays to the end: garbage collection passes it over, which would else be a tenth of matching and detecting.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)
    try:
        await running
    except ShutdownOverdue as overdue:
        sys.stderr.write(f"flowgauge: {overdue}\n")
        sys.stderr.flush()
        os._exit(1)  # a kill is safe at any moment, and this is one
