import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Mapping

import httpx2
import pytest

from flowgauge.schemas.signing import signed_headers
from flowgauge.schemas.signing_keys import new_private_key, new_secret, public_key_of
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.receiver import (
    BODY_BYTES_MAX,
    REMEMBERED_IDS_MAX,
    WORD_CHARS_MAX,
    Received,
    listen,
    receiver_app,
)
from flowgauge.transport import wall_clock

pytestmark = pytest.mark.integration

SECRET = new_secret(bytes(range(32)))
OTHER_SECRET = new_secret(bytes(24))
NOW_MS = 1_700_000_000_500
BODY = b'{"type":"incident.firing","timestamp":"2023-11-14T22:13:20Z","data":{}}'


def signed(message_id: str = "m1", body: bytes = BODY, *, age_s: int = 0, secret: str = SECRET) -> dict[str, str]:
    return signed_headers([secret], message_id=message_id, timestamp_s=NOW_MS // 1000 - age_s, body=body)


TYPE = "incident.firing"


def valid(message_id: str = "m1", *, body: bytes = BODY, word: str = TYPE, again: bool = False) -> Received:
    return Received(message_id=message_id, type=word, body=body, verified=True, duplicate=again, reason="")


class Client:
    """A receiver and what it told."""

    def __init__(self, *secrets: str, ids_max: int = REMEMBERED_IDS_MAX) -> None:
        self.told: list[Received] = []
        app = receiver_app(secrets, on_message=self.told.append, now_ms=lambda: NOW_MS, remembered_ids_max=ids_max)
        self._http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://receiver")

    async def post(self, headers: Mapping[str, str], body: bytes = BODY, path: str = "/hook") -> tuple[int, str]:
        answer = await self._http.post(path, content=body, headers=dict(headers))
        return answer.status_code, answer.text


@contextlib.asynccontextmanager
async def listening(*secrets: str, told: list[Received]) -> AsyncGenerator[str]:
    ready = asyncio.Event()
    where: list[str] = []

    def on_ready(host: str, port: int) -> None:
        where.append(f"{host}:{port}")
        ready.set()

    task = asyncio.ensure_future(listen("127.0.0.1", 0, secrets, told.append, on_ready=on_ready))
    await ready.wait()
    yield where[0]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("path", ["/", "/hook", "/a/b/c"])
async def test_a_signed_message_is_verified_and_told_on_every_path(path: str) -> None:
    client = Client(SECRET)

    assert await client.post(signed(), path=path) == (204, "")
    assert client.told == [valid()]


async def test_a_message_signed_with_another_secret_gets_401_with_one_line() -> None:
    client = Client(SECRET)

    answer = await client.post(signed(secret=OTHER_SECRET))

    assert answer == (401, "no signature matches\n")
    assert client.told == [
        Received(
            message_id="m1",
            type="",
            body=BODY,
            verified=False,
            duplicate=False,
            reason="no signature matches",
        )
    ]


@pytest.mark.parametrize(
    ("headers", "line"),
    [
        ({}, "webhook-id is missing\n"),
        (signed() | {"webhook-id": "a.b"}, "webhook-id is malformed\n"),
        (signed() | {"webhook-signature": "v1,a,b"}, "no signature matches\n"),
        (signed(age_s=301), "webhook-timestamp is too old\n"),
        (signed(age_s=-301), "webhook-timestamp is in the future\n"),
        (signed(body=b"{}"), "no signature matches\n"),
    ],
)
async def test_each_fault_is_one_clear_line(headers: dict[str, str], line: str) -> None:
    assert await Client(SECRET).post(headers) == (401, line)


async def test_either_of_two_secrets_is_taken() -> None:
    client = Client(OTHER_SECRET, SECRET)

    assert await client.post(signed()) == (204, "")


async def test_secrets_of_both_kinds_verify_side_by_side() -> None:
    private = new_private_key(bytes(range(32)))
    client = Client(SECRET, public_key_of(private))

    assert await client.post(signed(secret=private)) == (204, "")
    assert await client.post(signed()) == (204, "")
    assert await client.post(signed(secret=new_private_key(bytes(32)))) == (401, "no signature matches\n")


async def test_a_repeated_id_is_told_as_a_duplicate_and_still_accepted() -> None:
    client = Client(SECRET)

    answers = [await client.post(signed(message_id)) for message_id in ("m1", "m2", "m1")]

    assert answers == [(204, "")] * 3
    assert client.told == [valid("m1"), valid("m2"), valid("m1", again=True)]


async def test_a_forged_id_does_not_make_the_true_one_a_duplicate() -> None:
    client = Client(SECRET)

    await client.post(signed(secret=OTHER_SECRET))
    await client.post(signed())

    assert client.told[-1] == valid()


async def test_only_the_last_ids_are_remembered() -> None:
    client = Client(SECRET, ids_max=2)

    for message_id in ("m1", "m2", "m1", "m3", "m1", "m2"):
        await client.post(signed(message_id))

    assert [one.duplicate for one in client.told] == [False, False, True, False, True, False]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", ""),
        (b"not json", ""),
        (b"\xff\xfe", ""),
        (b"[1]", ""),
        (b'{"type": 7}', ""),
        (b'{"data": {}}', ""),
        (b'{"type": "\\u001b[2J\\nx"}', "?[2J?x"),
        (b'{"type": "%s"}' % (b"t" * 1_000), "t" * WORD_CHARS_MAX),
    ],
    ids=["empty", "text", "binary", "list", "number", "none", "escapes", "long"],
)
async def test_a_verified_body_may_be_anything_and_its_type_is_safe_to_print(body: bytes, word: str) -> None:
    client = Client(SECRET)

    assert await client.post(signed(body=body), body) == (204, "")
    assert client.told == [valid(body=body, word=word)]


