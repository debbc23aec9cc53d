import asyncio
import errno
import socket

import aiosmtplib
import pytest
from tests.integration.egress_servers import DEADLINE_MS, resolving, serving, silent, unresolvable

from flowgauge.sinks.webhooks.addresses import EgressPolicy, Reason, Verdict
from flowgauge.sinks.webhooks.egress import (
    AddressRefused,
    Egress,
    EgressFailed,
    Failure,
    Resolver,
    refused_unasked,
)

pytestmark = pytest.mark.integration


class Mailbox:
    """A mail server that takes everything and keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")


class Door:
    """A server that says nothing and tells that somebody came."""

    def __init__(self) -> None:
        self.came = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        self.came.set()
        await reader.read()


async def refusal_of(egress: Egress, host: str, port: int) -> Reason:
    with pytest.raises(AddressRefused) as caught:
        await egress.open_socket(host, port, deadline_ms=DEADLINE_MS)
    return caught.value.reason


async def test_a_mail_goes_out_over_a_socket_to_a_checked_address() -> None:
    mailbox = Mailbox()
    async with serving(mailbox.serve) as port:
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)), resolve=resolving(["127.0.0.1"], ["10.0.0.1"]))

        connected = await egress.open_socket("mail.example", port, deadline_ms=DEADLINE_MS)
        async with aiosmtplib.SMTP(hostname=None, port=None, sock=connected, start_tls=False) as client:
            await client.sendmail("a@flow.example", ["b@flow.example"], "Subject: it fired\n\nlook")

    assert mailbox.messages == [b"Subject: it fired\r\n\r\nlook\r\n.\r\n"]


async def test_the_socket_is_connected_does_not_block_and_ends_at_the_checked_address() -> None:
    door = Door()
    async with serving(door.serve) as port:
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)), resolve=resolving(["127.0.0.1"], ["127.0.0.2"]))

        connected = await egress.open_socket("mail.example", port, deadline_ms=DEADLINE_MS)
        with connected:
            assert connected.getpeername() == ("127.0.0.1", port)
            assert not connected.getblocking()
            await door.came.wait()

        assert await refusal_of(egress, "mail.example", port) is Reason.LOOPBACK


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("10.0.0.1", 25, Reason.PRIVATE),
        ("169.254.169.254", 587, Reason.LINK_LOCAL),
        ("::ffff:127.0.0.1", 465, Reason.LOOPBACK),
        ("64:ff9b::7f00:1", 465, Reason.EMBEDDED),
        ("2606:4700::1%eth0", 465, Reason.ZONE),
        ("8.8.8.8", 443, Reason.MAIL_PORT),
        ("8.8.8.8", 22, Reason.MAIL_PORT),
        ("8.8.8.8", 0, Reason.BAD_PORT),
        ("127.1", 25, Reason.NUMERIC_HOST),
        ("2130706433", 25, Reason.NUMERIC_HOST),
        ("user@mail.example", 25, Reason.BAD_HOST),
        ("8.8.8.8/x", 25, Reason.BAD_HOST),
        ("[::1]", 25, Reason.BAD_HOST),
        ("mail.example\r\nX", 25, Reason.CONTROL),
        ("", 25, Reason.NO_HOST),
    ],
)
async def test_mail_has_the_deny_list_of_webhooks_and_ports_of_its_own(host: str, port: int, reason: Reason) -> None:
    assert await refusal_of(Egress(EgressPolicy(allow=("10.0.0.1:443",))), host, port) is reason


@pytest.mark.parametrize("port", [25, 465, 587])
async def test_a_public_mail_server_is_open_to_mail_and_closed_to_webhooks(port: int) -> None:
    egress = Egress(EgressPolicy(), resolve=resolving(["8.8.8.8"]))

    assert (await egress.check_host(f"smtp://mail.example:{port}")).allowed
    assert refused_unasked(f"smtp://mail.example:{port}", EgressPolicy()) is None
    assert refused_unasked(f"smtp://8.8.8.8:{port}", EgressPolicy()) is None
    assert (await egress.check_host(f"https://mail.example:{port}")).reason is Reason.PORT


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("smtp://localhost:25", Reason.LOOPBACK),
        ("smtp://10.0.0.1", Reason.PRIVATE),
        ("smtp://[::1]:465", Reason.LOOPBACK),
        ("smtp://8.8.8.8:443", Reason.MAIL_PORT),
        ("smtp://user@8.8.8.8:25", Reason.USERINFO),
    ],
)
def test_where_no_mail_may_go_is_known_without_asking_for_a_name(url: str, reason: Reason) -> None:
    assert refused_unasked(url, EgressPolicy()) == Verdict(allowed=False, reason=reason)


async def test_a_webhook_does_not_go_to_a_mail_server_by_its_scheme() -> None:
    with pytest.raises(AddressRefused) as caught:
        await Egress(EgressPolicy()).post("smtp://8.8.8.8/", b"", {}, deadline_ms=DEADLINE_MS)

    assert caught.value.reason is Reason.SCHEME


async def test_one_bad_address_among_many_refuses_the_mail_server() -> None:
    egress = Egress(EgressPolicy(), resolve=resolving(["8.8.8.8", "10.0.0.1"]))

    assert await refusal_of(egress, "mail.example", 25) is Reason.PRIVATE


async def test_a_port_of_our_own_takes_no_mail() -> None:
    async with serving(silent) as port:
        egress = Egress(EgressPolicy(allow=("127.0.0.1",)), own_ports=frozenset({port}))

        assert await refusal_of(egress, "127.0.0.1", port) is Reason.OWN


def own_address() -> str:
    """Give an address of this machine that is not loopback, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(asking.getsockname()[0])


