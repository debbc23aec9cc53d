"""The sender of a publisher that writes to Kafka itself: one daemon thread with an event loop of its own.

    EventBuffer ──► event_record ──► KafkaLine ──► PREFIX.events
                    as in a gateway   acks of all replicas; repeated until brokers answer

An event that is none is counted as refused, said once and forgotten. Nothing else forgets an event: while brokers are
away, or address, secrets or topics are wrong, events wait in the buffer, and its bound drops the newest. What a line
had acknowledged before it broke is not sent again; the rest is, under the same ids.
Read `sender` for what both senders promise, `kafka_line` for what is asked of aiokafka.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, Unpack

from flowgauge.producers.event_buffer import EventBuffer
from flowgauge.producers.kafka_target import KafkaTarget
from flowgauge.producers.sender import BACKOFF_CLOSING_MS, THREAD_NAME, Said, backoff_ms, preparing
from flowgauge.schemas.errors import FlowgaugeError, InvalidEvent
from flowgauge.transport import wall_clock
from flowgauge.transport.event_record import event_record
from flowgauge.transport.log import Outgoing

if TYPE_CHECKING:
    from flowgauge.producers.kafka_line import Handed, KafkaLine

BATCH_EVENTS_MAX = 2_000  # handed over before all of them are acknowledged
BATCH_BYTES_MAX = 524_288  # half of what the client takes for one partition: handing over never waits
SILENCE_S_MAX = 10.0  # without an acknowledgement for so long, brokers are said to be away
NEEDED: Final = ("aiokafka", "cramjam")  # what flowgauge[kafka] brings: the client, and lz4 for it

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class KafkaSender:
    """Sends what is in `buffer` until it is closed. `sent` and `refused` are written by its thread only."""

    def __init__(self, buffer: EventBuffer, *, target: KafkaTarget, said: Said, linger_ms: int) -> None:
        self.sent = 0
        self.refused = 0
        self._buffer = buffer
        self._target = target
        self._said = said
        self._linger_s = linger_ms / 1000
        self._batch_events = 0  # how many of the oldest in the buffer are being sent
        self._batch_records = 0  # how many of these are events
        self._left: dict[int, list[Outgoing]] = {}  # by partition: records that are not acknowledged yet
        self._hurry = False  # do not wait for more
        self._closing = False
        self._abandoned = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._emptied = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError while the interpreter ends."""
        self._thread.start()

    def notice(self, waiting: int) -> None:
        """Hear that an event was put and `waiting` are in the buffer. Costs nothing most of the time."""
        if waiting in {1, BATCH_EVENTS_MAX}:
            self._wake(hurry=waiting == BATCH_EVENTS_MAX)

    def flush(self, timeout_ms: int) -> bool:
        """Send without waiting for more; return whether the buffer was empty within `timeout_ms`."""
        self._wake(hurry=True)
        with self._emptied:
            return self._emptied.wait_for(lambda: not len(self._buffer), timeout_ms / 1000)

    def close(self, timeout_ms: int) -> None:
        """Send what is left and end the thread; after `timeout_ms` give up."""
        self._closing = True
        self._wake(hurry=True)
        if self._thread.ident is not None:
            self._thread.join(timeout_ms / 1000)
        self._abandoned = True
        if self._loop is not None and self._work is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._work.cancel)

    def _wake(self, *, hurry: bool) -> None:
        """Let the thread look at the buffer. Before it has a loop it looks by itself; a signal handler may do this."""
        if hurry:
            self._hurry = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    def _run(self) -> None:
        if problem := self._target.problem or _missing():
            self._said.waiting("target", f"cannot publish to Kafka: {problem}")
            return
        try:
            with asyncio.Runner(loop_factory=_OwnLoop) as runner:
                runner.run(self._send_all())
        except asyncio.CancelledError:
            pass  # close gave up
        except Exception as error:  # noqa: BLE001  # the last thing to say before events only fill the buffer
            self._said.once("ended", "events are published no more: %r", error)

    async def _send_all(self) -> None:
        """Send until closed and empty; after trouble by a new line, after a backoff."""
        self._work, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        self._loop.set_exception_handler(_ignore)
        open_line = _prepare()
        attempt = 0
        while not self._abandoned and not (self._closing and not len(self._buffer)):
            sent = self.sent
            try:
                async with open_line(self._target) as line:
                    await self._send_over(line)
            except Exception as error:  # noqa: BLE001  # whatever brokers do, the thread lives and tries again
                self._note(error)
                if self._closing and self._buffer.is_kept:
                    return  # a worker that ends waits for no broker that is away, and loses nothing
                attempt = 0 if self.sent > sent else attempt + 1
                await self._pause(backoff_ms(attempt))

    async def _send_over(self, line: "KafkaLine") -> None:
        while True:
            self._hurry = False  # first: what was put before somebody hurried is sent now
            while len(self._buffer):
                await self._send_oldest(line)
            with self._emptied:
                self._emptied.notify_all()
            if self._closing:
                return
            await self._await_batch()

    async def _await_batch(self) -> None:
        """Wait for an event, then for the linger or a full batch, whichever comes first."""
        while not len(self._buffer) and not self._closing:
            await self._next_wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._linger_s):
                while not self._hurry and not self._closing:
                    await self._next_wake()

    async def _pause(self, delay_ms: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_ms / 1000):
                while not self._closing:
                    await self._next_wake()
        if self._closing:
            await asyncio.sleep(min(delay_ms, BACKOFF_CLOSING_MS) / 1000)

    async def _next_wake(self) -> None:
        self._woken.clear()  # whoever wakes us notes why first, and the loop sets this after that
        await self._woken.wait()

    async def _send_oldest(self, line: "KafkaLine") -> None:
        """Send one batch, or what is left of it, until it is acknowledged. Raises when brokers refuse a part of it."""
        if not self._left:
            self._take(line)
        handed = await line.send(self._left.values())
        await self._arrival(handed)
        self._left = {}
        refusal: BaseException | None = None
        for each in handed:
            if (error := each.arrived.exception()) is not None:
                self._left.setdefault(each.records[0].partition, []).extend(each.records)
                refusal = error
        if refusal is not None:
            raise refusal
        self.sent += self._batch_records
        self._said.answered()
        self._buffer.discard(self._batch_events)

    def _take(self, line: "KafkaLine") -> None:
        """Make records of the oldest events, as a gateway does."""
        batch = self._buffer.peek(events_max=BATCH_EVENTS_MAX, bytes_max=BATCH_BYTES_MAX)
        self._batch_events, self._batch_records, self._left = len(batch), 0, {}
        now_ms = wall_clock.now_ms()
        for raw in batch:
            try:
                record = event_record(raw, tenant=self._target.tenant, append_ms=now_ms, partitions=line.partitions)
            except InvalidEvent as invalid:
                self.refused += 1
                self._said.once(f"event {invalid.reason}", "an event is refused: %s", invalid)
            else:
                self._left.setdefault(record.partition, []).append(record)
                self._batch_records += 1

    async def _arrival(self, handed: "Sequence[Handed]") -> None:
        """Wait until nothing is on its way: aiokafka repeats what brokers do not answer for as long as it takes."""
        pending = {each.arrived for each in handed}
        while pending:
            arrived, pending = await asyncio.wait(pending, timeout=SILENCE_S_MAX)
            if not arrived:
                silent = f"Kafka at {self._target.bootstrap} has acknowledged nothing for {SILENCE_S_MAX:g} s"
                self._said.waiting("silent", silent)

    def _note(self, error: Exception) -> None:
        trouble = str(error) if isinstance(error, FlowgaugeError) else f"cannot publish to Kafka: {error!r}"
        self._said.waiting(trouble, trouble)


class _OwnLoop(asyncio.SelectorEventLoop):
    """A loop without helper threads: as the interpreter ends Python starts none, not even to look a host up.

    What others would do in one is done at once. Nothing but the publisher waits for it.
    """

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002  # asyncio's signature
        func: Callable[[Unpack[_Ts]], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # it is the caller's, as it would be from a thread
            done.set_exception(error)
        return done


def _missing() -> str:
    """Return what the installation lacks, "" when nothing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: pip install 'flowgauge[kafka]'" if missing else ""


def _prepare() -> "Callable[[KafkaTarget], AbstractAsyncContextManager[KafkaLine]]":
    """Import the client, and return what opens a line with it."""
    with preparing:
        "host".encode("idna")  # imports the codec, which else the first look-up does
        from flowgauge.producers.kafka_line import keep_quiet, open_line  # noqa: PLC0415  # not before Kafka is chosen

        keep_quiet(lambda record: record.threadName == THREAD_NAME)
    return open_line


def _ignore(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep what a client that is given up leaves behind out of the log of the work."""
    logging.getLogger("flowgauge.publisher").debug("left behind: %s", context.get("message"))
