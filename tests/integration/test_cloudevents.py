"""CloudEvents over HTTP, sent with their own package to a real gateway on a real log."""

import gzip
import json
import uuid
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent
from tests.integration.gateway_server import Running, running_gateway

from flowgauge.producers.cloud_event import event_id
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = pytest.mark.integration

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path) as running:
        yield running


def event(number: int = 0, data: Any = None, **attributes: object) -> CloudEvent:
    required = {"id": str(number), "source": "/shop", "type": "order.shipped"}
    return CloudEvent({**required, **attributes}, {"rows": number} if data is None else data)


async def send(gateway: Running, body: bytes, headers: Mapping[str, str], method: str = "POST") -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30) as client:
        return await client.request(method, f"{gateway.url}/v1/cloudevents", content=body, headers=dict(headers))


async def stored(gateway: Running) -> list[tuple[uuid.UUID, dict[str, Any]]]:
    return [(kept.id, kept.payload) for kept in await gateway.events()]


@pytest.mark.parametrize("write", [http.to_structured_event, http.to_binary_event])
async def test_an_event_is_stored_and_answered_with_nothing(gateway: Running, write: Any) -> None:
    message = write(event(7, flow="etl", comment='a "b" 100% €'))

    response = await send(gateway, message.body, message.headers)

    assert (response.status_code, response.content) == (204, b"")
    assert await stored(gateway) == [(event_id("/shop", "7"), {"rows": 7})]
    (kept,) = await gateway.events()
    assert (kept.flow, kept.resource["comment"]) == ("etl", 'a "b" 100% €')


async def test_every_form_and_a_repeat_become_one_record(gateway: Running) -> None:
    told = event(7, subject="42", run="r1", kind="flow-run", state="running")
    whole = http.to_structured_event(told)
    binary = http.to_binary_event(told)
    for body, headers in (
        (whole.body, whole.headers),
        (b"[" + whole.body + b"]", BATCH),
        (gzip.compress(b"[" + whole.body + b"]"), BATCH | {"content-encoding": "gzip"}),
        (binary.body, binary.headers),
        (binary.body, binary.headers),
    ):
        assert (await send(gateway, body, headers)).status_code in {200, 204}

    records = [record.value for record in await gateway.log.read("flowgauge.events", 0, 0, 100) if not record.kind]
    assert len(records) == 5
    assert len(set(records)) == 1


async def test_each_event_of_a_batch_has_its_answer_and_good_neighbours_stand(gateway: Running) -> None:
    good = [http.to_structured_event(event(number)).body for number in (1, 2)]
    nameless = json.dumps({"specversion": "1.0", "source": "/shop", "type": "t"}).encode()
    unknown = http.to_structured_event(event(3, state="Failed")).body

    response = await send(gateway, b"[" + b",".join([good[0], nameless, b"7", unknown, good[1]]) + b"]", BATCH)

    answer = response.json()
    assert (response.status_code, answer["accepted"], answer["rejected"]) == (200, 2, 3)
    assert [(each["index"], each["reason"]) for each in answer["errors"]] == [(n, "wrong field") for n in (1, 2, 3)]
    assert "`id` is missing" in answer["errors"][0]["detail"]
    assert 'did you mean "failed"?' in answer["errors"][2]["detail"]
    assert [found for found, _ in await stored(gateway)] == [event_id("/shop", "1"), event_id("/shop", "2")]
    assert [letter.value for letter in await gateway.letters()][:2] == [nameless, b"7"]


async def test_an_empty_batch_is_fine(gateway: Running) -> None:
    response = await send(gateway, b"[]", BATCH)

    assert (response.status_code, response.json()) == (200, {"accepted": 0, "rejected": 0, "errors": []})


async def test_an_event_that_never_fits_is_refused_for_good_and_kept(gateway: Running) -> None:
    response = await send(gateway, b"not json", STRUCTURED)

    assert response.status_code == 400
    assert response.json()["error"].startswith("not JSON: ")
    assert response.json()["rejected"] == 1
    assert [(letter.reason, letter.value) for letter in await gateway.letters()] == [("not JSON", b"not json")]


