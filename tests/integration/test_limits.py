"""Limits on what comes in, at a real gateway: who is over a bound waits, others do not, and nothing is lost."""

import asyncio
import gzip
import hashlib
import hmac
import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import httpx2
import pytest
from tests.integration.gateway_server import Running, encode, running_gateway
from tests.integration.test_gateway import JSON, event, stored
from tests.integration.test_publish import publish

from flowgauge.producers import Publisher
from flowgauge.producers.gateway.batch_body import RAW_BYTES_MAX
from flowgauge.producers.gateway.limits import KEYS_MAX, Limits
from flowgauge.producers.hook_book import hook_book
from flowgauge.producers.tokens import Sender
from flowgauge.schemas.setting_parts import LimitSettings, TenantLimits
from flowgauge.schemas.yaml_places import read_yaml

pytestmark = pytest.mark.integration

NOON_MS = 43_200_000
TOKENS = {"one": "acme", "two": "acme", "three": "beta"}
NOTHING = LimitSettings(requests_per_second=0, bytes_per_second=0, events_per_second=0)
BOMB = gzip.compress(b" " * (RAW_BYTES_MAX - 1))
GITHUB = """
hooks:
  - name: github
    tenant: acme
    verify: {by: github, secret: {env: SECRET}}
    events: [{event: "'pushed'", resource: "'repository'"}]
"""
ONE_LINE = b'{"event":"etl.done","resource":{"id":"etl.1"}}\n'


Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
github = hook_book(read_yaml("hooks.yaml", GITHUB), lambda _reference: "secret", {"acme"}).of


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


def limits(clock: Callable[[], int], **bounds: int | str) -> Limits:
    return Limits(NOTHING.model_copy(update=bounds), {"beta": TenantLimits(events_per_day=0)}, clock)


async def send(gateway: Running, token: str, *numbers: int) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30) as client:
        headers = {**JSON, "Authorization": f"Bearer {token}"}
        body = encode([event(number) for number in numbers])
        return await client.post(f"{gateway.url}/v1/events", content=body, headers=headers)


async def test_events_over_the_rate_of_a_tenant_are_told_when_to_come_and_then_come_in(tmp_path: Path) -> None:
    clock = Clock()
    bounds = limits(clock, events_per_second=10, burst="1s")
    async with running_gateway(tmp_path, tokens=TOKENS, limits=bounds) as gateway:
        assert (await send(gateway, "one", *range(40))).status_code == 200  # a batch larger than the account passes
        refused = await send(gateway, "two", 40)
        assert (await send(gateway, "three", 41)).status_code == 200
        clock.now_ms += 3_000
        again = await send(gateway, "one", 40)
        clock.now_ms += 1
        after = await send(gateway, "one", 40)

        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "4")
        over = "more than 10 events a second of this tenant (events_per_second)"
        assert refused.json() == {"error": f"{over}: send the same events again in 4 s"}
        assert (again.status_code, after.status_code) == (429, 200)
        assert await stored(gateway) == list(range(42))
        health = gateway.health
        assert (health.limited, health.of("acme").limited, health.of("beta").limited) == (2, 2, 0)


async def test_requests_and_bytes_are_bounded_for_each_token_alone(tmp_path: Path) -> None:
    for bounds in (
        limits(Clock(), requests_per_second=1, burst="1s"),
        limits(Clock(), bytes_per_second=99, burst="1s"),
    ):
        async with running_gateway(tmp_path / str(id(bounds)), tokens=TOKENS, limits=bounds) as gateway:
            statuses = [(await send(gateway, token, 1)).status_code for token in ("one", "one", "two", "two", "three")]

            assert statuses == [200, 429, 200, 429, 200]


