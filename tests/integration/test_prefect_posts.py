"""`POST /api/events`, as Prefect's server has it, on a real gateway and log."""

import uuid
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import httpx2
import pytest
from tests.integration.gateway_server import Running, encode, running_gateway

from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = pytest.mark.integration

TOKEN = "data-teams-token"
JSON = {"Content-Type": "application/json"}


def event(number: int, **changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": str(uuid.UUID(int=number)),
        "occurred": rfc3339(now_ms()),
        "event": "etl.done",
        "resource": {"prefect.resource.id": f"etl.{number}"},
    }
    return {**fields, **changes}


async def post(gateway: Running, body: bytes, headers: Mapping[str, str] = JSON) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        return await client.post(f"{gateway.url}/api/events", content=body, headers=headers)


async def stored(gateway: Running) -> list[int]:
    return sorted(event.id.int for event in await gateway.events())


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running]:
    async with running_gateway(tmp_path) as running:
        yield running


async def test_a_list_is_stored_before_it_is_answered(gateway: Running) -> None:
    answer = await post(gateway, b" " + encode([event(1), event(2)]))

    assert (answer.status_code, answer.content) == (204, b"")
    assert await stored(gateway) == [1, 2]
    assert [event.resource for event in await gateway.events()] == [{"id": "etl.1"}, {"id": "etl.2"}]


async def test_no_event_is_fine_too(gateway: Running) -> None:
    assert (await post(gateway, b"[]")).status_code == 204


async def test_a_bad_event_goes_to_the_dlq_and_its_neighbours_are_stored(gateway: Running) -> None:
    bad: list[object] = [{}, 7, None, event(9, id="seven"), event(9, occurred="2001-01-01T00:00:00Z")]

    answers = [
        await post(gateway, encode([event(2 * number), each, event(2 * number + 1)])) for number, each in enumerate(bad)
    ]

    assert {answer.status_code for answer in answers} == {204}
    assert await stored(gateway) == list(range(2 * len(bad)))
    assert [letter.reason for letter in await gateway.letters()] == ["wrong field"] * 4 + ["clock far off"]


async def test_a_broken_element_costs_its_neighbours_nothing(gateway: Running) -> None:
    body = b"[" + encode(event(1)) + b',{"a":NaN},' + encode(event(2)) + b"]"

    assert (await post(gateway, body)).status_code == 204
    assert await stored(gateway) == [1, 2]
    assert [letter.value for letter in await gateway.letters()] == [b'{"a":NaN}']


@pytest.mark.parametrize("body", [b"", b"no", encode(event(1)), b"[" + encode(event(1)), b'"text"', b"\xff"])
async def test_what_is_no_list_is_refused_and_kept_in_the_dlq(gateway: Running, body: bytes) -> None:
    answer = await post(gateway, body)

    assert (answer.status_code, answer.json()["rejected"]) == (422, 1)
    assert [letter.value for letter in await gateway.letters()] == [body]
    assert await stored(gateway) == []


async def test_another_content_type_is_refused(gateway: Running) -> None:
    assert (await post(gateway, b"[]", {"Content-Type": "text/plain"})).status_code == 415


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 204),
        ("Basic ZGF0YS10ZWFtcy10b2tlbg==", 204),
        ("Basic YW55b25lOmRhdGEtdGVhbXMtdG9rZW4=", 204),
        ("Basic d3Jvbmc=", 401),
        ("Basic ???", 401),
        ("", 401),
    ],
)
async def test_the_token_says_whose_it_is_in_each_form_that_prefect_sends(
    tmp_path: Path, authorization: str, status: int
) -> None:
    async with running_gateway(tmp_path, tokens={TOKEN: "data-team"}) as gateway:
        answer = await post(gateway, encode([event(1)]), {**JSON, "Authorization": authorization})

        assert answer.status_code == status
        assert [event.tenant for event in await gateway.events()] == (["data-team"] if status == 204 else [])