async def test_what_a_binary_event_said_is_kept_without_other_headers(tmp_path: Path) -> None:
    headers = {"authorization": "Bearer one", "cookie": "secret", "ce-id": "1", "ce-type": "t", "content-type": "a/b"}
    async with running_gateway(tmp_path, tokens={"one": "acme"}) as gateway:
        response = await send(gateway, b"\x00body", headers)

        (letter,) = await gateway.letters()
    assert response.status_code == 400
    assert (letter.tenant, letter.reason) == ("acme", "wrong field")
    assert letter.value == b"ce-id: 1\r\nce-type: t\r\ncontent-type: a/b\r\n\r\n\x00body"


async def test_a_broken_batch_is_kept_as_one(gateway: Running) -> None:
    response = await send(gateway, b'[{"id": "1"}', BATCH)

    assert (response.status_code, response.json()["rejected"]) == (400, 1)
    assert [letter.value for letter in await gateway.letters()] == [b'[{"id": "1"}']


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"content-type": "application/json"}, "or the headers ce-id"),
        ({}, "or the headers ce-id"),
        ({"content-type": "application/cloudevents+avro", "ce-id": "1"}, "application/cloudevents+avro"),
        ({"content-type": "application/cloudevents"}, "application/cloudevents+json"),
    ],
)
async def test_what_is_no_form_of_ours_is_told_which_are(gateway: Running, headers: dict[str, str], said: str) -> None:
    response = await send(gateway, b"{}", headers)

    assert response.status_code == 415
    assert said in response.json()["error"]


async def test_the_tenant_comes_from_the_token(tmp_path: Path) -> None:
    message = http.to_binary_event(event(1, tenant="beta"))
    async with running_gateway(tmp_path, tokens={"one": "acme"}) as gateway:
        refused = await send(gateway, message.body, message.headers)
        taken = await send(gateway, message.body, message.headers | {"authorization": "Bearer one"})

        assert (refused.status_code, taken.status_code) == (401, 204)
        assert [kept.tenant for kept in await gateway.events()] == ["acme"]


async def test_a_log_that_is_full_is_a_reason_to_come_again(tmp_path: Path) -> None:
    large = http.to_structured_event(event(1, data={"text": "x" * 500_000})).body
    async with running_gateway(tmp_path, page_count_max=60) as gateway:
        responses = [await send(gateway, large, STRUCTURED) for _ in range(5)]

    assert {each.status_code for each in responses} <= {204, 503}
    assert responses[-1].headers["retry-after"] == "1"


async def test_an_event_without_a_time_occurred_when_it_came(gateway: Running) -> None:
    before = now_ms()
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}

    assert (await send(gateway, b"", headers)).status_code == 204

    (kept,) = await gateway.events()
    assert rfc3339(before) <= rfc3339(int(kept.occurred.timestamp() * 1000)) <= rfc3339(now_ms())


async def test_a_sender_that_asks_is_told_that_it_is_welcome(tmp_path: Path) -> None:
    asked = {
        "webhook-request-origin": "eventgrid.azure.net",
        "webhook-request-rate": "120",
        "webhook-request-callback": "http://127.0.0.1:1/x",
    }
    async with running_gateway(tmp_path, tokens={"one": "acme"}) as gateway:
        welcome = await send(gateway, b"", asked, "OPTIONS")
        plain = await send(gateway, b"", {"origin": "http://evil.example"}, "OPTIONS")
        strange = await send(gateway, b"", {"webhook-request-origin": "a b"}, "OPTIONS")

    assert welcome.status_code == 200
    assert welcome.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert welcome.headers["webhook-allowed-rate"] == "*"
    assert (plain.status_code, plain.headers["allow"]) == (200, "POST, OPTIONS")
    assert not [name for name in plain.headers if name.startswith(("access-control", "webhook"))]
    assert strange.status_code == 400