async def opened(gateway: Running, path: str, body: bytes, *, sent: int, headers: str = "") -> Connection:
    """Send a request of which only the first `sent` bytes of the body come."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n{headers}\r\n".encode() + body[:sent])
    await writer.drain()
    return reader, writer


async def test_requests_at_the_same_moment_are_bounded_as_those_one_after_the_other(tmp_path: Path) -> None:
    for bounds in (
        limits(Clock(), events_per_second=10, burst="1s"),
        limits(Clock(), bytes_per_second=1_000, burst="1s"),
    ):
        async with running_gateway(tmp_path / str(id(bounds)), limits=bounds) as gateway:
            bodies = [encode([event(100 * n + each) for each in range(100)]) for n in range(5)]
            connections = [await opened(gateway, "/v1/events", body, sent=10) for body in bodies]
            for (_, writer), body in zip(connections, bodies, strict=True):
                writer.write(body[10:])
            statuses = sorted([int((await reader.read())[9:12]) for reader, _ in connections])
            for _, writer in connections:
                writer.close()

            assert statuses == [200, 429, 429, 429, 429]
            assert len(await gateway.events()) == 100


async def held(gateway: Running, path: str, headers: str = "") -> Connection:
    """Send a gzip bomb but for its end."""
    return await opened(gateway, path, BOMB, sent=-8, headers=f"content-encoding: gzip\r\n{headers}")


@pytest.mark.timeout(60)
async def test_no_tenant_and_nobody_without_a_secret_keeps_others_out(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tokens=TOKENS, hook_of=github) as gateway:
        crowd = [await held(gateway, "/v1/events", "authorization: Bearer one\r\n") for _ in range(4)]
        crowd += [await held(gateway, "/v1/hooks/github", "x-hub-signature-256: sha256=00\r\n") for _ in range(4)]
        crowd += [await held(gateway, "/v1/hooks/github") for _ in range(4)]
        answers = [await asyncio.wait_for(reader.read(200), 30) for reader, _ in crowd[2:]]
        after = await send(gateway, "three", 1)
        for _, writer in crowd:
            writer.close()

    assert [int(answer[9:12]) for answer in answers] == [503] * 2 + [413] * 4 + [401] * 4
    assert after.status_code == 200


async def test_forged_webhooks_do_not_use_up_what_the_hook_may_bring_in(tmp_path: Path) -> None:
    bounds = limits(Clock(), requests_per_second=5, bytes_per_second=100, burst="1s")
    async with running_gateway(tmp_path, hook_of=github, limits=bounds) as gateway, httpx2.AsyncClient() as client:

        async def post(signature: str) -> int:
            headers = {**JSON, "X-Hub-Signature-256": f"sha256={signature}"}
            return (await client.post(f"{gateway.url}/v1/hooks/github", content=b"{}", headers=headers)).status_code

        forged = [await post("00") for _ in range(60)]
        sent = [await post(hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()) for _ in range(6)]

    assert forged == [401] * 60
    assert sent == [200] * 5 + [429]


async def test_a_quota_holds_until_midnight_and_a_tenant_may_have_its_own(tmp_path: Path) -> None:
    clock = Clock()
    bounds = limits(clock, events_per_day=2)
    async with running_gateway(tmp_path, tokens=TOKENS, limits=bounds) as gateway:
        first = [(await send(gateway, "one", number)).status_code for number in (1, 2)]
        refused = await send(gateway, "two", 3)
        free = [(await send(gateway, "three", number)).status_code for number in range(4, 8)]
        clock.now_ms += int(refused.headers["Retry-After"]) * 1_000
        tomorrow = await send(gateway, "one", 3)

    assert (first, free) == ([200, 200], [200] * 4)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "43200")
    assert "2 events a day (UTC) of this tenant" in refused.json()["error"]
    assert tomorrow.status_code == 200


async def test_events_that_the_log_did_not_take_are_not_charged(tmp_path: Path) -> None:
    bounds = limits(Clock(), events_per_day=100)
    async with running_gateway(tmp_path, page_count_max=60, limits=bounds) as gateway:
        large = encode([event(n, payload={"text": str(uuid.uuid4()) * 500}) for n in range(99)])
        async with httpx2.AsyncClient() as client:
            for _ in range(3):
                assert (await client.post(f"{gateway.url}/v1/events", content=large, headers=JSON)).status_code == 503


def by_looks(step_ms: int) -> Iterator[int]:
    """Yield a time for each look at the clock, which goes on by that alone, however slow the machine."""
    return itertools.count(NOON_MS, step_ms)


async def test_the_publisher_loses_nothing_of_what_was_too_much(tmp_path: Path) -> None:
    bounds = limits(by_looks(300).__next__, requests_per_second=1, burst="1s")
    async with running_gateway(tmp_path, limits=bounds) as gateway:

        def work() -> tuple[int, int, int]:
            publisher = Publisher(gateway.url, linger_ms=0)
            for number in range(6):
                publisher.emit({"event": "etl.done", "resource": {"id": f"etl.{number}"}})
                publisher.flush(30_000)
            publisher.close()
            return publisher.sent, publisher.refused, publisher.dropped

        assert await asyncio.to_thread(work) == (6, 0, 0)
        assert sorted(each.resource["id"] for each in await gateway.events()) == [f"etl.{n}" for n in range(6)]
        assert gateway.health.limited > 0


async def test_the_publish_command_waits_as_it_is_told_and_sends_every_line(tmp_path: Path) -> None:
    bounds = limits(by_looks(400).__next__, events_per_second=1_000, burst="1s")
    async with running_gateway(tmp_path / "log", limits=bounds) as gateway:
        code, printed, said = await publish("--url", gateway.url, "--wait", "3s", said=ONE_LINE * 3_500)

        assert (code, printed) == (0, "3,500 events: 3,500 sent, 0 refused\n")
        assert "answers 429" in said[0]
        assert len(await gateway.events()) == 3_500


async def test_the_publish_command_ends_at_a_quota_that_outlasts_its_patience(tmp_path: Path) -> None:
    bounds = limits(Clock(), events_per_day=1)
    async with running_gateway(tmp_path / "log", limits=bounds) as gateway:
        code, _, said = await publish("--url", gateway.url, said=ONE_LINE * 2_001)

    assert code == 3
    assert "events_per_day" in said[-1]
    assert said[-1].endswith("(--wait is 1m). Not sent: standard input:2001 and on")


def test_accounts_are_bounded_however_many_ask() -> None:
    bounds = limits(Clock(), events_per_second=1, requests_per_second=1)

    for number in range(2 * KEYS_MAX):
        bounds.admit(Sender(f"tenant-{number}", b""))

    assert len(bounds._accounts) == KEYS_MAX  # pyright: ignore[reportPrivateUsage]  # what must not grow
