"""Prefect's WebSocket on a real gateway and log: what is let in, what a pong says, and how connections end."""

import asyncio
import base64
import contextlib
import random
import sqlite3
import uuid
from collections.abc import AsyncGenerator, Generator, Mapping
from pathlib import Path
from typing import cast

import httpx2
import pytest
from prometheus_client import REGISTRY
from tests.integration.gateway_server import Running, encode, running_gateway
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from flowgauge.producers.gateway.limits import Limits
from flowgauge.producers.gateway.prefect_sockets import UNREAD_BYTES_MAX, SocketBounds
from flowgauge.producers.gateway.socket_port import FRAGMENT_BYTES, MESSAGE_BYTES_MAX
from flowgauge.schemas.setting_parts import LimitSettings
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.transport.local import open_local_log
from flowgauge.transport.local_file import FILE_NAME
from flowgauge.transport.wall_clock import now_ms

pytestmark = pytest.mark.integration

TOKEN = "data-teams-token"
TOKENS = {TOKEN: "data-team"}
PATIENT = 30.0  # what takes milliseconds on an idle machine


def event(number: int, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "id": str(uuid.UUID(int=number)),
        "occurred": rfc3339(now_ms()),
        "event": "etl.done",
        "resource": {"prefect.resource.id": f"etl.{number}"},
    }
    return encode({**fields, **changes})


def connecting(
    gateway: Running,
    *,
    legacy: bool = False,
    headers: Mapping[str, str] | None = None,
    path: str = "/api/events/in",
) -> connect:
    """Return how to connect, as Prefect's clients do."""
    return connect(
        gateway.url.replace("http", "ws") + path,
        subprotocols=None if legacy else [Subprotocol("prefect")],
        additional_headers=headers,
        proxy=None,
    )


@contextlib.asynccontextmanager
async def prefect(gateway: Running, token: str | None = None) -> AsyncGenerator[ClientConnection]:
    """Connect and say the token."""
    async with connecting(gateway) as socket:
        await socket.send(encode({"type": "auth", "token": token}).decode())
        assert await socket.recv() == '{"type":"auth_success"}'
        yield socket


async def send(socket: ClientConnection, *messages: bytes) -> None:
    for message in messages:
        await socket.send(message, text=True)


async def confirm(socket: ClientConnection) -> None:
    """Wait for the receipt of what was sent so far."""
    async with asyncio.timeout(PATIENT):
        await (await socket.ping())


async def closing(socket: ClientConnection) -> tuple[int, str]:
    """Return with which code and sentence the gateway closes."""
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(PATIENT):
            await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def stored(gateway: Running) -> list[int]:
    return sorted(event.id.int for event in await gateway.events())


def ended(why: str) -> float:
    """Return how many connections have ended for that reason."""
    return REGISTRY.get_sample_value("flowgauge_producers_sockets_ended_total", {"why": why}) or 0


async def ping(socket: ClientConnection) -> "asyncio.Future[float]":
    """Ping; return what is done once the pong is there."""
    return cast("asyncio.Future[float]", await socket.ping())


