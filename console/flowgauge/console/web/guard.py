"""The guard in front of every page and answer: who may ask, from where, and what a browser may do with it.

* On loopback only loopback names are answered, so a foreign page cannot reach in under a name of its own (DNS
  rebinding). A browser's request that changes something must come from our own origin.
* Pages carry no inline script or style and load nothing from elsewhere; the policy below enforces it.
* Where tokens are configured, pages and API show the token's tenant and nothing else.
"""

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowgauge.producers.tokens import basic_text

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})  # from where a browser says that a request comes; none is its reader
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # without any, a browser keeps back where our own forms come from
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

TenantOf = Callable[[str | None], str | None]


class Guard:
    """ASGI middleware: refuses foreign hosts and foreign origins, and sets the security headers on every answer."""

    def __init__(self, app: ASGIApp, *, only_loopback: bool) -> None:
        self._app = app
        self._only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request, or one WebSocket: browsers let any page open one, so it counts as a change."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(str(scope.get("method", "WEBSOCKET")), Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await JSONResponse({"error": refusal}, status_code=403)(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if self._only_loopback and _name_of(host) not in LOOPBACK_NAMES:
            return "this flowgauge listens on loopback: ask it as localhost or 127.0.0.1"
        origin = headers.get("origin")
        is_foreign = origin is not None and origin.partition("://")[2] != host
        if method not in SAFE_METHODS and (is_foreign or headers.get("sec-fetch-site", "none") not in OWN_SITES):
            return "a page of another origin may not send here"
        return None


def authorization_of(headers: Headers) -> str | None:
    """Return the request's authorization as `Bearer TOKEN`: browsers send a token as the password of HTTP Basic."""
    basic = _basic(headers)
    if basic is None:
        return headers.get("authorization")
    _, colon, password = basic.partition(":")
    return f"Bearer {password}" if colon else None


def login_of(headers: Headers) -> str:
    """Return the user name that a browser's reader gave beside the token, "" where there is none. It proves nothing."""
    return (_basic(headers) or "").partition(":")[0]


async def body_of(request: Request, bytes_max: int) -> bytes | None:
    """Return a request's body, None where it is longer than `bytes_max`: the rest is not read."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > bytes_max:
            return None
    return bytes(body)


def _basic(headers: Headers) -> str | None:
    return basic_text(headers.get("authorization", ""))


def _name_of(host: str) -> str:
    """Return the host without its port; an IPv6 address keeps its brackets."""
    name, bracket, _ = host.lower().partition("]")
    return name + bracket if bracket else name.partition(":")[0]
