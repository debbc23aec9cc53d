import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Sequence

import pytest
import trustme
from tests.integration.egress_servers import (
    DEADLINE_MS,
    OK,
    Receiver,
    Reply,
    dripping,
    endless,
    resolving,
    saying,
    serving,
    shown_by,
    silent,
    trusting,
    unresolvable,
)

from flowgauge.sinks.webhooks.addresses import EgressPolicy, Reason, Verdict
from flowgauge.sinks.webhooks.egress import (
    ANSWER_BYTES_MAX,
    METHODS,
    AddressRefused,
    Answer,
    Egress,
    EgressFailed,
    Failure,
    Resolver,
    refused_unasked,
)

pytestmark = pytest.mark.integration


async def post(port: int, *, path: str = "/", deadline_ms: int = DEADLINE_MS) -> Answer:
    egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)))
    return await egress.post(f"http://127.0.0.1:{port}{path}", b"{}", {}, deadline_ms=deadline_ms)


async def failure_of(reply: Reply, *, deadline_ms: int = DEADLINE_MS) -> EgressFailed:
    async with Receiver(reply).running() as port:
        with pytest.raises(EgressFailed) as caught:
            await post(port, path="/hook/s3cret?token=s3cret", deadline_ms=deadline_ms)
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    return caught.value


