"""`rules import-prefect --api`: pages, refusals and answers that are none, from an HTTP server on loopback."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from flowgauge.console.main import flowgauge
from flowgauge.console.prefect_api import PAGE_BYTES_MAX
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.errors import BadEnvironment

Answer = tuple[int, bytes]
AnswerTo = Callable[[dict[str, Any], str], Answer]


def automation(number: int) -> dict[str, Any]:
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": ["prefect.flow-run.Failed"],
        "threshold": 1,
        "within": 0,
    }
    return {"name": f"a{number}", "enabled": True, "trigger": trigger, "actions": []}


@contextmanager
def prefect(answer_to: AnswerTo) -> Generator[str]:
    """Serve what `answer_to` says to a page that is asked for, and to the key; yield the API's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/automations/filter"
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, body = answer_to(asked, self.headers.get("authorization", ""))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as its own
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_every_page_is_read_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_secret")
    pages: list[tuple[int, str]] = []

    def answer_to(asked: dict[str, Any], key: str) -> Answer:
        pages.append((asked["offset"], key))
        found = [automation(number) for number in range(450)][asked["offset"] : asked["offset"] + asked["limit"]]
        return 200, json.dumps(found).encode()

    with prefect(answer_to) as api:
        done = CliRunner().invoke(flowgauge, ["rules", "import-prefect", "--api", api])

    assert done.exit_code == 0, done.output
    assert pages == [(offset, "Bearer pnu_secret") for offset in (0, 200, 400)]
    assert {rule.name for rule in parse_rules("imported.yaml", done.stdout).rules} == {f"a{n}" for n in range(450)}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, b"{}"), "refused with 401 (set PREFECT_API_KEY or PREFECT_API_AUTH_STRING to what may read this)"),
        ((404, b"not here"), "answered 404 (is this the address of the API, with /api?)"),
        ((200, b"<html>"), "the answer is none of Prefect's (is this the address of the API, with /api?)"),
        ((302, b""), "answered 302 (is this the address of the API, with /api?)"),
        ((200, b" " * (PAGE_BYTES_MAX + 1)), "an answer of over 16,777,216 bytes is not read"),
    ],
    ids=["refused", "elsewhere", "a page of a browser", "redirect", "too large"],
)
def test_what_is_no_answer_is_one_line_with_a_remedy(answer: Answer, says: str) -> None:
    with prefect(lambda _asked, _key: answer) as api:
        done = CliRunner().invoke(flowgauge, ["rules", "import-prefect", "--api", api])

    assert isinstance(done.exception, BadEnvironment)  # which the command line tells in one line, with exit code 3
    assert str(done.exception).startswith(f"{api}/automations/filter: {says}")
    assert done.stdout == ""


def test_nobody_there_is_one_line() -> None:
    with prefect(lambda _asked, _key: (200, b"[]")) as api:
        pass
    done = CliRunner().invoke(flowgauge, ["rules", "import-prefect", "--api", api])

    assert isinstance(done.exception, BadEnvironment)
    assert "no answer: " in str(done.exception)


@pytest.mark.parametrize("arguments", [[], ["--api", "ftp://x"]])
def test_a_place_must_be_named(arguments: list[str]) -> None:
    assert CliRunner().invoke(flowgauge, ["rules", "import-prefect", *arguments]).exit_code == 2
