"""The gateway over HTTP, on a real log: what is stored, what is refused, and that neighbours stand."""

import asyncio
import gzip
import json
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.integration.gateway_server import Running, encode, running_gateway

from flowgauge.producers.gateway.batch_body import EVENTS_MAX, RAW_BYTES_MAX
from flowgauge.producers.gateway.intake import ERRORS_MAX
from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = pytest.mark.integration

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path) as running:
        yield running


def event(number: int = 0, **changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": str(uuid.UUID(int=number)),
        "occurred": rfc3339(now_ms()),
        "event": "etl.done",
        "resource": {"id": f"etl.{number}"},
    }
    return {**fields, **changes}


def lines(*events: dict[str, object] | bytes) -> bytes:
    return b"\n".join(event if isinstance(event, bytes) else encode(event) for event in events)


async def post(gateway: Running, body: bytes, headers: dict[str, str], status: int = 200) -> dict[str, Any]:
    async with httpx2.AsyncClient(timeout=30) as client:
        response = await client.post(f"{gateway.url}/v1/events", content=body, headers=headers)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def stored(gateway: Running) -> list[int]:
    return sorted(event.id.int for event in await gateway.events())


async def test_a_list_of_events_is_stored_and_answered(gateway: Running) -> None:
    answer = await post(gateway, encode([event(1), event(2)]), JSON)

    assert answer == {"accepted": 2, "rejected": 0, "errors": []}
    assert await stored(gateway) == [1, 2]
    assert (gateway.health.accepted, gateway.health.refused) == (2, 0)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (lines(event(1), event(2)), NDJSON),
        (lines(event(1), event(2)), JSON),
        (b"\xef\xbb\xbf\r\n" + lines(event(1), b"", b"  ", event(2)) + b"\r\n\n", NDJSON),
        (json.dumps([event(1), event(2)], indent=2).encode(), {"Content-Type": "application/json; charset=utf-8"}),
        (gzip.compress(lines(event(1), event(2))), {**NDJSON, "Content-Encoding": "gzip"}),
        (gzip.compress(lines(event(1), b"")) + gzip.compress(lines(event(2))), {**NDJSON, "Content-Encoding": "GZIP"}),
    ],
    ids=["ndjson", "ndjson called json", "blank lines and a mark", "pretty list", "gzip", "joined gzip"],
)
async def test_each_form_of_a_batch_is_read(gateway: Running, body: bytes, headers: dict[str, str]) -> None:
    assert (await post(gateway, body, headers))["accepted"] == 2

    assert await stored(gateway) == [1, 2]


async def test_one_event_may_come_alone_over_several_lines(gateway: Running) -> None:
    assert (await post(gateway, json.dumps(event(7), indent=2).encode(), JSON))["accepted"] == 1

    assert await stored(gateway) == [7]


BAD_EVENTS: list[tuple[bytes, str]] = [
    (b"not json", "not JSON"),
    (b'{"a":NaN}', "not JSON"),
    (b"7", "wrong field"),
    (encode({**event(9), "id": 7}), "wrong field"),
    (encode({k: v for k, v in event(9).items() if k != "id"}), "wrong field"),
    (encode(event(9))[:-1] + b',"event":"twice"}', "duplicate key"),
    (encode(event(9, occurred="2001-01-01T00:00:00Z")), "clock far off"),
    (encode(event(9, payload={"text": "x" * 2_000_000})), "too large"),
    (encode(event(9, resource={"id": "x", **{f"l{i}": "" for i in range(600)}})), "wrong field"),
    (encode(event(9)).replace(b"etl.done", b"\xff\xfe"), "not UTF-8"),
    (encode(event(9))[:-1] + b',"deep":' + b"[" * 3_000 + b"]" * 3_000 + b"}", "too deep"),
]


