"""The blocking sender: batches to `POST /v1/events`, each answered before the next. For tools, which may wait.

Read `answer` for what an answer says; `sender` does the same beside somebody's work.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx2

from flowgauge.producers.answer import Verdict, classify, decode_answer, error_in, remedy_for, retry_after_ms
from flowgauge.producers.sender import backoff_ms
from flowgauge.schemas.errors import BadInput, ServerAway
from flowgauge.schemas.times import format_duration

REQUEST_TIMEOUT_S = 30.0  # a server with a slow disk answers late, and still answers
SAID_EVERY_S = 5.0  # while no server answers
TOO_MANY = 429
ASKED_MAX_MS = 86_400_000  # a day: what was to be sent today may wait until tomorrow, if somebody lets it
PAUSE_S_MAX = 5.0  # between tries: somebody looks on


@dataclass(frozen=True, slots=True)
class Settled:
    """What the server said of the next `count` events of a batch. `refused`: why, by their place among these."""

    count: int
    accepted: int
    refused: Mapping[int, str]
    unlisted: int = 0  # refused as well, but the answer does not say which


@dataclass(frozen=True, slots=True)
class _Busy:
    """Why the same is to be sent again, and in how many ms at least. `limited`: a server is there, and says when."""

    why: str
    wait_ms: int = 0
    limited: bool = False


class BlockingSender:
    """Sends batches to one server, and says while it waits for it."""

    def __init__(self, url: str, token: str | None, *, wait_ms: int, say: Callable[[str], object]) -> None:
        self._url = url
        self._wait_ms = wait_ms
        self._say = say
        headers = {"Content-Type": "application/x-ndjson"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx2.Client(headers=headers, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    def send(self, batch: Sequence[bytes]) -> Iterator[Settled]:
        """Yield what becomes of the batch, part by part in its order; what was not yielded was not sent.

        What is refused as a whole is sent again in halves, down to single events.

        Raises ServerAway when no server has answered for `wait_ms`, or one asks to wait longer, and how long; BadInput
        when address or token are wrong.
        """
        if not batch:
            return
        response = self._answered(b"\n".join(batch))
        status = response.status_code
        verdict = classify(status)
        if verdict is Verdict.SETTLED:
            yield self._settled(response.content, len(batch))
        elif verdict in {Verdict.TOO_LARGE, Verdict.REFUSED} and len(batch) > 1:
            yield from self.send(batch[: len(batch) // 2])
            yield from self.send(batch[len(batch) // 2 :])
        elif verdict is Verdict.MISDIRECTED:
            raise BadInput(f"{self._url} answers {status}{remedy_for(status)}")
        else:
            reason = f"{self._url} answers {status}: {response.text[:200]}"
            yield Settled(len(batch), 0, dict.fromkeys(range(len(batch)), reason))

    def _settled(self, content: bytes, count: int) -> Settled:
        answer = decode_answer(content)
        if answer is None or answer.accepted + answer.rejected != count:
            raise BadInput(
                f"what answers at {self._url} is no flowgauge gateway: is the address right (FLOWGAUGE_URL)?"
            )
        refused = {
            error.index: f"{error.reason}: {error.detail}" for error in answer.errors if 0 <= error.index < count
        }
        return Settled(count, answer.accepted, refused, answer.rejected - len(refused))

    def _answered(self, body: bytes) -> httpx2.Response:
        """Return an answer that says something of these events, or of address and token; try again until then."""
        began_s, said_s, attempt = time.monotonic(), float("-inf"), 0
        while isinstance(found := self._try(body), _Busy):
            now_s = time.monotonic()
            if found.limited:
                began_s = now_s
            left_s = self._wait_ms / 1000 - (now_s - began_s)
            if found.limited and left_s * 1000 < found.wait_ms:
                raise ServerAway(f"{found.why} (--wait is {format_duration(self._wait_ms)}).", wait_ms=found.wait_ms)
            if left_s <= 0:
                waited = format_duration(self._wait_ms)
                raise ServerAway(f"{found.why} for {waited}: is `flowgauge up` running at {self._url}?")
            if now_s - said_s >= SAID_EVERY_S:
                said_s = now_s
                self._say(f"{found.why}; trying for {left_s:.0f} s more")
            pause_s = min(backoff_ms(attempt) / 1000, PAUSE_S_MAX, left_s)
            time.sleep(max(pause_s, found.wait_ms / 1000))
            attempt += 1
        return found

    def _try(self, body: bytes) -> httpx2.Response | _Busy:
        try:
            response = self._client.post(f"{self._url.rstrip('/')}/v1/events", content=body)
        except httpx2.HTTPError as error:
            return _Busy(f"no answer from {self._url} ({error or type(error).__name__})")
        verdict = classify(response.status_code)
        why = f"{self._url} answers {response.status_code}"
        if verdict is Verdict.REFUSED and error_in(response.content) is None:
            return _Busy(f"{why}, and not as a flowgauge gateway does")
        if verdict is not Verdict.BUSY:
            return response
        if response.status_code != TOO_MANY:
            return _Busy(why)
        wait_ms = retry_after_ms(response.headers.get("Retry-After", ""), at_most_ms=ASKED_MAX_MS)
        return _Busy(f"{why}: {response.text[:200]}", wait_ms, limited=True)
