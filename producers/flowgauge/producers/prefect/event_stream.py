"""`WS /events/out`: Prefect's events as they happen, from one connection.

    connect (subprotocol prefect)      a server without it (before 3.6.14, no auth string) begins at the filter
    → {"type": "auth", "token": …}     ← {"type": "auth_success"}
    → {"type": "filter", …, backfill}  ← {"type": "event", "event": {…}} …     the last 15 minutes, then what happens

The filter ends far ahead: Prefect compares live events with it, and by default it ends now. Prefect keeps 256 events
for a reader and silently drops the others, so whoever reads must only read; `bridge` finds what is missing.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from flowgauge.producers.prefect.api import AUTH_STRING, KEY, Credentials
from flowgauge.producers.prefect.look_back import time_at
from flowgauge.schemas.errors import BadEnvironment, ServerAway

FRAME_BYTES_MAX = 4 * 1_048_576  # Prefect refuses events over 1.5 MB
OPEN_S_MAX = 30.0
AHEAD_US: Final = 365 * 86_400_000_000  # a connection lives for less
POLICY_VIOLATION: Final = 1008  # how Prefect closes on a wrong token

_encode = msgspec.json.Encoder().encode


def socket_url(api_url: str) -> str:
    """Return the address of the events of the API at `api_url`."""
    return f"ws{api_url.removeprefix('http').rstrip('/')}/events/out"


def events_out(api_url: str, credentials: Credentials, *, since_us: int) -> Iterator[str | bytes]:
    """Yield frames from one connection, those of events since `since_us` first, until it is lost.

    Yields "" first, when the filter was sent. Raises ServerAway where the connection is lost or cannot be made,
    BadEnvironment where Prefect refuses the token or the address.
    """
    url = socket_url(api_url)
    try:
        with connect(
            url,
            subprotocols=[Subprotocol("prefect")],
            additional_headers=credentials.headers,
            compression=None,  # Prefect's server would pay, and is the slower end
            open_timeout=OPEN_S_MAX,
            proxy=None,  # as our other requests: none of the environment
            max_size=FRAME_BYTES_MAX,
        ) as socket:
            if socket.subprotocol or credentials.key:
                _authenticate(socket, url, credentials)
            socket.send(_filter(since_us).decode(), text=True)
            yield ""
            yield from socket
    except InvalidStatus as error:
        status = error.response.status_code
        if status in {401, 403, 404}:
            raise BadEnvironment(f"{url}: answers {status}{_REMEDY}") from None
        raise ServerAway(f"{url}: answers {status}") from None
    except ConnectionClosed as closed:
        if closed.rcvd is not None and closed.rcvd.code == POLICY_VIOLATION:
            raise BadEnvironment(f"{url}: refused{_REMEDY}") from None
        raise ServerAway(f"{url}: the connection was lost: {closed}") from None
    except (WebSocketException, OSError, TimeoutError) as error:
        raise ServerAway(f"{url}: no connection: {error or type(error).__name__}") from None
    raise ServerAway(f"{url}: Prefect closed the connection")


_REMEDY: Final = f" (is the address right, and {KEY} or {AUTH_STRING}?)"


def _authenticate(socket: ClientConnection, url: str, credentials: Credentials) -> None:
    socket.send(_encode({"type": "auth", "token": credentials.token}).decode(), text=True)
    try:
        answer: Any = msgspec.json.decode(socket.recv(OPEN_S_MAX))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadEnvironment(f"{url}: what answers is no Prefect: {error}") from None
    if not isinstance(answer, dict) or answer.get("type") != "auth_success":  # pyright: ignore[reportUnknownMemberType]  # a foreign answer
        raise BadEnvironment(f"{url}: refused{_REMEDY}")


def _filter(since_us: int) -> bytes:
    occurred = {"since": time_at(since_us), "until": time_at(since_us + AHEAD_US)}
    return _encode({"type": "filter", "filter": {"occurred": occurred}, "backfill": True})
