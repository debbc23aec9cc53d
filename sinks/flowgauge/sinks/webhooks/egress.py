"""The only way out: one request, or one socket for mail, to a checked address, on a connection of its own.

A name is resolved once, every address it has is checked, and the connection goes to one of these very addresses,
so an answer that changes in between (DNS rebinding) reaches nothing. TLS still checks the certificate against
the name. There is no redirect, proxy, cookie, decompression or connection reuse to switch off: this sits directly
on httpcore2, which has none. What may be reached is decided in addresses.py.

    EgressError
      AddressRefused   the policy says no, until the settings or the URL change
      EgressFailed     the network or the receiver did; `retryable` says whether trying again can help
Neither carries a URL, a body or a receiver's words: they end in logs and on pages.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, cast

import httpcore2
import httpx2

from flowgauge.sinks.webhooks.addresses import (
    PLAIN_MAIL,
    Address,
    EgressPolicy,
    Reason,
    Target,
    Verdict,
    literal_of,
    target_of,
    text_fault,
)

ANSWER_BYTES_MAX = 16 * 1024  # A receiver's words are kept for people to read; more is cut, not an error.
CONNECT_MS_MAX = 5_000  # For one address, so that a dead IPv6 route leaves time for the next address.
ADDRESSES_TRIED_MAX = 4  # Of the checked ones, in the resolver's order.
RESOLVE_MS_MAX = 5_000  # For `check_host`; a request has its own deadline.
USER_AGENT = "flowgauge"
METHODS = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"})  # CONNECT and TRACE are for proxies.

_WEB_SCHEMES = frozenset({"http", "https"})
_ALL_SCHEMES = _WEB_SCHEMES | {"smtp", PLAIN_MAIL}
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})
# The caller's headers may not change where the message goes or how it is framed.
_OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect", "upgrade", "te"}
)


class Failure(StrEnum):
    """Why no answer came."""

    CONNECT = "cannot connect"
    CUT_SHORT = "connection lost before the answer was whole"
    DNS = "does not resolve"
    PROTOCOL = "answer is not whole HTTP"
    REQUEST = "request cannot be written as HTTP"
    TIMEOUT = "no whole answer within the deadline"
    TLS = "no trusted TLS connection"


class EgressError(Exception):
    """No answer from the receiver."""


class AddressRefused(EgressError):
    """The address may not be reached; `verdict` says why, and what would open it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict
        self.reason = verdict.reason


class EgressFailed(EgressError):
    """The request was allowed and had no whole answer; the receiver may or may not have seen it."""

    def __init__(self, reason: Failure, *, retryable: bool = True) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said: header names in lower case, the body raw and cut at 16 kB."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_ms: int