async def test_a_port_of_our_own_is_known_by_a_connection_that_never_left_this_machine() -> None:
    door, host = Door(), own_address()
    async with serving(door.serve, host=host) as port:
        egress = Egress(EgressPolicy(allow=(host,)), own_ports=frozenset({port}))

        assert await refusal_of(egress, host, port) is Reason.OWN
        await door.came.wait()
        door.came.clear()
        with pytest.raises(AddressRefused) as caught:
            await egress.post(f"http://{host}:{port}/", b"secret", {}, deadline_ms=DEADLINE_MS)
        await door.came.wait()

    assert caught.value.reason is Reason.OWN


async def test_the_next_checked_address_of_a_mail_server_is_tried_when_the_first_is_dead() -> None:
    door = Door()
    async with serving(door.serve) as port:
        egress = Egress(EgressPolicy(allow=("mail.lan",)), resolve=resolving(["127.0.0.3", "127.0.0.1"]))

        with await egress.open_socket("mail.lan", port, deadline_ms=DEADLINE_MS) as connected:
            assert connected.getpeername()[0] == "127.0.0.1"
            await door.came.wait()


async def test_a_closed_mail_port_is_a_failure_to_retry() -> None:
    async with serving(silent) as port:
        pass

    with pytest.raises(EgressFailed) as caught:
        await Egress(EgressPolicy(allow=("127.0.0.1",))).open_socket("127.0.0.1", port, deadline_ms=DEADLINE_MS)

    assert (caught.value.reason, caught.value.retryable) == (Failure.CONNECT, True)


async def hanging(host: str, port: int) -> list[str]:
    await asyncio.Event().wait()
    return []


@pytest.mark.parametrize(("resolve", "reason"), [(unresolvable, Failure.DNS), (hanging, Failure.TIMEOUT)])
async def test_a_mail_server_without_an_address_is_a_failure_to_retry(resolve: Resolver, reason: Failure) -> None:
    with pytest.raises(EgressFailed) as caught:
        await Egress(EgressPolicy(), resolve=resolve).open_socket("mail.example", 25, deadline_ms=50)

    assert (caught.value.reason, caught.value.retryable) == (reason, True)


async def test_a_server_that_takes_no_connection_is_left_at_the_deadline_and_no_socket_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = int(full.getsockname()[1])
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            assert one.connect_ex(("127.0.0.1", port)) in {0, errno.EINPROGRESS}

        with pytest.raises(EgressFailed) as caught:
            await Egress(EgressPolicy(allow=("127.0.0.1",))).open_socket("127.0.0.1", port, deadline_ms=200)
        for one in waiting:
            one.close()

    assert caught.value.reason is Failure.TIMEOUT
