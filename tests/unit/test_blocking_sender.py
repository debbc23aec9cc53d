"""What becomes of a batch that is answered as a whole, by a gateway or by what is on the way to it: over real HTTP."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from tests.served import served

from flowgauge.producers.blocking_sender import BlockingSender
from flowgauge.schemas.errors import ServerAway

Answer = tuple[int, bytes, dict[str, str]]
REFUSED: Answer = (400, b'{"error": "no batch"}', {})


@contextmanager
def gateway(answer_to: Callable[[list[bytes]], Answer]) -> Generator[str]:
    """Answer each batch of events as `answer_to` says; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body, headers = answer_to(self.rfile.read(int(self.headers["content-length"])).split(b"\n"))
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as its own
            pass

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


def taken(batch: list[bytes]) -> Answer:
    return 200, msgspec.json.encode({"accepted": len(batch), "rejected": 0}), {}


def sender(url: str) -> BlockingSender:
    return BlockingSender(url, None, wait_ms=1_000, say=lambda _: None)


def test_a_batch_that_is_refused_as_a_whole_loses_only_the_events_that_are_refused_alone() -> None:
    def answer_to(batch: list[bytes]) -> Answer:
        return REFUSED if b"bad" in batch else taken(batch)

    with gateway(answer_to) as url:
        settled = list(sender(url).send([b"1", b"2", b"bad", b"4", b"5"]))

    assert [(each.count, each.accepted, len(each.refused)) for each in settled] == [(2, 2, 0), (1, 0, 1), (2, 2, 0)]


@pytest.mark.parametrize("body", [b"<html>bad request</html>", b"", b"[]", b'{"message": "blocked"}', b"\xff"])
def test_a_refusal_that_no_gateway_wrote_is_no_answer_and_the_same_is_sent_again(body: bytes) -> None:
    answers: list[Answer] = [(400, body, {})]

    with gateway(lambda batch: answers.pop() if answers else taken(batch)) as url:
        settled = list(sender(url).send([b"1", b"2"]))

    assert [(each.count, each.accepted) for each in settled] == [(2, 2)]


def test_how_long_a_server_asks_to_wait_is_told_where_that_is_too_long_to_wait_here() -> None:
    with (
        gateway(lambda _: (429, b'{"error": "limit"}', {"Retry-After": "30"})) as url,
        pytest.raises(ServerAway) as away,
    ):
        list(sender(url).send([b"1"]))

    assert away.value.wait_ms == 30_000
