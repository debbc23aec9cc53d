"""Prefect's REST API, asked politely: one request at a time, as little trusted as a file, waiting when it says so.

    200..299             the answer
    429, 5xx, no answer  the same again, after Retry-After or a backoff, until `wait_s` is over: ServerAway
    401, 403             BadEnvironment: which variable to set
    any other            BadEnvironment: is this the address of the API?

Prefect Cloud takes a key as a bearer; a server with PREFECT_SERVER_API_AUTH_STRING takes that string as Basic. Neither
is ever in a message.
"""

import base64
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic
from typing import Final, Self, TypeVar

import httpx2
import msgspec

from flowgauge.producers.answer import retry_after_ms
from flowgauge.producers.sender import backoff_ms
from flowgauge.schemas.errors import BadEnvironment, BadInput, ServerAway
from flowgauge.schemas.times import millis
from flowgauge.transport import wall_clock

KEY: Final = "PREFECT_API_KEY"  # as Prefect's own client names them
AUTH_STRING: Final = "PREFECT_API_AUTH_STRING"
API_URL: Final = "PREFECT_API_URL"
ANSWER_BYTES_MAX = 128 * 1_048_576  # a page of 50 events of 1.5 MB each, and room
ANSWER_S_MAX = 30.0  # Prefect counts before it answers: seconds, of many events
WAIT_S = 60.0
_BUSY = 429
_SERVER_ERROR = 500

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves to Prefect who asks: a key of Cloud, or the auth string of a server, or neither."""

    key: str | None = field(default=None, repr=False)
    auth_string: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read them from the variables of Prefect's client, or from files that NAME_FILE names.

        Raises BadInput for a file that cannot be read.
        """
        return cls(_secret(environment, KEY), _secret(environment, AUTH_STRING))

    @property
    def token(self) -> str | None:
        """What the auth frame of a WebSocket carries."""
        return self.key or self.auth_string

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries."""
        if self.key:
            return {"Authorization": f"Bearer {self.key}"}
        if self.auth_string:
            return {"Authorization": f"Basic {base64.b64encode(self.auth_string.encode()).decode()}"}
        return {}


class PrefectApi:
    """The API at `url`, such as http://127.0.0.1:4200/api. Threads may share one. `stop` ends what it waits for.

    `say` is told why a question waits, once for each.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        wait_s: float = WAIT_S,
        bytes_max: int = ANSWER_BYTES_MAX,
        stop: threading.Event | None = None,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.url = url.rstrip("/")
        self._wait_s = wait_s
        self._bytes_max = bytes_max
        self._stop = stop or threading.Event()
        self._say = say
        self._client = httpx2.Client(headers=credentials.headers, timeout=ANSWER_S_MAX, trust_env=False)
        self._ahead_ms = 0

    def __enter__(self) -> Self:
        """Return this API."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self._client.close()

    def now_ms(self) -> int:
        """Return what Prefect's clock says, as far as its last answer told: two clocks are compared with it."""
        return wall_clock.now_ms() + self._ahead_ms

    def post(self, path: str, body: object, type_: type[_T]) -> _T:
        """Return the answer of `POST path`. Raises as the table above says."""
        return self._ask("POST", path, type_, body=body)

    def get(self, path: str, type_: type[_T], **parameters: str) -> _T:
        """Return the answer of `GET path`. Raises as the table above says."""
        return self._ask("GET", path, type_, parameters=parameters)

    def _ask(
        self,
        method: str,
        path: str,
        type_: type[_T],
        *,
        body: object = None,
        parameters: Mapping[str, str] | None = None,
    ) -> _T:
        began_s, attempt = monotonic(), 0
        while True:
            trouble, pause_ms = "", 0
            try:
                status, content, pause_ms = self._answer(method, path, body, parameters or {})
                if status != _BUSY and status < _SERVER_ERROR:
                    return self._decoded(path, status, content, type_)
                trouble = f"answers {status}"
            except httpx2.HTTPError as error:
                trouble = f"no answer: {error or type(error).__name__}"
            if not attempt and self._wait_s:
                self._say(f"{self.url}{path}: {trouble}; trying for {self._wait_s:.0f} s")
            pause_s = max(pause_ms, backoff_ms(attempt)) / 1000
            if monotonic() - began_s + pause_s > self._wait_s or self._stop.wait(pause_s):
                raise ServerAway(f"{self.url}{path}: {trouble} (is this the address of the API, with /api?)")
            attempt += 1

    def _answer(self, method: str, path: str, body: object, parameters: Mapping[str, str]) -> tuple[int, bytes, int]:
        with self._client.stream(method, f"{self.url}{path}", params=dict(parameters), json=body) as response:
            content = bytearray()
            for part in response.iter_bytes():
                content += part
                if len(content) > self._bytes_max:
                    raise BadEnvironment(f"{self.url}{path}: an answer of over {self._bytes_max:,} bytes is not read")
            self._note_clock(response.headers.get("Date", ""))
            return response.status_code, bytes(content), retry_after_ms(response.headers.get("Retry-After", ""))

    def _note_clock(self, date: str) -> None:
        try:
            self._ahead_ms = millis(parsedate_to_datetime(date)) - wall_clock.now_ms()
        except (ValueError, TypeError):
            return  # no date, or none that is one: the machines' clocks are taken for equal

    def _decoded(self, path: str, status: int, content: bytes, type_: type[_T]) -> _T:
        url = f"{self.url}{path}"
        if status in {401, 403}:
            raise BadEnvironment(f"{url}: refused with {status} (set {KEY} or {AUTH_STRING} to what may read this)")
        if not 200 <= status < 300:
            raise BadEnvironment(f"{url}: answered {status} (is this the address of the API, with /api?)")
        try:
            return msgspec.json.decode(content, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            said = "the answer is none of Prefect's (is this the address of the API, with /api?)"
            raise BadEnvironment(f"{url}: {said}: {str(error)[:200]}") from None


def _secret(environment: Mapping[str, str], name: str) -> str | None:
    if value := environment.get(name):
        return _one_line(value, name)
    if not (file := environment.get(f"{name}_FILE")):
        return None
    try:
        return _one_line(Path(file).read_text(encoding="utf-8").strip(), f"{name}_FILE")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadInput(f"{name}_FILE: {file} cannot be read: {reason}") from None


def _one_line(value: str, name: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise BadInput(f"{name}: expected visible ASCII characters on one line")
    return value


def credentials_here() -> Credentials:
    """Return the credentials that this process's environment names."""
    return Credentials.of(os.environ)
