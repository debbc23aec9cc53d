"""What Prefect keeps, read page by page from an HTTP server on loopback that answers as Prefect's does."""

import base64
import json
from collections.abc import Generator, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.served import served

from flowgauge.console.main import flowgauge
from flowgauge.producers.prefect.api import Credentials, PrefectApi
from flowgauge.producers.prefect.look_back import decode_object, events_between, events_total, logs_between, time_at
from flowgauge.schemas.errors import BadEnvironment, BadInput, ServerAway

BEGIN_US = 1_790_000_000_000_000
Json = dict[str, Any]

pytestmark = pytest.mark.integration


class Prefect(ThreadingHTTPServer):
    """Keeps events and logs of the `times`, µs after BEGIN_US; answers `refusals` first, each a status and headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.times: Sequence[int] = ()
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.authorizations: list[str] = []

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"

    def rows(self, field: str, since: str, until: str) -> list[Json]:
        found = [
            {"id": number, field: time_at(BEGIN_US + at)}
            for number, at in enumerate(self.times)
            if datetime.fromisoformat(since) <= datetime.fromisoformat(time_at(BEGIN_US + at))
            and datetime.fromisoformat(time_at(BEGIN_US + at)) <= datetime.fromisoformat(until)
        ]
        return sorted(found, key=lambda row: row[field])

    def answer_to(self, path: str, asked: Json) -> object:
        if path == "/api/logs/filter":
            interval = asked["logs"]["timestamp"]
            rows = self.rows("timestamp", interval["after_"], interval["before_"])
            return rows[asked["offset"] : asked["offset"] + asked["limit"]]
        return self.page(asked["filter"]["occurred"], 0, asked["limit"])

    def page(self, interval: Json, offset: int, limit: int) -> Json:
        rows = self.rows("occurred", interval["since"], interval["until"])
        token = base64.b64encode(json.dumps([interval, offset + limit, limit]).encode()).decode()
        more = offset + limit < len(rows)
        next_page = f"http://elsewhere:4200/api/events/filter/next?page-token={token}" if more else None
        return {"events": rows[offset : offset + limit], "total": len(rows), "next_page": next_page}


class Answering(BaseHTTPRequestHandler):
    @property
    def prefect(self) -> Prefect:
        return cast("Prefect", self.server)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer(lambda: self.prefect.answer_to(self.path, asked))

    def do_GET(self) -> None:
        token = parse_qs(urlsplit(self.path).query)["page-token"][0]
        self._answer(lambda: self.prefect.page(*json.loads(base64.b64decode(token))))

    def _answer(self, answer: Any) -> None:
        self.prefect.authorizations.append(self.headers.get("authorization", ""))
        status, headers = self.prefect.refusals.pop(0) if self.prefect.refusals else (200, {})
        body = json.dumps(answer() if status == 200 else {}).encode()
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as its own
        pass


@pytest.fixture(scope="module")
def prefect() -> Generator[Prefect]:
    with served(Prefect()) as server:
        yield server


def ids(rows: Sequence[bytes]) -> set[int]:
    return {decode_object(row)["id"] for row in rows}


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(0, 6), max_size=450),
    since=st.integers(0, 6),
    until=st.integers(0, 7),
)
def test_every_row_of_an_interval_is_read_however_many_share_a_time(
    times: list[int], since: int, until: int, prefect: Prefect
) -> None:
    prefect.times = times
    wanted = {number for number, at in enumerate(times) if since <= at < until}

    with PrefectApi(prefect.api, Credentials()) as api:
        assert ids([*events_between(api, BEGIN_US + since, BEGIN_US + until)]) == wanted
        assert ids([*logs_between(api, BEGIN_US + since, BEGIN_US + until)]) == wanted
        if since < until:
            assert events_total(api, BEGIN_US + since, BEGIN_US + until) == len(wanted)


def test_a_busy_prefect_is_asked_again_when_it_says_so_with_the_same_key() -> None:
    with served(Prefect()) as prefect:
        prefect.refusals = [(429, {"Retry-After": "1"}), (503, {})]
        with PrefectApi(prefect.api, Credentials(key="pnu_secret")) as api:
            assert events_total(api, BEGIN_US, BEGIN_US + 1) == 0

        assert prefect.authorizations == ["Bearer pnu_secret"] * 3


def test_who_waits_is_told_why_at_once_and_once() -> None:
    said: list[str] = []
    with served(Prefect()) as prefect:
        prefect.refusals = [(503, {}), (503, {})]
        with PrefectApi(prefect.api, Credentials(), say=said.append) as api:
            events_total(api, BEGIN_US, BEGIN_US + 1)

        assert said == [f"{prefect.api}/events/filter: answers 503; trying for 60 s"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["prefect", "bridge", "--compare", "0s"], "--compare: expected at least 1s, got '0s'"),
        (
            ["prefect", "bridge"],
            "'--api': expected a server's address such as http://127.0.0.1:4200/api, got 'nowhere'",
        ),
        (
            ["import", "prefect", "--since", "1d"],
            "'--api': expected a server's address such as http://127.0.0.1:4200/api",
        ),
    ],
)
def test_a_wrong_option_is_told_by_its_name(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api" if "--compare" in arguments else "nowhere")

    done = CliRunner().invoke(flowgauge, arguments)

    assert done.exit_code
    assert says in " ".join(f"{done.output} {done.exception}".split())


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (403, BadEnvironment, "refused with 403.*PREFECT_API_AUTH_STRING"),
        (404, BadEnvironment, "with /api"),
        (500, ServerAway, "answers 500"),
    ],
)
def test_what_is_no_answer_names_the_remedy_and_no_secret(status: int, error: type[Exception], says: str) -> None:
    with served(Prefect()) as prefect:
        prefect.refusals = [(status, {})] * 2
        with (
            PrefectApi(prefect.api, Credentials(auth_string="admin:secret"), wait_s=0) as api,
            pytest.raises(error, match=says) as raised,
        ):
            events_total(api, BEGIN_US, BEGIN_US + 1)

        assert prefect.authorizations == [f"Basic {base64.b64encode(b'admin:secret').decode()}"]
        assert "secret" not in str(raised.value) + repr(Credentials(key="secret"))


def test_a_secret_comes_from_a_file_too(tmp_path: Any) -> None:
    (tmp_path / "key").write_text("pnu_secret\n", encoding="utf-8")

    assert Credentials.of({"PREFECT_API_KEY_FILE": str(tmp_path / "key")}).token == "pnu_secret"
    with pytest.raises(BadInput, match=r"PREFECT_API_KEY_FILE: .* cannot be read"):
        Credentials.of({"PREFECT_API_KEY_FILE": str(tmp_path / "none")})
