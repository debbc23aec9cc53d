"""The client: clickhouse-connect, over chDB in this process or over the HTTP interface of a server.

What differs between the two is here and nowhere else: how a client is made, and what the loss of a connection is
called. The store asks either in the same way. Next file: `store`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import clickhouse_connect
import urllib3
from clickhouse_connect import common
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3 import exceptions as http

from flowgauge.schemas.errors import BadEnvironment, LogMismatch
from flowgauge.sinks.clickhouse.deployment import CLOUD, DATABASE
from flowgauge.sinks.clickhouse.errors import REFUSES_USER, EngineTrouble, cause_of, trouble

VERSION_MIN = (26, 2)  # deduplicates views with their source by default, and has the text index
CONNECT_S_MAX = 5  # a server that lives accepts at once
# A service of ClickHouse Cloud that nobody asked sleeps, and while it wakes connections time out: 90 s in all.
WAKE_S_MAX = 15
WAKE_TRIES = 6
CONNECTIONS_MAX = 8  # so many questions and inserts at a time; more wait
ERROR_CHARS_MAX = 65_536  # the row that an insert's error names stands at its end
ERRORS = (ClickHouseError, http.HTTPError)  # what a call of a client raises

_PORTS = {"http": 8123, "https": 8443}  # as ClickHouse has them


@dataclass(frozen=True, slots=True)
class Server:
    """Where a ClickHouse server is and who asks it."""

    url: str  # http:// or https://, of its HTTP interface
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = DATABASE
    ca: Path | None = None  # PEM file of who signed its certificate; None: whom the system trusts
    cluster: str = ""  # as in `deployment`


class Result(Protocol):
    """The answer to a question."""

    @property
    def column_names(self) -> Sequence[str]:
        """The names, in order."""
        ...

    @property
    def result_rows(self) -> Sequence[Sequence[object]]:
        """The rows, a value a column."""
        ...


class Inserted(Protocol):
    """The answer to an insert."""

    @property
    def summary(self) -> Mapping[str, object]:
        """What the server says of it."""
        ...


class Client(Protocol):
    """What we use of clickhouse-connect's client, whose own types are partly unknown."""

    @property
    def server_version(self) -> str:
        """Such as 26.9.2.1."""
        ...

    def query(
        self,
        query: str,
        parameters: dict[str, object] | None = None,
        settings: dict[str, object] | None = None,
    ) -> Result:
        """Answer a question."""
        ...

    def command(
        self,
        cmd: str,
        parameters: dict[str, object] | None = None,
        settings: dict[str, object] | None = None,
    ) -> object:
        """Run a statement."""
        ...

    def raw_query(self, query: str, parameters: dict[str, object], settings: dict[str, object], fmt: str) -> bytes:
        """Answer a question in the format `fmt`."""
        ...

    def raw_insert(self, table: str, *, insert_block: bytes, settings: dict[str, object], fmt: str) -> Inserted:
        """Insert rows that are written already."""
        ...

    def close_connections(self) -> None:
        """Close what is pooled."""
        ...

    def close(self) -> None:
        """End."""
        ...


def open_engine(path: Path) -> Client:
    """Open chDB over the folder `path`, made if missing; raise LogMismatch when this process has another."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        return cast("Client", cast("Any", clickhouse_connect).get_client(interface="chdb", path=str(path)))
    except ClickHouseError as error:
        raise LogMismatch(
            f"cannot open ClickHouse over {path}: {str(error).splitlines()[0]} "
            "(one process holds one folder, and one folder belongs to one process)"
        ) from error


def connect(server: Server, *, answer_s_max: int) -> Client:
    """Connect to `server`, whose answers may each take `answer_s_max` seconds.

    Raises BadEnvironment with the remedy when nobody answers, the user is refused, or the version is too old.
    """
    _quiet_driver()
    if server.ca is not None and not server.ca.is_file():
        raise BadEnvironment(f"clickhouse.ca: there is no file {server.ca}")
    pool = _StraightPool(
        maxsize=CONNECTIONS_MAX,
        timeout=answer_s_max,  # as the client's own, told with each call: an error knows its pool
        cert_reqs="CERT_REQUIRED",
        ca_certs=str(server.ca) if server.ca else None,
    )
    try:
        client = _woken(server, pool, answer_s_max)
    except ERRORS as error:
        pool.clear()
        raise BadEnvironment(_why_not(server, error)) from error
    if version_of(client.server_version) < VERSION_MIN:
        pool.clear()
        wanted = ".".join(map(str, VERSION_MIN))
        raise BadEnvironment(
            f"ClickHouse at {server.url} is version {client.server_version}, "
            f"flowgauge needs {wanted} or newer (upgrade it)"
        )
    return client


def version_of(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version such as 26.9.2.1."""
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())


