"""The sender: the one daemon thread of a publisher, from its buffer to `POST /v1/events`.

    SETTLED       each event counted as sent or refused, and forgotten
    TOO_LARGE     halves of it, then batches grow again; one event alone: as REFUSED
    REFUSED       counted, said once, forgotten; where no gateway says so, as BUSY
    MISDIRECTED   the same again, the same ids, after a backoff, or when Retry-After says; BUSY and no answer too

Read `answer` for these words. So an address or a token that is wrong costs no event while somebody mends it. Nothing
else forgets an event: while they wait the buffer fills up, and its bound drops the newest.
"""

import gzip
import logging
import queue
import random
import threading
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from flowgauge.producers.address import is_address
from flowgauge.producers.answer import Verdict, classify, decode_answer, error_in, remedy_for, retry_after_ms
from flowgauge.producers.event_buffer import EventBuffer
from flowgauge.producers.log_handler import OUR_LOGGER, FlowgaugeHandler

if TYPE_CHECKING:
    import httpx2

BATCH_EVENTS_MAX = 2_000  # one request; the gateway takes 50,000
BATCH_BYTES_MAX = 2 * 1_048_576
LINGER_MS = 200  # how long the first event of a batch waits for others
GZIP_BYTES_MIN = 1_024  # smaller bodies fit into a packet as they are
GZIP_LEVEL = 1  # most of the gain at a third of the worker's CPU
REQUEST_TIMEOUT_S = 10.0
BACKOFF_FIRST_MS = 200
BACKOFF_MAX_MS = 30_000
BACKOFF_CLOSING_MS = 100  # while somebody waits for the end, tries come close to each other
WAKES_MAX = 100  # a thread that is busy with a server that is away needs no more of them
SAID_MAX = 50  # different troubles that are logged; each is logged once
DROPS_SAID_EVERY_S = 60.0  # a worker that drops thousands a second has its own log to keep
THREAD_NAME: Final = "flowgauge-publisher"

# Held while a sender imports its client: a child forked in the middle would have modules that are half there, for ever.
preparing = threading.Lock()

_log = logging.getLogger(OUR_LOGGER)