class Resolver(Protocol):
    """The port to DNS: every address of a name. Raises OSError when there is none."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Give the addresses of `host` as text."""
        ...


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, in a thread."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Egress:
    """Sends to checked addresses.

    `own_ports` are the ports this process listens on: it never calls itself. `tls` and `mail_tls` replace the system's
    trusted certificates, for receivers with a private authority.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        own_ports: frozenset[int] = frozenset(),
        resolve: Resolver = resolve_by_system,
        tls: ssl.SSLContext | None = None,
        mail_tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._own_ports = own_ports
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._mail_tls = mail_tls

    @property
    def opens_apprise(self) -> bool:
        """Tell whether the settings let channels by apprise connect by themselves."""
        return self._policy.apprise

    @property
    def mail_tls(self) -> ssl.SSLContext:
        """What mail trusts: not the context of webhooks, which offers HTTP, and a mail server may refuse that."""
        self._mail_tls = self._mail_tls or ssl.create_default_context()
        return self._mail_tls

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_ms: int) -> Answer:
        """Send one POST; `request` says the rest."""
        return await self.request("POST", url, body, headers, deadline_ms=deadline_ms)

    async def request(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], *, deadline_ms: int
    ) -> Answer:
        """Send one request, by one of METHODS, and read its answer, all of it within `deadline_ms`.

        A redirect is an answer like any other. Raises AddressRefused before anything is sent, else EgressFailed.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                target, path = _read_url(url)
                message = _message(method, target, path, body, headers)
                addresses = await self._checked_addresses(target)
                status, received, text = await self._exchange(message, addresses)
        except TimeoutError:
            raise EgressFailed(Failure.TIMEOUT) from None
        return Answer(status, received, text, elapsed_ms=round((loop.time() - began) * 1000))

    async def open_socket(self, host: str, port: int, *, deadline_ms: int, is_plain: bool = False) -> socket.socket:
        """Give a connected, non-blocking socket to a mail server, the caller's to close.

        `host` is a name or an address without brackets. The name is not looked up again: TLS is to be checked
        against it; `is_plain` says that none will be asked for. Raises AddressRefused before anything is sent, else
        EgressFailed.
        """
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                target = _mail_target(host, port, PLAIN_MAIL if is_plain else "smtp")
                return await self._connected(await self._checked_addresses(target), port)
        except TimeoutError:
            raise EgressFailed(Failure.TIMEOUT) from None

    async def check_host(self, text: str) -> Verdict:
        """Say whether `text` (a host, host:port, address or URL) may be reached now; it is not connected to.

        `smtp://host:port` asks for mail.
        """
        try:
            target, _ = _read_url(_as_url(text), schemes=_ALL_SCHEMES)
            async with asyncio.timeout(RESOLVE_MS_MAX / 1000):
                verdicts = self._verdicts(target, await self._addresses(target))
        except AddressRefused as refused:
            return refused.verdict
        except (EgressFailed, TimeoutError):
            return Verdict(allowed=False, reason=Reason.UNRESOLVED)
        return next((verdict for verdict in verdicts if not verdict.allowed), verdicts[0])

    async def aclose(self) -> None:
        """End; no connection outlives its request, so there is nothing to wait for."""

    async def _checked_addresses(self, target: Target) -> list[Address]:
        addresses = await self._addresses(target)
        for verdict in self._verdicts(target, addresses):
            if not verdict.allowed:
                raise AddressRefused(verdict)
        return addresses

    async def _addresses(self, target: Target) -> list[Address]:
        """Give every address of the target, at least one."""
        literal = literal_of(target.host)
        if literal is not None:
            return [literal]
        try:
            found = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            raise EgressFailed(Failure.DNS) from None
        addresses = [address for text in dict.fromkeys(found) if (address := literal_of(text))]
        if not addresses:
            raise EgressFailed(Failure.DNS)
        return addresses

    def _verdicts(self, target: Target, addresses: Sequence[Address]) -> list[Verdict]:
        return [
            self._policy.verdict(target.host, target.port, address, scheme=target.scheme, own_ports=self._own_ports)
            for address in addresses
        ]

    async def _exchange(
        self, message: httpcore2.Request, addresses: Sequence[Address]
    ) -> tuple[int, dict[str, str], bytes]:
        dialer = _CheckedDialer(addresses, self._own_ports)
        connection = httpcore2.AsyncHTTPConnection(
            origin=message.url.origin, ssl_context=self._tls, network_backend=dialer
        )
        with _failures(dialer):
            try:
                return await _read_answer(await connection.handle_async_request(message))
            finally:
                await connection.aclose()
                await dialer.aclose()

    async def _connected(self, addresses: Sequence[Address], port: int) -> socket.socket:
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            connected = await _connect(address, port)
            if connected is None:
                continue
            if _is_ourselves(connected.getsockname(), connected.getpeername(), port, self._own_ports):
                connected.close()
                raise AddressRefused(_refusal(Reason.OWN))
            return connected
        raise EgressFailed(Failure.CONNECT)


def refused_unasked(url: str, policy: EgressPolicy) -> Verdict | None:
    """Return why nothing may ever go to `url`, as far as that shows without asking for a name; else None.

    `smtp://host:port` asks for mail.
    """
    try:
        target, _ = _read_url(url, schemes=_ALL_SCHEMES)
    except AddressRefused as refused:
        return refused.verdict
    address = literal_of("127.0.0.1" if target.host in _LOOPBACK_NAMES else target.host)
    if address is None:
        return None
    verdict = policy.verdict(target.host, target.port, address, scheme=target.scheme)
    return None if verdict.allowed else verdict


