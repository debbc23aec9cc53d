"""The one thread that writes the SQLite log, and its queue: group commit.

    tasks ──run(apply)──► [ bounded queue ] ──► writer thread: BEGIN  apply apply apply …  COMMIT ──► futures
                                                                        (one fsync for all)

While one commit waits for the disk the next requests gather, so the cost of an fsync is shared by whatever came
meanwhile. A request that is refused leaves its neighbours alone. When the disk is full everything of the commit
is rolled back and every request of it is told Transient. Any other failure is some request's own: everything is
rolled back and each is tried alone, so that only that one fails.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast

from flowgauge.schemas.errors import FlowgaugeError, InvariantBroken, Transient
from flowgauge.transport.local_file import explain
from flowgauge.transport.local_transaction import Ends, Transaction

QUEUE_REQUESTS_MAX = 1_024  # requests that wait for the disk; more wait in their callers: backpressure
QUEUE_BYTES_MAX = 64 * 1_048_576  # bytes that wait for the disk, one request over at most
GROUP_REQUESTS_MAX = 256  # requests in one transaction
GROUP_BYTES_MAX = 16 * 1_048_576  # bytes in one transaction, one request over at most: one WAL's worth

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    apply: Callable[[Transaction], object]
    size: int
    future: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class _Outcome:
    job: _Job
    result: object = None
    error: Exception | None = None


class LocalWriter:
    """Runs functions on transactions in the writer thread. Made and used on one event loop."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        ends: Ends,
        *,
        path: str,
        now_ms: Callable[[], int],
        on_growth: Callable[[Mapping[int, int]], None],
    ) -> None:
        self._connection = connection
        self._ends = ends
        self._path = path
        self._now_ms = now_ms
        self._on_growth = on_growth
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._closed = False
        self._thread = Thread(target=self._work, name="flowgauge-log-writer", daemon=True)
        self._thread.start()

    async def run(self, apply: Callable[[Transaction], T], *, size: int = 0) -> T:
        """Run `apply` in a transaction and return its result once it is durable.

        Raises what `apply` raised, or Transient when the file cannot be written now: then nothing changed.
        A caller that is cancelled meanwhile leaves it open whether it happened.
        """
        while not self._closed and (self._waiting >= QUEUE_REQUESTS_MAX or self._waiting_bytes >= QUEUE_BYTES_MAX):
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise InvariantBroken(f"the log {self._path} is closed")
        job = _Job(apply, size, self._loop.create_future())
        self._waiting += 1
        self._waiting_bytes += size
        self._queue.put(job)
        return cast("T", await job.future)

    async def close(self) -> None:
        """Finish what is queued, copy the WAL into the file, close it. Twice is the same as once."""
        if not self._closed:
            self._closed = True
            self._room.set()
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while (group := self._take_group()) is not None:
            outcomes, growth = self._commit(group)
            try:
                self._loop.call_soon_threadsafe(self._settle, outcomes, growth)
            except RuntimeError:
                break  # the loop has ended: nobody waits any more
        self._connection.close()

    def _take_group(self) -> list[_Job] | None:
        """Wait for a job, then take what else is there, up to the bounds. None ends the thread."""
        job = self._queue.get()
        if job is None:
            return None
        group, size = [job], job.size
        while len(group) < GROUP_REQUESTS_MAX and size < GROUP_BYTES_MAX:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is None:  # closing: this group first
                self._queue.put(None)
                break
            group.append(job)
            size += job.size
        return group

    def _commit(self, group: list[_Job]) -> tuple[list[_Outcome], dict[int, int]]:
        try:
            return self._try_commit(group)
        except Exception as error:  # noqa: BLE001  # a thread has no caller: the error goes to the futures
            self._roll_back()
            told = error if isinstance(error, FlowgaugeError) else explain(error, self._path)
        if len(group) == 1 or isinstance(told, Transient):
            return [_Outcome(job, error=told) for job in group], {}
        outcomes: list[_Outcome] = []
        growth: dict[int, int] = {}
        for job in group:
            alone, grown = self._commit([job])
            outcomes += alone
            growth.update(grown)
        return outcomes, growth

    def _try_commit(self, group: list[_Job]) -> tuple[list[_Outcome], dict[int, int]]:
        self._connection.execute("BEGIN IMMEDIATE")
        self._ends.refresh()
        transaction = Transaction(self._connection, self._ends, self._now_ms())
        outcomes = [_apply(job, transaction) for job in group]
        growth = transaction.finish()
        self._connection.execute("COMMIT")
        return outcomes, growth

    def _roll_back(self) -> None:
        """Forget the transaction, whether SQLite already did so by itself or not."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the file is in trouble; the next BEGIN says so to whoever asks next
        self._ends.forget()

    def _settle(self, outcomes: list[_Outcome], growth: Mapping[int, int]) -> None:
        for outcome in outcomes:
            self._waiting -= 1
            self._waiting_bytes -= outcome.job.size
            if outcome.job.future.done():
                continue
            if outcome.error is not None:
                outcome.job.future.set_exception(outcome.error)
            else:
                outcome.job.future.set_result(outcome.result)
        self._room.set()
        if growth:
            self._on_growth(growth)


def _apply(job: _Job, transaction: Transaction) -> _Outcome:
    try:
        return _Outcome(job, result=job.apply(transaction))
    except FlowgaugeError as error:  # refused before anything changed: its neighbours stand
        return _Outcome(job, error=error)