class Said:
    """Logs each trouble once, and dropped events now and then: `trouble` is why events wait now, "" while none do.

    `is_mistake`: address or token look wrong, so that somebody has to mend them.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self.is_mistake = False
        self._keys: set[str] = set()
        self._drops_from_s = -DROPS_SAID_EVERY_S

    def once(self, key: str, message: str, *values: object) -> None:
        """Log a warning unless one with `key` was, or too many different ones were."""
        if key not in self._keys and len(self._keys) < SAID_MAX:
            self._keys.add(key)
            _warn(message + " (said once)", *values)

    def waiting(self, key: str, trouble: str) -> None:
        """Note why events wait, and log it as `once` does."""
        self.trouble = trouble
        self.once(key, "%s; events wait", trouble)

    def answered(self) -> None:
        """Note that nothing is in the way of events any more."""
        self.trouble, self.is_mistake = "", False

    def dropping(self, dropped: int, why: str) -> None:
        """Log that `dropped` events were dropped so far, at most each DROPS_SAID_EVERY_S."""
        if monotonic() - self._drops_from_s >= DROPS_SAID_EVERY_S:
            self._drops_from_s = monotonic()
            _warn("events are dropped, %d so far: %s (said once a minute at most)", dropped, why)

    def lost(self, message: str, *values: object) -> None:
        """Log what was lost in the end."""
        _warn(message, *values)


class Sender:
    """Sends what is in `buffer` until it is closed. `sent` and `refused` are written by its thread only."""

    def __init__(self, buffer: EventBuffer, *, url: str, token: str | None, said: Said, linger_ms: int) -> None:
        self.sent = 0
        self.refused = 0
        self._buffer = buffer
        self._url = url.rstrip("/") + "/v1/events"
        self._token = token
        self._said = said
        self._linger_s = linger_ms / 1000
        self._batch_events = BATCH_EVENTS_MAX
        # True: do not wait for more. A SimpleQueue, for a signal handler may publish while its own thread does.
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._emptied = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError while the interpreter ends."""
        self._thread.start()

    def notice(self, waiting: int) -> None:
        """Hear that an event was put and `waiting` are in the buffer. Costs nothing most of the time."""
        if waiting in {1, BATCH_EVENTS_MAX} and self._wake.qsize() < WAKES_MAX:
            self._wake.put(waiting == BATCH_EVENTS_MAX)

    def flush(self, timeout_ms: int) -> bool:
        """Send without waiting for more; return whether the buffer was empty within `timeout_ms`."""
        self._wake.put(True)
        with self._emptied:
            return self._emptied.wait_for(lambda: not len(self._buffer), timeout_ms / 1000)

    def close(self, timeout_ms: int) -> None:
        """Send what is left and end the thread; after `timeout_ms` give up."""
        self._closing.set()
        self._wake.put(True)
        if self._thread.ident is not None:
            self._thread.join(timeout_ms / 1000)
        self._abandoned.set()

    def _run(self) -> None:
        try:
            if trouble := self._unusable():
                self._said.waiting("unusable", trouble)
                self._said.is_mistake = True
                return
            with self._client() as client:
                self._loop(client)
        except Exception as error:  # noqa: BLE001  # the last thing to say before events only fill the buffer
            self._said.once("ended", "events are published no more: %r", error)

    def _unusable(self) -> str:
        """Return why no request can be made with the address and the token, without telling either; "" if one can."""
        with preparing:
            can_be_asked = is_address(self._url)
        if not can_be_asked:
            return "the address is none such as https://flowgauge.example or http://127.0.0.1:4280 (FLOWGAUGE_URL)"
        token = self._token or ""
        if not (token.isascii() and token.isprintable() and token == token.strip()):
            return "the token is none: it has spaces around it, or other than printable ASCII in it (FLOWGAUGE_TOKEN)"
        return ""

    def _client(self) -> "httpx2.Client":
        with preparing:
            "host".encode("idna")  # imports the codec, which else the first request does
            import httpx2  # noqa: PLC0415  # a worker that only imports the publisher does not pay for it

            logging.getLogger("httpx2").addFilter(_is_not_ours)
            headers = {"Content-Type": "application/x-ndjson"}
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            return httpx2.Client(headers=headers, timeout=REQUEST_TIMEOUT_S)

    def _loop(self, client: "httpx2.Client") -> None:
        while not self._abandoned.is_set():
            self._await_batch()
            while len(self._buffer) and not self._abandoned.is_set():
                self._send_oldest(client)
            with self._emptied:
                self._emptied.notify_all()
            if self._closing.is_set() and not len(self._buffer):
                return

    def _await_batch(self) -> None:
        """Wait for an event, then for LINGER_MS or a full batch, whichever comes first."""
        hurry = self._wake.get()
        deadline = monotonic() + self._linger_s
        while not hurry and (left_s := deadline - monotonic()) > 0:
            try:
                hurry = self._wake.get(timeout=left_s)
            except queue.Empty:
                return

    def _send_oldest(self, client: "httpx2.Client") -> None:
        """Send one batch until it is answered for good."""
        batch = self._buffer.peek(events_max=self._batch_events, bytes_max=BATCH_BYTES_MAX)
        if not batch:
            return  # somebody cleared the spool
        body = b"\n".join(batch)
        zipped = len(body) >= GZIP_BYTES_MIN
        if zipped:
            body = gzip.compress(body, GZIP_LEVEL)
        attempt = 0
        while not self._abandoned.is_set():
            wait_ms = self._try(client, body, zipped=zipped, batch=batch)
            if wait_ms is None:
                return
            self._wait(max(wait_ms, backoff_ms(attempt)))
            attempt += 1

    def _try(self, client: "httpx2.Client", body: bytes, *, zipped: bool, batch: Sequence[bytes]) -> int | None:
        """Post once. Return None when the batch is settled, else in how many ms at least to post it again."""
        try:
            response = client.post(self._url, content=body, headers={"Content-Encoding": "gzip"} if zipped else {})
        except Exception as error:  # noqa: BLE001  # whatever the network does, the thread lives and tries again
            self._said.waiting(type(error).__name__, f"flowgauge does not answer: {error or type(error).__name__}")
            return 0
        status = response.status_code
        verdict = classify(status)
        if verdict is Verdict.SETTLED:
            return self._settle(response.content, batch)
        if verdict is Verdict.TOO_LARGE and len(batch) > 1:
            self._batch_events = len(batch) // 2
            return None
        said = error_in(response.content)
        if verdict is Verdict.TOO_LARGE or (verdict is Verdict.REFUSED and said is not None):
            self._refused(status, response.text[:200], len(batch))
            return None
        why = f": {said}" if said and verdict is Verdict.BUSY else remedy_for(status)
        self._said.waiting(str(status), f"flowgauge answers {status}{why}")
        self._said.is_mistake = verdict is Verdict.MISDIRECTED
        if verdict is Verdict.MISDIRECTED and self._closing.is_set():
            self._abandoned.set()  # nobody mends an address or a token while a worker ends
        return retry_after_ms(response.headers.get("Retry-After", ""))

    def _refused(self, status: int, text: str, count: int) -> None:
        self._said.once(str(status), "flowgauge refuses events with status %d: %s", status, text)
        self._said.answered()
        self.refused += count
        self._forget(count)

    def _settle(self, content: bytes, batch: Sequence[bytes]) -> int | None:
        answer = decode_answer(content)
        if answer is None:
            self._said.waiting("answer", "what answers is no flowgauge gateway: is the address right (FLOWGAUGE_URL)?")
            return 0
        for error in answer.errors:
            self._said.once(f"event {error.reason}", "flowgauge refuses an event: %s: %s", error.reason, error.detail)
        self._said.answered()
        self.sent += answer.accepted
        self.refused += answer.rejected
        self._forget(len(batch))
        return None

    def _forget(self, count: int) -> None:
        """Forget events that were answered; after batches that were cut in halves, let the next be larger again."""
        self._buffer.discard(count)
        self._batch_events = min(2 * self._batch_events, BATCH_EVENTS_MAX)

    def _wait(self, delay_ms: int) -> None:
        if not self._closing.is_set():
            started = monotonic()
            self._closing.wait(delay_ms / 1000)
            delay_ms -= int((monotonic() - started) * 1000)
        if self._closing.is_set() and self._buffer.is_kept:
            self._abandoned.set()  # a worker that ends waits for no server that is away, and loses nothing
        elif self._closing.is_set():
            self._abandoned.wait(min(max(delay_ms, 0), BACKOFF_CLOSING_MS) / 1000)


def backoff_ms(attempt: int) -> int:
    """Return how long to wait after the try `attempt`, counted from 0: longer each time, and each time another."""
    bound = min(BACKOFF_FIRST_MS << min(attempt, 16), BACKOFF_MAX_MS)
    return bound // 2 + int(_jitter.random() * bound / 2)


def _warn(message: str, *values: object) -> None:
    """Log a warning; on standard error where only FlowgaugeHandlers, which leave our lines out, would take it."""
    if logging.lastResort is not None and _log.isEnabledFor(logging.WARNING) and _is_heard_by_ours_only():
        record = _log.makeRecord(_log.name, logging.WARNING, __file__, 0, message, values, None)
        logging.lastResort.handle(record)
    else:
        _log.warning(message, *values)


def _is_heard_by_ours_only() -> bool:
    logger: logging.Logger | None = _log
    handlers: list[logging.Handler] = []
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    return bool(handlers) and all(isinstance(handler, FlowgaugeHandler) for handler in handlers)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Keep the client's line for each request out of the worker's log: published, each would cause the next."""
    return record.threadName != THREAD_NAME


_jitter = random.SystemRandom()  # no shared seed: workers that were cut off together come back apart