async def test_a_message_arrives_whole_with_its_headers_and_the_answer_comes_back() -> None:
    receiver = Receiver(saying(b"HTTP/1.1 202 Accepted\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nfine"))
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)))

        answer = await egress.post(
            f"http://127.0.0.1:{port}/a%20b?c=d#e",
            b"\xffbody",
            {"Webhook-Id": "m1", "Host": "evil.example", "Content-Length": "1", "Transfer-Encoding": "chunked"},
            deadline_ms=DEADLINE_MS,
        )
        await egress.aclose()

    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /a%20b?c=d HTTP/1.1"
    assert sorted(head.split(b"\r\n")[1:]) == sorted(
        [
            b"user-agent: flowgauge",
            b"webhook-id: m1",
            b"host: 127.0.0.1:%d" % port,
            b"content-length: 5",
            b"connection: close",
            b"accept-encoding: identity",
        ]
    )
    assert body == b"\xffbody"
    assert (answer.status, answer.headers["retry-after"], answer.body) == (202, "7", b"fine")
    assert 0 <= answer.elapsed_ms <= DEADLINE_MS


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_a_request_goes_out_by_its_method_and_an_empty_get_says_no_length(method: str) -> None:
    receiver = Receiver(saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfine"))
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)))

        answer = await egress.request(method, f"http://127.0.0.1:{port}/x", b"", {}, deadline_ms=DEADLINE_MS)

    assert receiver.requests[0].startswith(f"{method} /x HTTP/1.1\r\n".encode())
    assert (b"content-length" in receiver.requests[0]) == (method not in {"GET", "HEAD"})
    assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else b"fine")


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "post", "", "GET /x HTTP/1.1\r\nX:", "\u00fc"])
async def test_a_method_that_is_none_of_ours_is_never_sent_and_never_retried(method: str) -> None:
    receiver = Receiver(saying(OK))
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)))

        with pytest.raises(EgressFailed) as caught:
            await egress.request(method, f"http://127.0.0.1:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert (caught.value.reason, caught.value.retryable) == (Failure.REQUEST, False)
    assert receiver.requests == []


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent"])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: bytes) -> None:
    receiver = Receiver(saying(b""))
    async with receiver.running() as port:
        away = b"HTTP/1.1 %s\r\nLocation: http://127.0.0.1:%d/next\r\nContent-Length: 0\r\n\r\n" % (status, port)
        receiver.reply = saying(away)

        answer = await post(port)

    assert answer.status == int(status[:3])
    assert len(receiver.requests) == 1


async def test_a_redirect_to_the_metadata_service_stays_a_redirect() -> None:
    there = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
    async with Receiver(saying(there)).running() as port:
        answer = await post(port)

    assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/latest")


async def test_an_endless_body_is_cut_at_16_kb() -> None:
    async with Receiver(endless).running() as port:
        answer = await post(port)

    assert answer.body == b"x" * ANSWER_BYTES_MAX


async def test_a_compressed_body_is_kept_as_it_came() -> None:
    squeezed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    async with Receiver(saying(squeezed)).running() as port:
        answer = await post(port)

    assert answer.body == b"\x1f\x8b\x08"


@pytest.mark.parametrize("reply", [silent, dripping])
async def test_a_receiver_that_is_slow_to_end_is_left_at_the_deadline(reply: Reply) -> None:
    failed = await failure_of(reply, deadline_ms=300)

    assert (failed.reason, failed.retryable) == (Failure.TIMEOUT, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
async def test_an_answer_that_is_not_whole_http_is_a_failure_to_retry(data: bytes) -> None:
    failed = await failure_of(saying(data))

    assert failed.reason in {Failure.PROTOCOL, Failure.CUT_SHORT}
    assert failed.retryable


async def test_a_closed_port_is_a_failure_to_retry() -> None:
    async with Receiver(saying(OK)).running() as port:
        pass

    with pytest.raises(EgressFailed) as caught:
        await post(port)

    assert (caught.value.reason, caught.value.retryable) == (Failure.CONNECT, True)


@pytest.mark.parametrize("headers", [{"x": "a\r\nb: c"}, {"x y": "z"}, {"x": "\u2028"}, {"\u00fc": "z"}])
async def test_a_header_that_is_no_http_is_never_sent_and_never_retried(headers: dict[str, str]) -> None:
    receiver = Receiver(saying(OK))
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=("127.0.0.1",)))

        with pytest.raises(EgressFailed) as caught:
            await egress.post(f"http://127.0.0.1:{port}/", b"", headers, deadline_ms=DEADLINE_MS)

    assert (caught.value.reason, caught.value.retryable) == (Failure.REQUEST, False)
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:{port}/", Reason.LOOPBACK),
        ("https://127.0.0.1:{port}/", Reason.LOOPBACK),
        ("http://localhost:{port}/", Reason.LOOPBACK),
        ("http://LOCALHOST.:{port}/", Reason.LOOPBACK),
        ("http://[::ffff:127.0.0.1]:{port}/", Reason.LOOPBACK),
        ("http://[::ffff:7f00:1]:{port}/", Reason.LOOPBACK),
        ("http://[::127.0.0.1]:{port}/", Reason.EMBEDDED),
        ("http://[64:ff9b::127.0.0.1]:{port}/", Reason.EMBEDDED),
        ("http://0.0.0.0:{port}/", Reason.THIS_NETWORK),
        ("http://127.1:{port}/", Reason.NUMERIC_HOST),
        ("http://0x7f.1:{port}/", Reason.NUMERIC_HOST),
        ("http://2130706433:{port}/", Reason.NUMERIC_HOST),
        ("http://0177.0.0.1:{port}/", Reason.BAD_URL),
        ("http://127\u30020\u30020\u30021:{port}/", Reason.LOOPBACK),
        ("http://\uff11\uff12\uff17.0.0.1:{port}/", Reason.BAD_URL),
        ("http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}/", Reason.BAD_URL),
        ("http://%31%32%37.0.0.1:{port}/", Reason.NUMERIC_HOST),
        ("http://user:pass@127.0.0.1:{port}/", Reason.USERINFO),
        ("https://hooks.example\\@127.0.0.1:{port}/", Reason.USERINFO),
        ("http://127.0.0.1:{port}/\r\nX: y", Reason.CONTROL),
        ("//127.0.0.1:{port}/", Reason.SCHEME),
        ("gopher://127.0.0.1:{port}/", Reason.SCHEME),
        ("http:///path", Reason.NO_HOST),
        ("http://127.0.0.1:99999/", Reason.BAD_PORT),
        ("http://127.0.0.1:http/", Reason.BAD_URL),
        ("http://[::1/", Reason.BAD_URL),
    ],
)
async def test_without_an_exception_no_spelling_of_loopback_is_reached(url: str, reason: Reason) -> None:
    receiver = Receiver(saying(OK))
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=(f"10.0.0.1:{port}",)))

        with pytest.raises(AddressRefused) as caught:
            await egress.post(url.format(port=port), b"", {}, deadline_ms=DEADLINE_MS)

    assert caught.value.reason is reason
    assert receiver.requests == []


