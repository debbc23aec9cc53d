"""A stand-in for a ClickHouse server: its HTTP interface, as far as clickhouse-connect speaks it, over chDB.

    python clickhouse_front.py FOLDER PORT USER PASSWORD [PEM]     prints its port; ends when standard input does

PEM holds certificate and key: with it, it speaks TLS.

`Front` starts it in a process of its own (chDB: one process a path) on a free loopback port. Its `faults` break
requests, each fault one: the next whose statement begins with `of`.

    cut before     the connection ends, nothing ran
    cut after      it ran, and the connection ends before the answer
    no answer      it ran, and nothing is answered for as long as the client waits
    error 500      a proxy's answer: nothing ran, no word of ClickHouse
    code N         nothing ran; ClickHouse's error N
    code N row M   the same; the error names row M
    password       as if the password were another
    foreign        200 and a page of somebody else's: nothing ran
    elsewhere      a redirect to another address: nothing ran
    version V      the answer to the question for the version

What it cannot stand in for: statuses beyond 200, 403 and 500, results in blocks, progress, roles, replicas.
"""

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import chdb

from flowgauge.transport.wall_clock import now_ms

# What the HTTP interface itself reads; every other parameter is a setting of the query.
NO_SETTINGS = {
    "client_protocol_version",
    "database",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "query",
    "query_id",
    "send_progress_in_http_headers",
    "wait_end_of_query",
}
INSERT_OF_BYTES = re.compile(rb"INSERT INTO (\S+) FORMAT (\w+)\n")
CODE = re.compile(r"Code: (\d+)")
AUTHENTICATION_FAILED = (
    "Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user with such "
    "name. (AUTHENTICATION_FAILED) (version 26.9.2.1)\n"
)
READY_S = 30  # chDB opens in 2 s; a machine under load takes longer


class Engine:
    """chDB over one folder; each query has a connection, so a session, of its own."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._chdb = cast("Any", chdb)
        self._open = self._chdb.connect(folder)  # keeps the engine between queries

    def run(self, statement: bytes, parameters: Mapping[str, str]) -> bytes:
        """Run one statement as ClickHouse would with these URL parameters; raise what chDB raises."""
        settings = {n: v for n, v in parameters.items() if n not in NO_SETTINGS and not n.startswith("param_")}
        bound = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
        session = self._chdb.connect(self._folder)
        try:
            if settings:
                session.query("SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()))
            return self._run(session, statement, bound)
        finally:
            session.close()

    def _run(self, session: Any, statement: bytes, bound: Mapping[str, str]) -> bytes:
        rows = INSERT_OF_BYTES.match(statement)
        if rows is None:
            return bytes(session.query(statement.decode(), "TabSeparated", params=dict(bound)).bytes() or b"")
        table, form = rows[1].decode(), rows[2].decode()
        with tempfile.NamedTemporaryFile() as file:
            file.write(statement[rows.end() :])
            file.flush()
            session.query(f"INSERT INTO {table} FROM INFILE {_quoted(file.name)} FORMAT {form}")
        return b""


class Server(ThreadingHTTPServer):
    """What the requests share."""

    daemon_threads = True

    def __init__(self, engine: Engine, port: int, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", port), Requests)
        self.engine = engine
        self.user = user
        self.authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.lock = threading.Lock()
        self.faults: list[tuple[str, str]] = []
        self.seen: list[dict[str, object]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what the tests are about."""

    def take_fault(self, statement: str) -> str:
        """Return the fault of this statement and forget it; "" when it has none."""
        with self.lock:
            for at, (fault, of) in enumerate(self.faults):
                if statement.startswith(of):
                    del self.faults[at]
                    return fault
        return ""