def trouble_of(error: Exception) -> EngineTrouble:
    """Return what a call's error means for who made it: to be tried again."""
    lost = error if isinstance(error, http.HTTPError) else error.__cause__
    if isinstance(lost, http.HTTPError):
        is_slow = isinstance(lost, http.ReadTimeoutError)
        busy = " (see what keeps the server busy: SHOW PROCESSLIST)" if is_slow else ""
        return EngineTrouble(f"ClickHouse: {_how_lost(lost)}{busy}", "known", is_too_much=is_slow)
    return trouble(code_of(error), str(error))


def _woken(server: Server, pool: "_StraightPool", answer_s_max: int) -> Client:
    """Return a client of a server that may have to wake up first."""
    for _ in range(WAKE_TRIES - 1 if server.cluster == CLOUD else 0):
        try:
            return _client(server, pool, answer_s_max)
        except ERRORS as error:
            if not _timed_out(error):
                raise
    return _client(server, pool, answer_s_max)


def _client(server: Server, pool: "_StraightPool", answer_s_max: int) -> Client:
    parts = urlsplit(server.url)
    return cast(
        "Client",
        cast("Any", clickhouse_connect).get_client(
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            username=server.user,
            password=server.password,
            pool_mgr=pool,  # given, so that no proxy of the environment is asked
            connect_timeout=WAKE_S_MAX if server.cluster == CLOUD else CONNECT_S_MAX,
            send_receive_timeout=answer_s_max,
            autogenerate_session_id=False,  # a session answers one question at a time
            compress=False,  # answers are small, and inserts are written already
            show_clickhouse_errors="scrub",
            client_name="flowgauge",
        ),
    )


def _timed_out(error: Exception) -> bool:
    lost = error if isinstance(error, http.HTTPError) else error.__cause__
    return isinstance(lost, http.TimeoutError)


class _StraightPool(urllib3.PoolManager):
    """Asks the address that it is told, once: a redirect is an answer, and repeating is the sink's to decide."""

    def urlopen(  # type: ignore[override]  # as urllib3's own
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: ARG002  # urllib3's signature
        **kw: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Ask once."""
        return super().urlopen(method, url, redirect=False, **{**kw, "retries": False})


def _quiet_driver() -> None:
    """Let errors speak through what they raise alone, with all of ClickHouse's text."""
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # its lines repeat what is raised
    common.set_setting("max_error_size", ERROR_CHARS_MAX)
    common.set_setting("send_os_user", False)  # whose process it is, is nobody's business


def _why_not(server: Server, error: Exception) -> str:
    if code_of(error) in REFUSES_USER:
        return (
            f"ClickHouse at {server.url} refuses user {server.user!r} or its password "
            "(correct clickhouse.user and clickhouse.password)"
        )
    lost = error if isinstance(error, http.HTTPError) else error.__cause__
    if isinstance(lost, http.SSLError):
        return f"ClickHouse at {server.url}: {_how_lost(lost)} (name who signed its certificate in clickhouse.ca)"
    if isinstance(lost, http.HTTPError):
        return f"no ClickHouse answers at {server.url}: {_how_lost(lost)} (start it there, or correct clickhouse.url)"
    return (
        f"ClickHouse at {server.url} cannot be used: {cause_of(str(error))} "
        "(clickhouse.url is the address of its HTTP interface, port 8123 or 8443)"
    )


def _how_lost(error: http.HTTPError) -> str:
    if isinstance(error, http.SSLError):
        return f"no TLS: {error}"
    if isinstance(error, http.NewConnectionError | http.ConnectTimeoutError):
        why = error.__cause__
        return f"no connection: {(why.strerror if isinstance(why, OSError) else None) or 'timed out'}"
    if isinstance(error, http.ReadTimeoutError):
        waited_s = getattr(error.pool, "timeout", urllib3.Timeout()).read_timeout
        return f"no answer came within {waited_s} s"
    return "the connection was cut before the answer came"


def code_of(error: Exception) -> int | None:
    """Return ClickHouse's number of an error, where it has one."""
    code: object = getattr(error, "code", None)
    return code if isinstance(code, int) else None