@pytest.mark.parametrize("form", ["ndjson", "list"])
async def test_a_bad_event_is_told_and_kept_in_the_dlq_and_its_neighbours_are_stored(
    gateway: Running, form: str
) -> None:
    for number, (bad, reason) in enumerate(BAD_EVENTS):
        events = (encode(event(10 * number)), bad, encode(event(10 * number + 1)))

        if form == "ndjson":
            answer = await post(gateway, b"\n".join(events), NDJSON)
        else:
            answer = await post(gateway, b"[" + b",".join(events) + b"]", JSON)

        assert (answer["accepted"], answer["rejected"]) == (2, 1)
        assert [(error["index"], error["reason"]) for error in answer["errors"]] == [(1, reason)]
    assert await stored(gateway) == [10 * number + place for number in range(len(BAD_EVENTS)) for place in (0, 1)]
    assert [(le.tenant, le.reason, le.origin, le.size, le.value) for le in await gateway.letters()] == [
        ("default", reason, "gateway", len(bad), bad[:DEAD_LETTER_BYTES_MAX]) for bad, reason in BAD_EVENTS
    ]


async def test_an_error_names_the_event_by_its_id_when_it_has_one(gateway: Running) -> None:
    answer = await post(gateway, encode([event(5, kind="flow"), {"event": "x"}, event(6, id=[1])]), JSON)

    assert [error["id"] for error in answer["errors"]] == [str(uuid.UUID(int=5)), None, None]


async def test_a_long_list_of_errors_is_cut_and_counted(gateway: Running) -> None:
    answer = await post(gateway, b"x\n" * (ERRORS_MAX + 5), NDJSON)

    assert (answer["rejected"], len(answer["errors"]), answer["errors_omitted"]) == (ERRORS_MAX + 5, ERRORS_MAX, 5)
    assert len(await gateway.letters()) == ERRORS_MAX + 5


async def test_events_of_one_run_stay_in_order_in_one_partition(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, partitions=4) as gateway:
        await post(gateway, encode([event(n, run=f"run-{n % 7}") for n in range(70)]), JSON)

        runs: dict[str | None, list[int]] = {}
        for kept in await gateway.events():
            runs.setdefault(kept.run, []).append(kept.id.int)

    assert runs == {f"run-{r}": list(range(r, 70, 7)) for r in range(7)}


