"""OpenLineage's own client against a real gateway: what it sends is events, and the questions see them."""

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.integration.gateway_server import Running, encode, running_gateway
from tests.integration.openlineage_client import example, need_openlineage, run_client
from tests.integration.up_process import running_up, wait_for

from flowgauge.producers.gateway.batch_body import EVENTS_MAX
from flowgauge.producers.gateway.openlineage import MADE_BYTES_MAX
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

TOKEN = "lineage-token"
BATCH = "/api/v1/lineage/batch"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path, tokens={TOKEN: "data-team"}) as running:
        yield running


def lineage(number: int = 1, **changes: object) -> dict[str, object]:
    event = {
        "eventType": "START",
        "eventTime": rfc3339(now_ms()),
        "run": {"runId": f"018f3c2e-7b1a-7c3d-8e4f-{number:012}"},
        "job": {"namespace": "prod", "name": "orders"},
        "producer": "https://example.com/etl",
    }
    return {**event, **changes}


async def post(gateway: Running, path: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else encode(body)
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}", **headers}
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        response = await client.post(f"{gateway.url}{path}", content=content, headers=sent)
    answer: dict[str, Any] = response.json()
    return response.status_code, answer


async def test_what_the_client_of_the_page_sends_is_stored_as_events_of_the_tokens_tenant(
    gateway: Running, tmp_path: Path
) -> None:
    need_openlineage()

    await asyncio.to_thread(run_client, example(), gateway.url, TOKEN, tmp_path)

    events = await gateway.events()
    assert [(event.event, event.kind, event.state) for event in events] == [
        ("openlineage.run.START", "flow-run", "running"),
        ("openlineage.run.START", "task-run", "running"),
        ("openlineage.run.COMPLETE", "task-run", "completed"),
        ("asset.materialized", "asset", None),
        ("openlineage.run.FAIL", "flow-run", "failed"),
    ]
    assert {event.tenant for event in events} == {"data-team"}
    assert len({event.id for event in events}) == len(events)
    assert events[3].resource["id"] == "s3://lake/orders/daily"
    assert not await gateway.letters()


def test_questions_see_the_run_of_the_page(tmp_path: Path) -> None:
    need_openlineage()

    with running_up(tmp_path / "data") as up:
        run_client(example(), up.url, "any", tmp_path)
        wait_for(lambda: up.rows("/v1/metrics/runs", flow="nightly-orders")[0:1], "the run")
        wait_for(lambda: up.rows("/v1/metrics/runs", flow="nightly-orders")[0]["state"] == "failed", "its end")
        (run,) = up.rows("/v1/metrics/runs", flow="nightly-orders")
        (lateness,) = up.rows("/v1/metrics/lateness", flow="nightly-orders", per="deployment")
        (cost,) = up.rows("/v1/metrics/costs", flow="nightly-orders")

    assert (run["seconds"], run["message"]) == (5.0, "no space left")
    assert (lateness["deployment"], lateness["late_p50_seconds"]) == ("prod", 7.0)
    assert (cost["rows"], cost["bytes"]) == (4200, 1_048_576)


async def test_an_event_that_comes_again_is_the_same_event(gateway: Running) -> None:
    event = lineage(eventType="COMPLETE", outputs=[{"namespace": "s3://lake", "name": "orders"}])

    for _ in range(2):
        status, answer = await post(gateway, "/api/v1/lineage", event)
        assert (status, answer["accepted"], answer["rejected"]) == (200, 2, 0)
    await post(gateway, "/api/v1/lineage", gzip.compress(encode(event)), **{"Content-Encoding": "gzip"})

    assert len({event.id for event in await gateway.events()}) == 2


async def test_what_is_no_openlineage_event_is_told_and_kept_in_the_dlq(gateway: Running) -> None:
    status, answer = await post(gateway, "/api/v1/lineage", lineage(eventType="BEGIN"))

    assert (status, answer["accepted"], answer["rejected"]) == (422, 0, 1)
    assert answer["errors"][0]["detail"].startswith("`eventType`: got 'BEGIN': expected one of START")
    (letter,) = await gateway.letters()
    assert (letter.tenant, letter.reason) == ("data-team", "wrong field")
    assert json.loads(letter.value)["eventType"] == "BEGIN"


async def test_good_events_of_a_batch_stand_and_errors_name_the_place_of_what_was_sent(gateway: Running) -> None:
    made = {"eventType": "COMPLETE", "outputs": [{"namespace": "n", "name": str(number)} for number in range(3)]}
    events = [lineage(1, **made), lineage(2, **made), {"eventTime": rfc3339(now_ms())}, lineage(4)]

    status, answer = await post(gateway, BATCH, events)

    assert (status, answer["accepted"], answer["rejected"]) == (200, 9, 1)
    assert [error["index"] for error in answer["errors"]] == [2]
    assert len(await gateway.events()) == 9


async def test_what_much_is_made_of_is_stored_in_parts_and_errors_name_the_place_all_the_same(gateway: Running) -> None:
    made = {"eventType": "COMPLETE", "outputs": [{"namespace": "n" * 4_900, "name": str(n)} for n in range(100)]}
    events = [lineage(number, **made) for number in range(10)]
    assert 2 * len(encode(events)) > MADE_BYTES_MAX  # what is made names each data set several times

    status, answer = await post(gateway, BATCH, [*events, {}])

    assert (status, answer["accepted"], answer["rejected"]) == (200, 1_010, 1)
    assert [error["index"] for error in answer["errors"]] == [10]


async def test_a_request_makes_no_more_events_than_a_request_may_bring_in(gateway: Running) -> None:
    made = {"eventType": "COMPLETE", "outputs": [{"namespace": "n", "name": str(number)} for number in range(100)]}
    body = gzip.compress(encode([lineage(number, **made) for number in range(EVENTS_MAX // 101 + 1)]))

    status, answer = await post(gateway, BATCH, body, **{"Content-Encoding": "gzip"})

    assert (status, answer["error"]) == (413, "more than 50000 events would become of these: send smaller batches")
    assert not await gateway.events()


async def test_a_stranger_and_a_foreign_web_page_are_refused(gateway: Running) -> None:
    assert (await post(gateway, "/api/v1/lineage", lineage(), Authorization="Bearer other"))[0] == 401
    assert (await post(gateway, "/api/v1/lineage", lineage(), **{"Content-Type": "text/plain"}))[0] == 415
    assert not await gateway.events()


async def test_a_large_event_is_taken_and_only_its_words_are_kept(gateway: Running) -> None:
    plan = {"spark.logicalPlan": {"plan": "x" * 2_000_000}}
    event = lineage(run={"runId": "018f3c2e-7b1a-7c3d-8e4f-000000000009", "facets": plan})

    assert (await post(gateway, "/api/v1/lineage", event))[0] == 200

    (stored,) = await gateway.events()
    assert stored.payload == {"producer": "https://example.com/etl", "openlineage_bytes": len(encode(event))}
