"""The gateway over a real broker that goes away: it says so soon, and what it acknowledged is there."""

import asyncio
import json
import uuid
from collections.abc import Iterator

import pytest
from httpx2 import ASGITransport, AsyncClient
from starlette.applications import Starlette
from tests.integration.own_log import made, opened
from tests.kafka_broker import Broker, mortal_broker

from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.health import Health
from flowgauge.transport.wall_clock import now_ms

DEADLINE_S = 60  # for a broker that has come back

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def event() -> dict[str, object]:
    return {
        "id": str(uuid.uuid4()),
        "occurred": rfc3339(now_ms()),
        "event": "etl.done",
        "resource": {"id": "etl.1"},
    }


@pytest.fixture
def broker() -> Iterator[Broker]:
    with mortal_broker() as broker:
        yield broker


async def test_while_brokers_are_away_senders_are_told_to_come_again_and_what_they_send_again_is_there(
    broker: Broker,
) -> None:
    first, second, health = [event()], [event()], Health()
    async with opened(await made(broker.bootstrap)) as log:
        app = Starlette(routes=gateway_routes(log, tokens=TokenTable(None), health=health))
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as http:
            assert (await http.post("/v1/events", json=first)).json()["accepted"] == 1
            broker.kill()

            away = await http.post("/v1/events", json=second)
            said = dict(health.problems)
            await asyncio.to_thread(broker.start)
            async with asyncio.timeout(DEADLINE_S):
                while (again := await http.post("/v1/events", json=second)).status_code == 503:
                    pass  # each took its 5 s

        kept = [json.loads(r.value or b"") for r in await log.read(EVENTS, 0, 0, 100) if r.kind is RecordKind.EVENT]

    assert (away.status_code, "retry-after" in away.headers) == (503, True)
    assert said == {"gateway": "the log takes no events: no answer within 5 s; trying again"}
    assert (again.status_code, again.json()["accepted"], health.problems) == (200, 1, {})
    assert {each["id"] for each in kept} == {each["id"] for each in [*first, *second]}