async def test_the_tenant_comes_from_the_token(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tokens={"one": "acme", "two": "beta"}) as gateway:
        await post(gateway, encode([event(1, tenant="beta")]), {**JSON, "Authorization": "Bearer one"})
        await post(gateway, encode([event(2)]), {**JSON, "Authorization": "Bearer two"})

        assert sorted((e.id.int, e.tenant) for e in await gateway.events()) == [(1, "acme"), (2, "beta")]


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic one", "Bearer"])
async def test_a_wrong_token_stores_nothing(tmp_path: Path, authorization: str | None) -> None:
    headers = {**JSON, **({"Authorization": authorization} if authorization else {})}
    async with running_gateway(tmp_path, tokens={"one": "acme"}) as gateway:
        answer = await post(gateway, encode([event(1)]), headers, 401)

        assert "Bearer TOKEN" in answer["error"]
        assert ("no tenant has this token" in answer["error"]) is (authorization is not None)
        assert (await gateway.events(), await gateway.letters()) == ([], [])


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"hello", JSON, (400, "expected a JSON list of events, one event or NDJSON, got 'hello'")),
        (b'[{"a":1}', JSON, (400, "does not end")),
        (b"", JSON, (400, "got an empty body")),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, (400, "not gzip")),
        (gzip.compress(b"{}")[:-4], {**JSON, "Content-Encoding": "gzip"}, (400, "cut short")),
        (b"{}", {"Content-Type": "text/plain"}, (415, "application/json")),
        (b"{}", {}, (415, "application/json")),
        (b"{}", {**JSON, "Content-Encoding": "br"}, (415, "gzip or none")),
        (b"x" * (16 * 1_048_576 + 1), JSON, (413, "smaller batches")),
        (b"1\n" * (EVENTS_MAX + 1), NDJSON, (413, f"more than {EVENTS_MAX} events")),
        (b"\n" * (2 * EVENTS_MAX + 1) + b"1", {"Content-Type": "application/jsonl"}, (200, "")),
        (b"1" + b"\n" * (2 * EVENTS_MAX + 1) + b"1", NDJSON, (413, "lines")),
        (b"[" + b"1," * EVENTS_MAX + b"1]", JSON, (413, "events")),
        (b"[" + b"1," * 5_000_000 + b"1]", JSON, (413, "events")),
        (gzip.compress(b" " * (RAW_BYTES_MAX + 1)), {**JSON, "Content-Encoding": "gzip"}, (413, "after gzip")),
        (gzip.compress(b"") * 2_000, {**JSON, "Content-Encoding": "gzip"}, (413, "gzip members")),
    ],
    ids=range(16),
)
async def test_a_body_over_a_bound_or_without_events_has_one_clear_answer(
    gateway: Running, body: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    status, error = expected
    answer = await post(gateway, body, headers, status)

    assert error in answer.get("error", "")
    assert await gateway.events() == []


async def test_a_body_that_comes_in_chunks_is_bounded_as_well(gateway: Running) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for _ in range(17):
            yield b" " * 1_048_576

    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{gateway.url}/v1/events", content=chunks(), headers=JSON)

    assert response.status_code == 413


async def test_a_body_without_events_is_kept_in_the_dlq_as_one(gateway: Running) -> None:
    answer = await post(gateway, b"hello", JSON, 400)

    assert (answer["accepted"], answer["rejected"]) == (0, 1)
    assert [(letter.reason, letter.value) for letter in await gateway.letters()] == [("not JSON", b"hello")]


async def test_an_empty_list_is_no_error(gateway: Running) -> None:
    assert await post(gateway, b" [ ] ", JSON) == {"accepted": 0, "rejected": 0, "errors": []}


async def test_while_history_is_loaded_senders_are_told_to_come_again(gateway: Running) -> None:
    gateway.health.loading = True
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{gateway.url}/v1/events", content=encode([event(1)]), headers=JSON)

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert await gateway.events() == []


async def test_a_full_disk_is_told_as_come_again_and_nothing_of_the_batch_is_stored(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, page_count_max=60) as gateway:
        await post(gateway, encode([event(1)]), JSON)

        rows = [event(n, payload={"text": str(uuid.uuid4()) * 500}) for n in range(2, 100)]
        answer = await post(gateway, encode(rows), JSON, 503)

        assert answer == {"error": "the log cannot take events now: send the same events again"}
        assert "the log takes no events" in gateway.health.problems["gateway"]
        assert await stored(gateway) == [1]


async def test_many_senders_at_once_lose_nothing(gateway: Running) -> None:
    await asyncio.gather(*(post(gateway, lines(*(event(100 * s + n) for n in range(100))), NDJSON) for s in range(20)))

    assert await stored(gateway) == list(range(2_000))


async def test_a_body_that_takes_long_to_cut_and_events_that_take_long_to_check_lose_nothing(gateway: Running) -> None:
    bad = b'{"id":"' + b'\\"' * 200_000
    large = [event(n, payload={"rows": [{"k": 1}] * 30_000}, colour="red") for n in (2, 3)]
    body = b"[" + b",".join([encode(event(1)), *map(encode, large), b'{"a":NaN}', encode(event(4))]) + b"]"

    answers = await asyncio.gather(post(gateway, body, JSON), post(gateway, b"[" + bad, JSON, 400))

    assert [(answer["accepted"], answer["rejected"]) for answer in answers] == [(4, 1), (0, 1)]
    assert [(error["index"], error["reason"]) for error in answers[0]["errors"]] == [(3, "not JSON")]
    assert await stored(gateway) == [1, 2, 3, 4]


async def test_while_a_hostile_body_is_cut_other_requests_are_answered(gateway: Running) -> None:
    ended: list[str] = []

    async def hostile() -> Any:
        answer = await post(gateway, b"[[" + b"[]" * 900_000, JSON, 400)
        ended.append("hostile")
        return answer

    slow = asyncio.create_task(hostile())
    await post(gateway, encode([event(1)]), JSON)
    ended.append("other")

    await slow
    assert ended == ["other", "hostile"]
    assert "does not end" in (await slow)["error"]