@contextlib.contextmanager
def stuck(folder: Path) -> Generator[None]:
    """Let another process' lock keep the log's file, so that appends wait."""
    with contextlib.closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def has_read(gateway: Running) -> None:
    """Return when the gateway has looked at every socket that had bytes before the call."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        for _ in range(3):
            assert (await client.get(f"{gateway.url}/nothing")).status_code == 404


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running]:
    async with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncGenerator[Running]:
    """Run a gateway with one tenant and a token."""
    async with running_gateway(tmp_path, tokens=TOKENS) as running:
        yield running


async def test_a_pong_says_that_all_before_the_ping_is_in_the_log(gateway: Running) -> None:
    async with prefect(gateway) as socket:
        for start in range(0, 900, 300):
            await send(socket, *(event(number) for number in range(start, start + 300)))
            await confirm(socket)
            assert await stored(gateway) == list(range(start + 300))


async def test_an_event_becomes_one_of_ours(gateway: Running) -> None:
    labels = {"prefect.resource.id": "prefect.flow-run.r1", "prefect.state-type": "FAILED"}
    flow = {"prefect.resource.id": "prefect.flow.f", "prefect.resource.role": "flow", "prefect.resource.name": "etl"}
    async with prefect(gateway) as socket:
        await send(socket, event(1, event="prefect.flow-run.Failed", resource=labels, related=[flow]))
        await confirm(socket)

    (found,) = await gateway.events()
    assert (found.kind, found.run, found.flow, found.state) == ("flow-run", "r1", "etl", "failed")


async def test_while_the_log_is_stuck_no_ping_is_answered(tmp_path: Path, gateway: Running) -> None:
    async with prefect(gateway) as socket:
        with stuck(tmp_path):
            await send(socket, event(1))
            pong = await ping(socket)
            await has_read(gateway)
            assert not pong.done()
        await asyncio.wait_for(pong, PATIENT)

        assert await stored(gateway) == [1]


async def test_a_log_that_is_stuck_for_too_long_ends_the_connection_without_a_pong(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, sockets=SocketBounds(hold_s=0.2)) as gateway:
        async with prefect(gateway) as socket:
            with stuck(tmp_path):
                await send(socket, event(1))
                pong = await ping(socket)
                assert (await closing(socket))[0] == 1013
                assert pong.exception() is not None
        async with prefect(gateway) as again:
            await send(again, event(1), event(2))
            await confirm(again)

        assert set(await stored(gateway)) == {1, 2}


async def test_a_full_log_ends_the_connection_without_a_pong(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, page_count_max=60, sockets=SocketBounds(hold_s=0.6)) as gateway,
        prefect(gateway) as socket,
    ):
        await send(socket, *(event(n, payload={"x": random.Random(n).randbytes(9_000).hex()}) for n in range(40)))
        pong = await ping(socket)
        assert await closing(socket) == (1013, "the log cannot take events now: send the same events again")

    assert pong.exception() is not None


ODD: list[tuple[bytes, str]] = [
    (b"", "not JSON"),
    (b"not json", "not JSON"),
    (b"7", "wrong field"),
    (b"[]", "wrong field"),
    (b"{}", "wrong field"),
    (event(9)[:-1], "not JSON"),
    (event(9).replace(b"etl.done", b"\\ud800"), "not JSON"),
    (event(9).replace(b"etl.done", b"\xff\xfe"), "not UTF-8"),
    (event(9, id="seven"), "wrong field"),
    (event(9, occurred="2001-01-01T00:00:00Z"), "clock far off"),
    (event(9, payload={"x": "y" * 1_200_000}), "too large"),
    (event(9)[:-1] + b',"payload":' + b"[" * 3_000 + b"]" * 3_000 + b"}", "too deep"),
]


@pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
async def test_a_bad_event_goes_to_the_dlq_and_the_connection_stays(gateway: Running, text: bool) -> None:
    async with prefect(gateway) as socket:
        for number, (odd, _) in enumerate(ODD):
            await socket.send(event(number), text=text)
            await socket.send(odd, text=text)
        await confirm(socket)

    assert await stored(gateway) == list(range(len(ODD)))
    assert [letter.reason for letter in await gateway.letters()] == [reason for _, reason in ODD]


async def test_noise_costs_no_neighbour_and_no_connection(gateway: Running) -> None:
    chance = random.Random(20261201)
    good = [event(number) for number in range(60)]
    async with prefect(gateway) as socket:
        for one in good:
            cut = bytearray(one)
            cut[chance.randrange(len(cut))] = chance.randrange(256)
            await socket.send(chance.choice([bytes(cut), chance.randbytes(50)]), text=chance.random() < 0.5)
            await send(socket, one)
        await confirm(socket)

    assert set(await stored(gateway)) >= set(range(60))
    assert len(await gateway.events()) + len(await gateway.letters()) == 120


async def test_a_message_in_fragments_is_one_event(gateway: Running) -> None:
    whole = event(1).decode()
    async with prefect(gateway) as socket:
        await socket.send([whole[:20], whole[20:30], whole[30:]])
        await send(socket, event(2))
        await confirm(socket)

    assert await stored(gateway) == [1, 2]


async def test_a_message_in_fragments_without_end_is_bounded_though_they_are_empty(gateway: Running) -> None:
    count = 1 + UNREAD_BYTES_MAX // FRAGMENT_BYTES
    fragments = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True) * count
    async with prefect(gateway) as socket:
        await send(socket, event(1))
        await confirm(socket)
        socket.transport.write(Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True) + fragments)
        assert await closing(socket) == (1009, "a message in too many fragments")

    assert await stored(gateway) == [1]


async def test_a_message_over_the_bound_ends_the_connection_and_what_came_before_is_kept(gateway: Running) -> None:
    async with prefect(gateway) as socket:
        await send(socket, event(1))
        await send(socket, b"x" * (MESSAGE_BYTES_MAX + 1))
        assert (await closing(socket))[0] == 1009

    assert await stored(gateway) == [1]


async def test_a_client_that_closes_hears_of_it_once_its_events_are_kept(gateway: Running) -> None:
    async with prefect(gateway) as socket:
        await send(socket, *(event(number) for number in range(500)))
        await socket.close()

        assert await stored(gateway) == list(range(500))


async def test_a_ping_before_the_token_is_answered(gateway: Running) -> None:
    async with connecting(gateway) as socket:
        await confirm(socket)


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize("token", [TOKEN, f"anyone:{TOKEN}"])
async def test_the_token_says_whose_the_events_are(guarded: Running, token: str) -> None:
    async with prefect(guarded, token) as socket:
        await send(socket, event(1, tenant="another"))
        await confirm(socket)

    assert [event.tenant for event in await guarded.events()] == ["data-team"]


async def test_a_token_that_is_taken_away_brings_in_no_more_over_an_open_connection(guarded: Running) -> None:
    async with prefect(guarded, TOKEN) as socket:
        await send(socket, event(1))
        await confirm(socket)
        guarded.tokens.replace({"another": "data-team"})
        await send(socket, event(2))
        assert await closing(socket) == (1008, "this token is good no more")

    assert await stored(guarded) == [1]


@pytest.mark.parametrize(
    "headers",
    [
        basic(TOKEN),
        basic(f"anyone:{TOKEN}"),
        {"Authorization": f"bearer {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}"},
    ],
    ids=["auth string", "name and token", "Cloud", "custom header"],
)
@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "no token in the message"])
async def test_the_token_may_stand_in_the_header(guarded: Running, headers: dict[str, str], legacy: bool) -> None:
    async with connecting(guarded, legacy=legacy, headers=headers) as socket:
        if not legacy:
            await send(socket, b'{"type":"auth","token":null}')
        await send(socket, event(1))
        await confirm(socket)

    assert [event.tenant for event in await guarded.events()] == ["data-team"]


@pytest.mark.parametrize(
    "first",
    [
        b'{"type":"auth","token":"wrong"}',
        b'{"type":"auth","token":null}',
        b'{"type":"auth","token":"\\ud800"}',
        b'{"type":"auth","token":7}',
        b"\xff",
        b"x" * 20_000,
        event(1),
    ],
    ids=["wrong", "none", "half a surrogate", "number", "not UTF-8", "long", "an event"],
)
async def test_without_a_known_token_the_connection_ends(guarded: Running, first: bytes) -> None:
    before = ended("token")
    async with connecting(guarded) as socket:
        await send(socket, first, event(1))
        assert (await closing(socket))[0] == 1008

    assert (await guarded.events(), await guarded.letters(), ended("token") - before) == ([], [], 1)


@pytest.mark.parametrize("headers", [None, basic("anyone:wrong"), {"Authorization": "bearer wrong"}])
async def test_a_legacy_client_without_a_known_token_is_not_let_in(
    guarded: Running, headers: dict[str, str] | None
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connecting(guarded, legacy=True, headers=headers):
            pass

    assert refused.value.response.status_code == 403
    assert b"no tenant of this gateway has this token" in refused.value.response.body


async def test_a_page_of_another_origin_may_open_none(gateway: Running) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connecting(gateway, headers={"Origin": "http://evil.example"}):
            pass

    assert (refused.value.response.status_code, b"another origin" in refused.value.response.body) == (403, True)


async def test_on_loopback_a_foreign_name_opens_none(gateway: Running) -> None:
    port = int(gateway.url.rpartition(":")[2])

    with pytest.raises(InvalidStatus) as refused:
        async with connect("ws://evil.example/api/events/in", host="127.0.0.1", port=port, proxy=None):
            pass

    assert (refused.value.response.status_code, b"on loopback" in refused.value.response.body) == (403, True)


async def test_no_other_path_has_a_websocket(gateway: Running) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connecting(gateway, path="/api/events/out"):
            pass

    assert refused.value.response.status_code == 403


async def test_who_says_no_token_in_time_is_closed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, sockets=SocketBounds(auth_s=0.05)) as gateway, connecting(gateway) as socket:
        assert (await closing(socket))[0] == 1008


async def test_who_says_nothing_for_long_is_closed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, sockets=SocketBounds(idle_s=0.05)) as gateway, prefect(gateway) as socket:
        assert (await closing(socket))[0] == 1001


@pytest.mark.parametrize("frame", [b"\x81\xfe\x01", b"\x01\x81maskx"], ids=["half a frame", "half a message"])
async def test_who_does_not_end_a_message_is_closed(tmp_path: Path, frame: bytes) -> None:
    async with running_gateway(tmp_path, sockets=SocketBounds(message_s=0.2)) as gateway, prefect(gateway) as socket:
        await send(socket, event(1))
        await confirm(socket)
        socket.transport.write(frame)
        assert await closing(socket) == (1008, "a message took more than 0.2 s")

        assert await stored(gateway) == [1]


@pytest.mark.parametrize(
    "bounds", [SocketBounds(tenant_sockets=1), SocketBounds(sockets=1)], ids=["of a tenant", "of all"]
)
async def test_connections_over_the_bound_are_told_to_come_again(tmp_path: Path, bounds: SocketBounds) -> None:
    before = ended("full")
    async with running_gateway(tmp_path, sockets=bounds) as gateway:
        async with prefect(gateway) as first:
            async with connecting(gateway) as second:
                await send(second, b'{"type":"auth","token":null}')
                assert (await closing(second))[0] == 1013
            await send(first, event(1))
            await confirm(first)
        async with prefect(gateway) as third:
            await confirm(third)

        assert await stored(gateway) == [1]
    assert ended("full") - before == 1


async def test_who_has_no_token_takes_no_room_of_those_who_have(tmp_path: Path) -> None:
    bounds = SocketBounds(sockets=1, strangers=3)
    async with running_gateway(tmp_path, tokens=TOKENS, sockets=bounds) as gateway, contextlib.AsyncExitStack() as all_:
        strangers = [await all_.enter_async_context(connecting(gateway)) for _ in range(3)]
        async with prefect(gateway, TOKEN) as socket:
            await send(socket, event(1))
            await confirm(socket)
            assert (await closing(strangers[0]))[0] == 1013  # the one that has taken longest
            await confirm(strangers[1])

        assert await stored(gateway) == [1]


async def test_a_gateway_that_ends_says_so_once_what_it_read_is_kept(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with running_gateway(tmp_path) as gateway:
            socket = await clients.enter_async_context(prefect(gateway))
            await send(socket, *(event(number) for number in range(300)))
            await has_read(gateway)
        code, _ = await closing(socket)

    assert code == 1012
    assert await events_in(tmp_path) == 300


async def events_in(folder: Path) -> int:
    """Return how many events are in a log that no process has."""
    log = await open_local_log(folder, partitions={EVENTS: 1, DLQ: 1})
    try:
        return sum(record.kind is RecordKind.EVENT for record in await log.read(EVENTS, 0, 0, 10_000))
    finally:
        await log.close()


@pytest.mark.parametrize(
    "frames",
    [[Frame(Opcode.PING, b"x" * 100)] * 12, [Frame(Opcode.TEXT, b"x" * 2_000, fin=False)]],
    ids=["pings", "half a message"],
)
async def test_bytes_that_are_no_message_are_charged_too(tmp_path: Path, frames: list[Frame]) -> None:
    limits = Limits(LimitSettings(bytes_per_second=1_000, burst="1s"), {}, lambda: 0)
    bounds = SocketBounds(room_s=0.05)
    async with running_gateway(tmp_path, limits=limits, sockets=bounds) as gateway, prefect(gateway) as socket:
        socket.transport.write(b"".join(frame.serialize(mask=True) for frame in frames))
        code, said = await closing(socket)

    assert (code, "bytes_per_second" in said) == (1013, True)


async def test_over_a_limit_a_sender_is_read_no_further_and_then_told_to_come_again(tmp_path: Path) -> None:
    clock = iter([0] * 1_000)  # stands still: what is over a limit stays so
    limits = Limits(LimitSettings(events_per_second=1, burst="1s"), {}, clock.__next__)
    async with running_gateway(tmp_path, limits=limits, sockets=SocketBounds(room_s=0.05)) as gateway:
        async with prefect(gateway) as socket:
            await send(socket, event(1), event(2))
            code, said = await closing(socket)

        assert code == 1013
        assert said == "more than 1 events a second of this tenant (events_per_second): connect again"
        assert await stored(gateway) == [1, 2]
        assert gateway.health.limited == 1
