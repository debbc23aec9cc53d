"""The kill switch of actions over HTTP: whose they are, who may, and that the newest word holds."""

from collections.abc import AsyncGenerator
from pathlib import Path

import httpx2
import pytest

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.topics import CONTROLS
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.control_book import ControlBook
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log

TOKENS = TokenTable({"of-one": "one", "of-operator": "platform"})
OPERATOR = {"authorization": "Bearer of-operator"}


@pytest.fixture
async def log(tmp_path: Path) -> AsyncGenerator[LocalLog]:
    opened = await open_local_log(tmp_path, partitions={CONTROLS: 1})
    yield opened
    await opened.close()


@pytest.fixture
async def http(embedded: ClickHouseStore, log: LocalLog) -> AsyncGenerator[httpx2.AsyncClient]:
    """Give a console whose clock steps back with every look."""
    times = iter(range(2_000_000, 0, -1_000))
    book = ControlBook(log, Health())
    answers = Answers(embedded, Health(), TOKENS, operator="platform", controls=book, now_ms=lambda: next(times))
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    headers = {"authorization": "Bearer of-one"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


async def test_the_newest_word_holds_even_if_the_clock_stepped_back(http: httpx2.AsyncClient, log: LocalLog) -> None:
    before = await http.get("/v1/actions")
    after = [await http.post(f"/v1/actions/{verb}", json={"by": "ann"}) for verb in ("stop", "start", "stop")]
    other = ControlBook(log, Health())
    await other.refresh()

    assert [each.json()["are_stopped"] for each in (before, *after)] == [False, True, False, True]
    assert (other.in_force.are_actions_stopped("one"), other.in_force.are_actions_stopped("two")) == (True, False)
    assert (await http.get("/v1/actions")).json()["switches"][0]["by"] == "ann"


async def test_only_the_operator_stops_everybodys(http: httpx2.AsyncClient, log: LocalLog) -> None:
    everyone = {"by": "ann", "everyone": True}

    refused = await http.post("/v1/actions/stop", json=everyone)
    done = await http.post("/v1/actions/stop", json=everyone, headers=OPERATOR)
    other = ControlBook(log, Health())
    await other.refresh()

    assert (refused.status_code, done.status_code) == (403, 200)
    assert done.json()["switches"] == [
        {"tenant": "*", "are_stopped": True, "by": "ann", "at": done.json()["switches"][0]["at"]}
    ]
    assert other.in_force.are_actions_stopped("whoever")


@pytest.mark.parametrize("body", [b"{}", b'{"by": " "}', b'{"by": "a", "x": 1}', b"[]", b"\xff"])
async def test_a_body_that_says_not_who_is_refused(http: httpx2.AsyncClient, body: bytes) -> None:
    answer = await http.post("/v1/actions/stop", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert (await http.get("/v1/actions")).json()["are_stopped"] is False