class _CheckedDialer(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were checked, and to nothing else, whatever the name means by now."""

    def __init__(self, addresses: Sequence[Address], own_ports: frozenset[int]) -> None:
        self._addresses = addresses[:ADDRESSES_TRIED_MAX]
        self._own_ports = own_ports
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())
        self._stream: httpcore2.AsyncNetworkStream | None = None

    @property
    def is_connected(self) -> bool:
        return self._stream is not None

    async def connect_tcp(  # noqa: PLR0917 the port of httpcore2
        self,
        host: str,  # noqa: ARG002 only the checked addresses count
        port: int,
        timeout: float | None = None,  # noqa: ARG002 bounded by our own constant, and by the deadline outside
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failed: Exception = httpcore2.ConnectError("no address")
        for address in self._addresses:
            try:
                stream = await self._network.connect_tcp(
                    str(address), port, CONNECT_MS_MAX / 1000, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
                continue
            self._stream = stream
            self._refuse_ourselves(stream, port)
            return stream
        raise failed

    async def aclose(self) -> None:
        """Close the socket even where a deadline fell into the TLS handshake."""
        if self._stream is not None:
            await self._stream.aclose()

    def _refuse_ourselves(self, stream: httpcore2.AsyncNetworkStream, port: int) -> None:
        ours = cast("tuple[object, ...]", stream.get_extra_info("client_addr"))
        theirs = cast("tuple[object, ...]", stream.get_extra_info("server_addr"))
        if _is_ourselves(ours, theirs, port, self._own_ports):
            raise AddressRefused(_refusal(Reason.OWN))


def _is_ourselves(ours: tuple[object, ...], theirs: tuple[object, ...], port: int, own_ports: AbstractSet[int]) -> bool:
    """Nothing was sent yet. A connection whose two ends have one address never left this machine."""
    return port in own_ports and ours[0] == theirs[0]


async def _connect(address: Address, port: int) -> socket.socket | None:
    """Give a connected socket, or None where the address does not answer."""
    connecting = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        async with asyncio.timeout(CONNECT_MS_MAX / 1000):
            await asyncio.get_running_loop().sock_connect(connecting, (str(address), port))
    except OSError:  # A TimeoutError is one.
        connecting.close()
        return None
    except BaseException:
        connecting.close()
        raise
    return connecting


def _mail_target(host: str, port: int, scheme: str = "smtp") -> Target:
    """Check the parts of a mail server's address. Raises AddressRefused."""
    target = text_fault(host) or target_of(scheme, b"", host, port)
    if isinstance(target, Reason):
        raise AddressRefused(_refusal(target))
    return target


def _read_url(url: str, *, schemes: AbstractSet[str] = _WEB_SCHEMES) -> tuple[Target, bytes]:
    """Parse once; the parts that are checked are the parts that are used. Raises AddressRefused."""
    if fault := text_fault(url):
        raise AddressRefused(_refusal(fault))
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise AddressRefused(_refusal(Reason.BAD_URL)) from None
    if parsed.scheme not in schemes:
        raise AddressRefused(_refusal(Reason.SCHEME))
    target = target_of(parsed.scheme, parsed.userinfo, parsed.raw_host.decode("ascii"), parsed.port)
    if isinstance(target, Reason):
        raise AddressRefused(_refusal(target))
    return target, parsed.raw_path


def _refusal(reason: Reason) -> Verdict:
    return Verdict(allowed=False, reason=reason)


def _as_url(text: str) -> str:
    if "://" in text:
        return text
    address = literal_of(text)
    return f"https://[{text}]/" if address is not None and address.version == 6 else f"https://{text}"


def _message(  # noqa: PLR0917 the parts of one request line and what follows it
    method: str, target: Target, path: bytes, body: bytes, headers: Mapping[str, str]
) -> httpcore2.Request:
    if method not in METHODS:
        raise EgressFailed(Failure.REQUEST, retryable=False)
    where = httpcore2.URL(scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=path)
    return httpcore2.Request(
        method.encode(), where, headers=_request_headers(method, target, body, headers), content=body
    )


def _request_headers(method: str, target: Target, body: bytes, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    host = f"[{target.host}]" if ":" in target.host else target.host
    is_default_port = (target.scheme, target.port) in {("https", 443), ("http", 80)}
    ours = {
        "host": host if is_default_port else f"{host}:{target.port}",
        "connection": "close",
        "accept-encoding": "identity",
    }
    if body or method not in {"GET", "HEAD"}:
        ours["content-length"] = str(len(body))
    theirs = {name.lower(): value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}
    merged = {"user-agent": USER_AGENT, **theirs, **ours}
    try:
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in merged.items()]
    except UnicodeError:
        raise EgressFailed(Failure.REQUEST, retryable=False) from None


async def _read_answer(response: httpcore2.Response) -> tuple[int, dict[str, str], bytes]:
    if response.status < 200:  # We asked for no upgrade, so there is no answer behind it.
        raise EgressFailed(Failure.PROTOCOL)
    body = bytearray()
    async with contextlib.aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) >= ANSWER_BYTES_MAX:
                break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return response.status, headers, bytes(body[:ANSWER_BYTES_MAX])


@contextlib.contextmanager
def _failures(dialer: _CheckedDialer) -> Generator[None]:
    """Turn what httpcore2 raises into our enumerated reasons, without its words."""
    try:
        yield
    except httpcore2.TimeoutException:
        raise EgressFailed(Failure.TIMEOUT) from None
    except httpcore2.ConnectError:
        raise EgressFailed(Failure.TLS if dialer.is_connected else Failure.CONNECT) from None
    except httpcore2.LocalProtocolError:
        raise EgressFailed(Failure.REQUEST, retryable=False) from None
    except httpcore2.RemoteProtocolError:
        raise EgressFailed(Failure.PROTOCOL) from None
    except (httpcore2.NetworkError, OSError):
        raise EgressFailed(Failure.CUT_SHORT) from None
