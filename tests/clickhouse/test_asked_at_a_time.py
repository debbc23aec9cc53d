"""The console in front of a real engine: too many questions are refused in one line, equal ones get equal answers."""

import asyncio

import httpx2
import pytest
from tests.clickhouse.test_clickhouse_tenancy import write_all_tables

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.setting_parts import QuestionSettings
from flowgauge.sinks.clickhouse.metrics import METRICS
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.health import Health
from flowgauge.transport.wall_clock import now_ms

TENANT = "asked-at-a-time"
ONE_AT_A_TIME = QuestionSettings(running=1, tenant_running=1, tenant_waiting=0)


@pytest.fixture(scope="module")
def filled(embedded: ClickHouseStore) -> ClickHouseStore:
    asyncio.run(write_all_tables(embedded, TENANT, "default"))
    return embedded


def client(answers: Answers) -> httpx2.AsyncClient:
    app = web_app(answers, (), None, only_loopback=True)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")


@pytest.mark.parametrize("path", ["/v1/metrics/runs", "/v1/incidents", "/v1/incidents/abcdef", "/v1/dlq", "/"])
async def test_who_asks_too_much_hears_when_to_come_again(filled: ClickHouseStore, path: str) -> None:
    answers = Answers(filled, Health(), TokenTable(), bounds=ONE_AT_A_TIME)
    async with client(answers) as http, answers.turns.turn("default"):
        refused = await http.get(path)
        health = await http.get("/v1/health")
        waits = asyncio.ensure_future(http.get(path, params={"tenant": TENANT}))
        await asyncio.sleep(0)
        waits.cancel()

    assert (refused.status_code, refused.headers["retry-after"], health.status_code) == (429, "2", 200)
    assert "of tenant default 1 question may be asked at a time, and 0 wait: ask again in a moment" in refused.text


@pytest.mark.parametrize("name", METRICS)
async def test_what_is_remembered_is_what_would_be_answered(filled: ClickHouseStore, name: str) -> None:
    plain = Answers(filled, Health(), TokenTable(), bounds=QuestionSettings(fresh="0s"))
    remembering = Answers(filled, Health(), TokenTable(), bounds=QuestionSettings(fresh="1h"))
    asked = {"since": "2h", "until": str(now_ms() + 1)} | ({"run": "r"} if name == "timeline" else {})
    past = asked | {"since": str(now_ms() - 7_200_000)}

    first, again = [await remembering.metric(name, TENANT, past) for _ in range(2)]

    assert again is first
    if name != "overview":  # its first columns are of now
        assert await plain.metric(name, TENANT, past) == first
    other = await remembering.metric(name, "nobody", past)
    assert other is not first