class Requests(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the class that made it

    def do_PUT(self) -> None:
        """Take the faults to come, and tell the statements until then (a control request of the tests)."""
        asked = json.loads(self._body())
        with self.server.lock:
            told = json.dumps(self.server.seen).encode()
            self.server.faults = [(str(fault), str(of)) for fault, of in asked]
            self.server.seen = [each for each in self.server.seen if each["is_running"]]  # they are told when they end
        self._answer(200, told, {})

    def do_GET(self) -> None:
        """Tell the statements since the last PUT (a control request of the tests)."""
        with self.server.lock:
            told = json.dumps(self.server.seen).encode()
        self._answer(200, told, {})

    def do_POST(self) -> None:
        """Run a statement."""
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        parameters, body = self._sent(parameters)
        statement = parameters.get("query", "").encode() + body
        text = statement[:200].decode(errors="replace")
        fault = self.server.take_fault(text)
        seen: dict[str, object] = {"path": self.path, "statement": text, "parameters": parameters, "fault": fault}
        seen |= {"done_ms": 0, "is_running": True}  # when it had run, and whether it does
        with self.server.lock:
            self.server.seen.append(seen)
        try:
            if self.headers["Authorization"] != self.server.authorization or fault == "password":
                self._refuse(403, AUTHENTICATION_FAILED.format(user=self.server.user))
            elif fault in {"", "cut after", "no answer"}:
                self._run(statement, parameters, seen)
            else:
                self._break(fault)
        finally:
            seen["is_running"] = False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""

    def _sent(self, parameters: dict[str, str]) -> tuple[dict[str, str], bytes]:
        """Return the parameters and the body; the client sends long ones as the parts of a form."""
        kind, body = self.headers["Content-Type"] or "", self._body()
        if not kind.startswith("multipart/form-data"):
            return parameters, body
        form = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        parts = cast("list[Message]", form.get_payload())
        names = [str(part.get_param("name", header="content-disposition")) for part in parts]
        values = [cast("bytes", part.get_payload(decode=True)).decode() for part in parts]
        return {**parameters, **dict(zip(names, values, strict=True))}, b""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def _run(self, statement: bytes, parameters: Mapping[str, str], seen: dict[str, object]) -> None:
        fault = seen["fault"]
        try:
            answer = self.server.engine.run(statement, parameters)
        except Exception as error:  # noqa: BLE001  # whatever the engine says is the client's to hear
            self._refuse(500, f"{error}\n")
            return
        with self.server.lock:
            seen |= {"done_ms": now_ms(), "is_running": False}
        if fault == "no answer":
            self.rfile.read(1)  # until the client hangs up
        if fault:
            self.close_connection = True
            return
        headers = {
            "X-ClickHouse-Query-Id": parameters.get("query_id", ""),
            "X-ClickHouse-Timezone": self._zone(parameters),
        }
        if answer:
            headers["X-ClickHouse-Format"] = "Native" if statement.endswith(b"FORMAT Native") else "TabSeparated"
        self._answer(200, answer, headers)

    def _zone(self, parameters: Mapping[str, str]) -> str:
        return parameters.get("session_timezone") or os.environ.get("TZ") or "Etc/UTC"

    def _break(self, fault: str) -> None:
        name, _, code = fault.partition(" ")
        if name == "code":
            self._refuse(500, _wished(*code.split(" row ")))
        elif name == "error":
            self._answer(int(code), b"<html>upstream is away</html>", {})
        elif name == "foreign":
            self._answer(200, b"<html>welcome</html>", {})
        elif name == "elsewhere":
            self._answer(307, b"", {"Location": f"/elsewhere{self.path}"})
        elif name == "version":
            self._answer(200, f"{code}\tEtc/UTC\n".encode(), {"X-ClickHouse-Format": "TabSeparated"})
        else:
            self.close_connection = True

    def _refuse(self, status: int, message: str) -> None:
        code = CODE.search(message)
        self._answer(status, message.encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "0"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Front:
    """A running front: where it is, the faults to come, and what it has seen since they were set."""

    user = "sink"
    password = "p@ss wörd"

    def __init__(self, folder: Path, port: int = 0, pem: Path | None = None) -> None:
        arguments = [sys.executable, __file__, str(folder), str(port), self.user, self.password]
        arguments += [str(pem)] if pem else []
        # Far from UTC: no answer may depend on where the server stands.
        environ = {**os.environ, "TZ": "Asia/Kolkata"}
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"{'https' if pem else 'http'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """The settings of those who use it, as environment variables."""
        return {
            "FLOWGAUGE_CLICKHOUSE_URL": self.url,
            "FLOWGAUGE_CLICKHOUSE_USER": self.user,
            "FLOWGAUGE_CLICKHOUSE_PASSWORD": self.password,
        }

    def __enter__(self) -> "Front":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(timeout=READY_S)

    def kill(self) -> None:
        """End it at once, as a power cut does to a process."""
        self._process.kill()
        self._process.communicate(timeout=READY_S)

    @contextmanager
    def faults(self, *faults: str, of: str = "INSERT INTO flowgauge.events") -> Generator[None]:
        """Break the next requests that begin with `of`, one a fault, until the block ends."""
        self._control("PUT", [[fault, of] for fault in faults])
        try:
            yield
        finally:
            self._control("PUT", [])

    def seen(self, of: str = "") -> list[dict[str, Any]]:
        """Return statement, parameters, fault and end of each request since the last faults were set."""
        told = json.loads(self._control("GET", None))
        return [each for each in told if str(each["statement"]).startswith(of)]

    def is_idle(self) -> bool:
        """Return whether no statement runs."""
        return not any(each["is_running"] for each in self.seen())

    def take_seen(self) -> list[dict[str, Any]]:
        """Return what `seen` does, and forget it: it would grow for as long as the front runs."""
        told: list[dict[str, Any]] = json.loads(self._control("PUT", []))
        return told

    def _control(self, method: str, body: object) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=READY_S)
        try:
            connection.request(method, "/", json.dumps(body))
            return connection.getresponse().read()
        finally:
            connection.close()


def _wished(code: str, row: str = "") -> str:
    where = f" is violated at row {row}." if code == "469" else f": (at row {row})\n" if row else ""
    return f"Code: {code}. DB::Exception: As the test wishes{where if row else ''} (WISHED) (version 26.9.2.1)\n"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def main(folder: str, port: str, *who: str) -> None:
    user, password, *pem = who
    server = Server(Engine(folder), int(port), user, password)
    if pem:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem[0])
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()  # until whoever started us ends, in whatever way
    os._exit(0)  # chDB's threads have nothing to say, and what was acknowledged is on disk


if __name__ == "__main__":
    main(*sys.argv[1:])