async def test_a_body_over_1_mib_gets_413_and_is_not_told() -> None:
    client = Client(SECRET)
    most = b"x" * BODY_BYTES_MAX

    assert await client.post(signed(body=most), most) == (204, "")
    assert await client.post(signed(body=most + b"x"), most + b"x") == (413, "the body is over 1048576 bytes\n")
    assert len(client.told) == 1


async def test_only_post_is_answered() -> None:
    app = receiver_app([SECRET], on_message=lambda _: None, now_ms=lambda: NOW_MS)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://receiver") as client:
        assert (await client.get("/hook")).status_code == 405


async def test_without_a_secret_messages_are_told_as_not_verified() -> None:
    client = Client()

    assert await client.post({}) == (204, "")
    assert [(one.verified, one.reason) for one in client.told] == [(False, "no secret to verify with")]


async def test_what_egress_sends_listen_verifies() -> None:
    told: list[Received] = []
    async with listening(SECRET, told=told) as where:
        egress = Egress(EgressPolicy(allow=(where,)))
        headers = signed_headers([SECRET], message_id="m1", timestamp_s=wall_clock.now_ms() // 1000, body=BODY)

        answer = await egress.post(f"http://{where}/hook", BODY, headers, deadline_ms=10_000)

    assert (answer.status, told) == (204, [valid()])


async def test_a_cancelled_listener_gives_its_port_back() -> None:
    async with listening(SECRET, told=[]) as where:
        host, _, port = where.partition(":")

    with socket.create_server((host, int(port))):
        pass


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await listen("127.0.0.1", int(taken.getsockname()[1]), [SECRET], lambda _: None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hooks.example"])
async def test_listening_beyond_loopback_needs_a_secret(host: str) -> None:
    with pytest.raises(ValueError, match="without a secret: give one, or listen on loopback"):
        await listen(host, 0, [], lambda _: None)


async def test_a_bad_secret_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="webhook secret: "):
        receiver_app(["hunter2"], on_message=lambda _: None, now_ms=lambda: NOW_MS)
