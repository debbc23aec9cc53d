"""The bridge where it could lose something in silence, and an import that is stopped.

Prefect and the gateway are HTTP servers on loopback that answer as those do; `test_prefect_bridge` has a real Prefect.
"""

import json
import signal
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.integration.up_process import COMMAND, WAIT_S, environment, wait_for
from tests.served import served
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from flowgauge.producers.prefect.api import Credentials
from flowgauge.producers.prefect.bridge import Bridging, run_bridge
from flowgauge.producers.prefect.cursor import furthest_us
from flowgauge.transport.wall_clock import now_ms

Json = dict[str, Any]
Answer = tuple[int, object, dict[str, str]]
HOUR_S = 3_600

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@contextmanager
def serving(answer_to: Callable[[str, bytes], Answer]) -> Generator[str]:
    """Answer each POST as `answer_to` says of its path and body; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            status, answer, headers = answer_to(self.path, content)
            body = json.dumps(answer).encode()
            self.send_response_only(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:  # the stream, which this Prefect has none of
            self.send_error(503)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as its own
            pass

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


@contextmanager
def streaming(frames: Sequence[bytes]) -> Generator[str]:
    """Tell these frames to each who reads the stream; yield the address, where all else is no answer."""

    def tell(socket: ServerConnection) -> None:
        socket.recv()  # who it is
        socket.send('{"type": "auth_success"}')
        socket.recv()  # what it wants
        for frame in frames:
            socket.send(frame)
        socket.recv()  # until it goes

    with serve(tell, "127.0.0.1", 0, subprotocols=[Subprotocol("prefect")]) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@dataclass
class Prefect:
    """What it keeps, and by how much its clock is ahead."""

    events: Sequence[object] = ()
    ahead_s: int = 0
    looks: int = 0

    def answer_to(self, path: str, body: bytes) -> Answer:
        now = now_utc() + timedelta(seconds=self.ahead_s)
        headers = {"Date": format_datetime(now, usegmt=True)}
        if not path.endswith("/events/filter"):
            return 200, [], headers
        self.looks += 1
        asked = json.loads(body)
        since, until = (datetime.fromisoformat(asked["filter"]["occurred"][name]) for name in ("since", "until"))
        found = [each for each in self.events if lies_in(each, since, until)]
        return 200, {"events": found[: asked["limit"]], "total": len(found), "next_page": None}, headers


def now_utc() -> datetime:
    return datetime.fromtimestamp(now_ms() / 1000, UTC)


def lies_in(row: object, since: datetime, until: datetime) -> bool:
    """Tell whether an event was in the interval; what is no event lies in each."""
    at = cast("dict[str, object]", row).get("occurred") if isinstance(row, dict) else None
    return not isinstance(at, str) or since <= datetime.fromisoformat(at) <= until


@dataclass
class Gateway:
    """What it took; `refusals` are answered first."""

    ids: list[str] = field(default_factory=list[str])
    refusals: list[Answer] = field(default_factory=list[Answer])
    is_away: bool = False
    posts: int = 0

    def answer_to(self, _path: str, body: bytes) -> Answer:
        self.posts += 1
        if self.is_away:
            return 503, {}, {}
        if self.refusals:
            return self.refusals.pop(0)
        lines = body.split(b"\n")
        self.ids += [json.loads(line)["id"] for line in lines]
        return 200, {"accepted": len(lines), "rejected": 0}, {}


def happening(number: int) -> Json:
    """Return an event of five minutes ago."""
    occurred = now_utc() - timedelta(minutes=5) + timedelta(seconds=number)
    event = {"id": str(uuid.uuid4()), "occurred": occurred.isoformat(), "event": "orders.arrived"}
    return {**event, "resource": {"prefect.resource.id": f"orders.{number}"}, "related": [], "payload": {}}


@contextmanager
def bridging(api: str, url: str, state: Path, **how: Any) -> Generator[Counter[str]]:
    """Bridge until the block ends; yield what was counted, which is there when it has ended."""
    stop, counts = threading.Event(), Counter[str]()
    how = {"compare_ms": 100, **how}
    bridge = Bridging(f"{api}/api", Credentials(), url, how.pop("token", None), state, **how)
    thread = threading.Thread(target=lambda: counts.update(run_bridge(bridge, stop)))
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join()


def test_another_gateway_or_tenant_gets_what_the_one_before_has(tmp_path: Path) -> None:
    happened = [happening(0), happening(1)]
    prefect, first, second = Prefect(happened), Gateway(), Gateway()
    wanted = [str(each["id"]) for each in happened]

    with serving(prefect.answer_to) as api, serving(first.answer_to) as one, serving(second.answer_to) as other:
        for url, token, gateway, ids in (
            (one, "a-secret", first, wanted),
            (other, "a-secret", second, wanted),
            (one, "another", first, wanted * 2),
        ):
            with bridging(api, url, tmp_path, token=token):
                wait_for(lambda gateway=gateway, ids=ids: len(gateway.ids) >= len(ids), "the events")  # type: ignore[misc]  # mypy infers no default
            assert gateway.ids == ids
        looks = prefect.looks
        with bridging(api, one, tmp_path, token="a-secret"):  # no secret
            wait_for(lambda: prefect.looks > looks + 2, "a look")

    assert first.ids == wanted * 2
    assert not any("secret" in file.name or b"secret" in file.read_bytes() for file in tmp_path.iterdir())


def test_a_cursor_that_is_new_in_a_folder_begins_where_another_of_the_same_prefect_is(tmp_path: Path) -> None:
    happened = [happening(0)]
    prefect, first, second = Prefect(happened), Gateway(), Gateway()

    with serving(prefect.answer_to) as api, serving(first.answer_to) as one, serving(second.answer_to) as other:
        with bridging(api, one, tmp_path):
            wait_for(lambda: first.ids, "the event")
        prefect.ahead_s = 24 * HOUR_S
        with bridging(api, other, tmp_path, token="rotated"):  # no secret
            wait_for(lambda: second.ids, "the event of a day ago")

    assert second.ids == [happened[0]["id"]]


def test_a_gateway_that_asks_to_wait_is_left_alone_for_so_long(tmp_path: Path) -> None:
    gateway = Gateway(refusals=[(429, {"error": "limit"}, {"Retry-After": "3"})])

    with (
        serving(Prefect([happening(0)]).answer_to) as api,
        serving(gateway.answer_to) as url,
        bridging(api, url, tmp_path),
    ):
        wait_for(lambda: gateway.ids, "the event")

    assert gateway.posts == 2


@pytest.mark.parametrize("row", ["no object", 1, None, {"occurred": 7, "id": []}], ids=repr)
def test_a_row_that_is_no_event_is_counted_and_those_beside_it_arrive(tmp_path: Path, row: object) -> None:
    happened, gateway = [happening(0), happening(1)], Gateway()

    with (
        serving(Prefect([happened[0], row, happened[1], row]).answer_to) as api,
        serving(gateway.answer_to) as url,
        bridging(api, url, tmp_path) as counts,
    ):
        wait_for(lambda: len(gateway.ids) == 2, "the events")

    assert sorted(gateway.ids) == sorted(each["id"] for each in happened)
    assert counts["unmappable"] > 0


def test_a_frame_that_is_no_text_is_counted_and_the_next_one_arrives(tmp_path: Path) -> None:
    happened, gateway = happening(0), Gateway()
    frames = [b"\xff\xfe", msgspec.json.encode({"type": "event", "event": happened})]

    with (
        streaming(frames) as api,
        serving(gateway.answer_to) as url,
        bridging(api, url, tmp_path) as counts,
    ):
        wait_for(lambda: gateway.ids, "the event")

    assert gateway.ids == [happened["id"]]
    assert (counts["streamed"] + counts["caught_up"], counts["unmappable"] > 0) == (1, True)


def test_a_gateway_that_is_away_for_longer_than_the_gap_leaves_seconds_that_are_told(tmp_path: Path) -> None:
    prefect, gateway = Prefect([happening(0)]), Gateway(is_away=True)

    with (
        serving(prefect.answer_to) as api,
        serving(gateway.answer_to) as url,
        bridging(api, url, tmp_path, gap_max_ms=HOUR_S * 1000, compare_ms=1_000, logs=False) as counts,
    ):
        wait_for(lambda: gateway.posts, "the first try")
        prefect.ahead_s = 3 * HOUR_S
        gateway.is_away = False
        wait_for(lambda: compared_s(tmp_path) > now_ms() / 1000 + 2 * HOUR_S - 60, "what is after the gap")

    assert 2 * HOUR_S - 60 <= counts["unknown seconds"] <= 2 * HOUR_S + 120


def test_logs_that_are_left_out_are_not_unknown(tmp_path: Path) -> None:
    prefect, gateway = Prefect([happening(0)]), Gateway()

    with serving(prefect.answer_to) as api, serving(gateway.answer_to) as url:
        for ahead_s in (0, 360, 720):
            prefect.ahead_s, wanted_s = ahead_s, now_ms() / 1000 + ahead_s - 120
            with bridging(api, url, tmp_path, logs=False, compare_ms=1_000, gap_max_ms=600_000) as counts:
                wait_for(lambda wanted_s=wanted_s: compared_s(tmp_path) > wanted_s, "a look")  # type: ignore[misc]
            assert counts["unknown seconds"] == 0

    assert not any("logs" in file.name for file in tmp_path.iterdir())


def test_an_import_that_is_interrupted_says_with_which_since_to_go_on(tmp_path: Path) -> None:
    asked = threading.Event()

    def answer_to(_path: str, _body: bytes) -> Answer:
        asked.set()
        return 503, {}, {}

    with serving(answer_to) as api:
        process = subprocess.Popen(
            [*COMMAND, "import", "prefect", "--api", f"{api}/api", "--since", "2026-11-18T11:00:00Z"],
            env=environment(),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asked.wait(WAIT_S)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=WAIT_S)

    assert (process.returncode, said[0]) == (130, "0 runs: 0 events\n")
    assert "stopped: go on with --since 2026-11-18T11:00:00" in said[1]


def compared_s(folder: Path) -> float:
    """Return up to when all events were compared."""
    return furthest_us(folder.glob("events*.cursor")) / 1_000_000