async def test_the_mapped_form_of_an_allowed_address_stays_closed() -> None:
    receiver = Receiver(saying(OK))
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)))

        with pytest.raises(AddressRefused) as caught:
            await egress.post(f"http://[::ffff:127.0.0.1]:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert caught.value.reason is Reason.LOOPBACK
    assert receiver.requests == []


async def test_one_bad_address_among_many_refuses_the_name() -> None:
    egress = Egress(EgressPolicy(), resolve=resolving(["8.8.8.8", "2606:4700::1", "10.0.0.1"]))

    with pytest.raises(AddressRefused) as caught:
        await egress.post("https://hooks.example/", b"", {}, deadline_ms=DEADLINE_MS)

    assert caught.value.reason is Reason.PRIVATE


async def test_a_name_that_changes_its_answer_reaches_only_the_address_that_was_checked() -> None:
    good, bad = Receiver(saying(OK)), Receiver(saying(OK))
    async with good.running() as port, bad.running(host="127.0.0.2", port=port):
        policy = EgressPolicy(allow=(f"127.0.0.1:{port}",))
        egress = Egress(policy, resolve=resolving(["127.0.0.1"], ["127.0.0.2"]))

        answer = await egress.post(f"http://hooks.example:{port}/", b"", {}, deadline_ms=DEADLINE_MS)
        with pytest.raises(AddressRefused) as caught:
            await egress.post(f"http://hooks.example:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert (answer.status, caught.value.reason) == (200, Reason.LOOPBACK)
    assert (len(good.requests), len(bad.requests)) == (1, 0)
    assert b"host: hooks.example:%d\r\n" % port in good.requests[0]


async def test_the_next_checked_address_is_tried_when_the_first_is_dead() -> None:
    async with Receiver(saying(OK)).running() as port:
        egress = Egress(EgressPolicy(allow=("hooks.lan",)), resolve=resolving(["127.0.0.3", "127.0.0.1", "127.0.0.1"]))

        answer = await egress.post(f"http://hooks.lan:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert answer.status == 200


@pytest.mark.parametrize("resolve", [unresolvable, resolving([]), resolving(["?"])], ids=["error", "none", "nonsense"])
async def test_a_name_without_an_address_is_a_failure_to_retry(resolve: Resolver) -> None:
    egress = Egress(EgressPolicy(), resolve=resolve)

    with pytest.raises(EgressFailed) as caught:
        await egress.post("https://hooks.example/", b"", {}, deadline_ms=DEADLINE_MS)

    assert (caught.value.reason, caught.value.retryable) == (Failure.DNS, True)


async def test_a_resolver_that_hangs_is_left_at_the_deadline() -> None:
    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(EgressFailed) as caught:
        await Egress(EgressPolicy(), resolve=hanging).post("https://hooks.example/", b"", {}, deadline_ms=50)

    assert caught.value.reason is Failure.TIMEOUT


async def test_a_port_of_our_own_is_refused_although_allowed() -> None:
    receiver = Receiver(saying(OK))
    async with receiver.running() as port:
        egress = Egress(EgressPolicy(allow=("127.0.0.1", "hooks.lan")), own_ports=frozenset({port}))

        with pytest.raises(AddressRefused) as caught:
            await egress.post(f"http://127.0.0.1:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert caught.value.reason is Reason.OWN
    assert receiver.requests == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, receiver = Receiver(saying(OK)), Receiver(saying(OK))
    async with proxy.running() as proxy_port, receiver.running() as port:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")

        await post(port)

    assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


async def test_each_request_has_a_connection_of_its_own() -> None:
    connections = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await saying(OK)(reader, writer)

    async with Receiver(counting).running() as port:
        egress = Egress(EgressPolicy(allow=("127.0.0.1",)))
        for _ in range(3):
            await egress.post(f"http://127.0.0.1:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert connections == 3


async def test_tls_is_checked_against_the_name_on_the_checked_address() -> None:
    authority = trustme.CA()
    server = shown_by(authority.issue_cert("hooks.example"))
    names: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    async with Receiver(saying(OK)).running(tls=server) as port:
        policy = EgressPolicy(allow=(f"127.0.0.1:{port}",))
        egress = Egress(policy, resolve=resolving(["127.0.0.1"]), tls=trusting(authority))

        answer = await egress.post(f"https://hooks.example:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert (answer.status, names) == (200, ["hooks.example"])


OURS, THEIRS = trustme.CA(), trustme.CA()
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
BROKEN_TLS = {
    "of another name": shown_by(OURS.issue_cert("other.example")),
    "of a wildcard that is not the name's": shown_by(OURS.issue_cert("*.hooks.example")),
    "of the address alone": shown_by(OURS.issue_cert("127.0.0.1")),
    "of nobody we trust": shown_by(THEIRS.issue_cert("hooks.example")),
    "of an authority between that nobody trusts": shown_by(THEIRS.create_child_ca().issue_cert("hooks.example")),
    "expired": shown_by(OURS.issue_cert("hooks.example", not_after=LONG_AGO)),
}


@pytest.mark.parametrize("tls", BROKEN_TLS.values(), ids=BROKEN_TLS)
async def test_a_receiver_whose_certificate_does_not_hold_is_sent_nothing(tls: ssl.SSLContext) -> None:
    receiver = Receiver(saying(OK))
    async with receiver.running(tls=tls) as port:
        policy = EgressPolicy(allow=(f"127.0.0.1:{port}",))
        egress = Egress(policy, resolve=resolving(["127.0.0.1"]), tls=trusting(OURS))

        with pytest.raises(EgressFailed) as caught:
            await egress.post(f"https://hooks.example:{port}/", b"", {}, deadline_ms=DEADLINE_MS)

    assert (caught.value.reason, caught.value.retryable) == (Failure.TLS, True)
    assert receiver.requests == []


async def test_a_receiver_that_answers_in_plain_text_has_no_trusted_connection() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await saying(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")(reader, writer)

    async with serving(plain) as port:
        with pytest.raises(EgressFailed) as caught:
            await Egress(EgressPolicy(allow=("127.0.0.1",))).post(
                f"https://127.0.0.1:{port}/", b"", {}, deadline_ms=DEADLINE_MS
            )

    assert caught.value.reason is Failure.TLS


async def test_a_server_that_never_ends_its_handshake_is_left_at_the_deadline() -> None:
    greeting = bytearray()

    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        greeting.extend(await reader.read())

    async with serving(hold) as port:
        egress = Egress(EgressPolicy(allow=("127.0.0.1",)))

        with pytest.raises(EgressFailed) as caught:
            await egress.post(f"https://127.0.0.1:{port}/", b"", {}, deadline_ms=300)

    assert caught.value.reason is Failure.TIMEOUT
    assert greeting[:1] == b"\x16"  # The client's hello came.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8.8.8.8", Reason.PUBLIC),
        ("8.8.8.8:443", Reason.PUBLIC),
        ("8.8.8.8:22", Reason.PORT),
        ("2606:4700::1", Reason.PUBLIC),
        ("[2606:4700::1]:8443", Reason.PUBLIC),
        ("https://8.8.8.8/path?query", Reason.PUBLIC),
        ("http://8.8.8.8/", Reason.PLAIN_HTTP),
        ("127.0.0.1", Reason.LOOPBACK),
        ("127.0.0.1:9999", Reason.EXCEPTION),
        ("localhost", Reason.LOOPBACK),
        ("localhost:9999", Reason.EXCEPTION),
        ("::1", Reason.LOOPBACK),
        ("[::1]:443", Reason.LOOPBACK),
        ("::ffff:127.0.0.1", Reason.LOOPBACK),
        ("fe80::1%eth0", Reason.ZONE),
        ("10.0.0.0/8", Reason.PRIVATE),
        ("169.254.169.254", Reason.LINK_LOCAL),
        ("127.1", Reason.NUMERIC_HOST),
        ("0x7f.1", Reason.NUMERIC_HOST),
        ("2130706433", Reason.NUMERIC_HOST),
        ("0177.0.0.1", Reason.BAD_URL),
        ("\uff11\uff12\uff17.0.0.1", Reason.BAD_URL),
        ("user@8.8.8.8", Reason.USERINFO),
        ("ftp://8.8.8.8", Reason.SCHEME),
        ("", Reason.NO_HOST),
        ("hooks example", Reason.CONTROL),
        ("\ud800.example", Reason.CONTROL),
    ],
)
async def test_check_host_takes_every_spelling(text: str, reason: Reason) -> None:
    egress = Egress(EgressPolicy(allow=("127.0.0.1:9999",)), resolve=resolving(["127.0.0.1"]))

    verdict = await egress.check_host(text)

    assert verdict == Verdict(allowed=reason in {Reason.PUBLIC, Reason.EXCEPTION}, reason=reason)


async def test_check_host_says_that_a_name_does_not_resolve() -> None:
    verdict = await Egress(EgressPolicy(), resolve=unresolvable).check_host("hooks.example")

    assert verdict == Verdict(allowed=False, reason=Reason.UNRESOLVED)


async def test_check_host_tells_the_bad_address_of_several() -> None:
    egress = Egress(EgressPolicy(), resolve=resolving(["8.8.8.8", "10.0.0.1"]))

    assert await egress.check_host("hooks.example") == Verdict(allowed=False, reason=Reason.PRIVATE)


async def test_localhost_is_refused_with_the_resolver_of_this_machine() -> None:
    assert await Egress(EgressPolicy()).check_host("localhost") == Verdict(allowed=False, reason=Reason.LOOPBACK)


async def test_a_literal_asks_no_resolver() -> None:
    egress = Egress(EgressPolicy(), resolve=unresolvable)

    assert (await egress.check_host(str(ipaddress.ip_address("8.8.8.8")))).allowed


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:5390/hook", Reason.LOOPBACK),
        ("http://localhost:5390/", Reason.LOOPBACK),
        ("https://[::1]/", Reason.LOOPBACK),
        ("https://10.0.0.1/", Reason.PRIVATE),
        ("https://2130706433/", Reason.NUMERIC_HOST),
        ("https://user@hooks.example/", Reason.USERINFO),
        ("http://127.0.0.1:9999/", None),
        ("https://hooks.example/", None),
        ("https://8.8.8.8/", None),
    ],
)
def test_what_will_be_refused_is_known_without_asking_for_a_name(url: str, reason: Reason | None) -> None:
    refused = refused_unasked(url, EgressPolicy(allow=("127.0.0.1:9999",)))

    assert (refused and refused.reason) == reason
