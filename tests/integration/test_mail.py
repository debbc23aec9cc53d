"""Mail on loopback: what arrives and how it hangs together, and what comes of a mail server's bad days."""

import asyncio
import re
from dataclasses import replace

import msgspec
import pytest
from tests.integration.alert_services import NOW_MS, kind_of
from tests.integration.egress_servers import resolving, saying, serving, silent
from tests.integration.mail_server import NAME, PASSWORD, MailServer
from tests.notices import storm
from tests.unit.test_message import FIRING, RESOLVED

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.addresses import EgressPolicy, Reason
from flowgauge.sinks.webhooks.egress import AddressRefused, Egress, EgressFailed, Failure
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice
from flowgauge.sinks.webhooks.schedule import Verdict

pytestmark = pytest.mark.integration

LOGIN = ", user: flowgauge, password: {env: P}"


def notice(*transitions: Transition, delivery: str = "d1") -> Notice:
    return Notice(delivery, transitions, public_url="https://gauge.example")


async def told(
    server: MailServer,
    each: Notice,
    written: str = "",
    *,
    to: str = "ops@example.com",
    password: str = PASSWORD,
    allow: tuple[str, ...] = (NAME,),
) -> Verdict:
    kind = kind_of(f"email: {{to: [{to}], from: gauge@flow.example, host: {NAME}, port: {server.port}{written}}}")
    egress = Egress(EgressPolicy(allow), resolve=resolving(["127.0.0.1"]), mail_tls=server.trusted())
    secrets = dict.fromkeys(kind.references.values(), password)
    return replace(await kind.tell(each, Means(egress, lambda: NOW_MS, secrets)), elapsed_ms=0)


DELIVERED = Verdict("delivered", "", 250)


async def test_a_mail_says_what_happened_as_text_and_as_html() -> None:
    async with MailServer().running() as server:
        verdict = await told(server, notice(msgspec.structs.replace(FIRING, runbook="https://wiki.example/?a=1&b=2")))

    (mail,) = server.mails
    plain, html = (part.get_content() for part in mail.iter_parts())
    assert verdict == DELIVERED
    assert (mail["From"], mail["To"], mail["Subject"]) == (
        "gauge@flow.example",
        "ops@example.com",
        "orders-sync failing: orders-eu, prod",
    )
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime.timestamp() * 1000 == NOW_MS
    assert plain.splitlines()[0] == "🔴 Firing: orders-sync failing"
    assert "Threshold: 20%" in plain.splitlines()
    assert f"Incident: https://gauge.example/incidents/{FIRING.incident_id}" in plain.splitlines()
    assert '<a href="https://wiki.example/?a=1&amp;b=2">Runbook</a>' in html
    assert (server.senders, server.taken_by) == (["gauge@flow.example"], [["ops@example.com"]])


async def test_an_incident_is_one_thread_whose_mails_have_ids_of_their_own() -> None:
    async with MailServer().running() as server:
        await told(server, notice(FIRING, delivery="d1"))
        await told(server, notice(RESOLVED, delivery="d2"))
        await told(server, notice(msgspec.structs.replace(FIRING, incident_id="b" * 32), delivery="d3"))

    threads = [mail["References"] for mail in server.mails]
    assert threads[0] == threads[1] != threads[2]
    assert [mail["In-Reply-To"] for mail in server.mails] == threads
    assert [mail["Message-ID"] for mail in server.mails] == [f"<delivery-d{n}@flow.example>" for n in (1, 2, 3)]
    assert len({mail["Subject"] for mail in server.mails}) == 1


async def test_a_storm_is_one_mail_with_counts_and_the_first_fifty() -> None:
    async with MailServer().running() as server:
        assert await told(server, notice(*storm(1_800))) == DELIVERED

    (mail,) = server.mails
    plain, _ = (part.get_content() for part in mail.iter_parts())
    assert mail["Subject"].startswith("🔴 1,800 incidents: 1,620 firing, 180 resolved")
    assert mail["References"] is None
    assert sum("runs failed" in line for line in plain.splitlines()) == 50
    assert "and 1,750 more incidents" in plain.splitlines()


async def test_no_rule_or_event_writes_a_header_or_a_tag() -> None:
    evil = "x\r\nBcc: all@example.com\r\n\r\n<script>\u2028"
    one = msgspec.structs.replace(FIRING, rule=evil, key={evil: evil}, summary="", reason=evil, labels={evil: evil})
    async with MailServer().running() as server:
        assert await told(server, notice(one, delivery="d\r\nX: y")) == DELIVERED

    (mail,) = server.mails
    _, html = (part.get_content() for part in mail.iter_parts())
    assert (mail["Bcc"], mail["X"], server.taken_by) == (None, None, [["ops@example.com"]])
    assert "<script>" not in html
    assert "\n" not in mail["Subject"]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_login_is_told_over_a_connection_that_is_trusted(tls: str) -> None:
    async with MailServer(needs_login=True).running(tls=tls) as server:
        assert await told(server, notice(FIRING), f", tls: {tls}{LOGIN}") == DELIVERED
        assert await told(server, notice(FIRING), f", tls: {tls}{LOGIN}", password="wrong") == Verdict(
            "failed", "mail server refused the login", 535
        )
        assert await told(server, notice(FIRING), f", tls: {tls}") == Verdict(
            "failed", "mail server asks for a login", 530
        )


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_certificate_of_another_name_or_authority_is_not_trusted(tls: str) -> None:
    async with MailServer().running(tls=tls, name="other.example") as server:
        with pytest.raises(EgressFailed) as name:
            await told(server, notice(FIRING), f", tls: {tls}")
    async with MailServer().running(tls=tls) as server:
        server.authority = MailServer().authority
        with pytest.raises(EgressFailed) as authority:
            await told(server, notice(FIRING), f", tls: {tls}")

    assert [each.value.reason for each in (name, authority)] == [Failure.TLS, Failure.TLS]
    assert server.mails == []


async def test_a_server_without_tls_gets_neither_login_nor_mail_unless_both_sides_say_so() -> None:
    unopened = kind_of("email: {to: [ops@example.com], from: a@b.example, host: mail.example, tls: none}")
    public = Means(Egress(EgressPolicy(), resolve=resolving(["8.8.8.8"])), lambda: NOW_MS, {})
    async with MailServer().running(tls="none") as server:
        assert await told(server, notice(FIRING), LOGIN) == Verdict("failed", "mail server offers no TLS")
        with pytest.raises(AddressRefused) as caught:
            await unopened.tell(notice(FIRING), public)
        assert caught.value.reason is Reason.PLAIN_MAIL
        assert "egress.allow" in str(caught.value)
        assert server.mails == []

        assert await told(server, notice(FIRING), ", tls: none") == DELIVERED


async def test_a_private_mail_server_has_to_be_opened() -> None:
    async with MailServer().running() as server:
        with pytest.raises(AddressRefused) as caught:
            await told(server, notice(FIRING), allow=())

    assert caught.value.reason is Reason.LOOPBACK


@pytest.mark.parametrize(
    ("step", "reply", "verdict"),
    [
        ("RCPT", "451 4.7.1 greylisted, try later", Verdict("failed", "mail server answered 4xx", 451)),
        ("MAIL", "421 4.3.2 closing", Verdict("failed", "mail server answered 4xx", 421)),
        ("MAIL", "452 4.3.1 no room", Verdict("failed", "mail server answered 4xx", 452)),
        ("DATA", "450 4.2.0 busy", Verdict("failed", "mail server answered 4xx", 450)),
        ("RCPT", "550 5.1.1 no such user", Verdict("dead", "refused: no such mailbox", 550)),
        ("MAIL", "553 5.1.8 who are you", Verdict("dead", "refused: mail server does not take the sender", 553)),
        ("MAIL", "530 5.7.0 STARTTLS first", Verdict("failed", "mail server asks for a login", 530)),
        ("DATA", "552 5.3.4 too big", Verdict("dead", "refused: mail server does not take the message", 552)),
        ("DATA", "554 5.7.1 spam", Verdict("dead", "refused: mail server does not take the message", 554)),
    ],
)
async def test_what_a_reply_means_hangs_on_the_step_it_answers(step: str, reply: str, verdict: Verdict) -> None:
    async with MailServer(replies={step: [reply]}).running() as server:
        assert await told(server, notice(FIRING)) == verdict
        assert await told(server, notice(FIRING)) == DELIVERED

    assert len(server.mails) == 1


async def test_a_mail_that_is_too_big_is_refused_before_it_is_sent() -> None:
    async with MailServer(size_max=100).running() as server:
        verdict = await told(server, notice(FIRING))

    assert verdict == Verdict("dead", "refused: mail server does not take the message", 552)


@pytest.mark.parametrize("code", [421, 554])
async def test_a_server_that_does_not_welcome_us_is_tried_again(code: int) -> None:
    server = MailServer()
    async with serving(saying(b"%d go away\r\n" % code)) as server.port:
        verdict = await told(server, notice(FIRING))

    assert verdict == Verdict("failed", f"mail server answered {code // 100}xx", code)


async def test_a_mail_is_delivered_where_one_of_several_takes_it_and_says_that_some_do_not() -> None:
    async with MailServer().running() as server:
        verdict = await told(server, notice(FIRING), to="nobody@example.com, leads@example.com")

    assert verdict == Verdict("delivered", "some recipients were refused", 250)
    assert server.taken_by == [["leads@example.com"]]


async def test_a_mail_is_tried_again_where_one_of_those_refused_may_be_taken_later() -> None:
    async with MailServer(replies={"RCPT": ["550 no", "451 later"]}).running() as server:
        assert (await told(server, notice(FIRING), to="ops@example.com, leads@example.com")).outcome == "failed"


async def test_a_mail_that_was_taken_as_the_line_broke_comes_again_under_the_same_id() -> None:
    async with MailServer(replies={"DATA": ["drop"]}).running() as server:
        with pytest.raises(EgressFailed) as caught:
            await told(server, notice(FIRING))
        assert await told(server, notice(FIRING)) == DELIVERED

    assert (caught.value.reason, caught.value.retryable) == (Failure.CUT_SHORT, True)
    assert [mail["Message-ID"] for mail in server.mails] == ["<delivery-d1@flow.example>"] * 2


async def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    async with serving(silent) as port:
        server = MailServer()
        server.port = port
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await told(server, notice(FIRING))


async def test_a_server_that_speaks_no_smtp_is_a_failure_to_retry() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(http) as port:
        server = MailServer()
        server.port = port
        assert await told(server, notice(FIRING)) == Verdict("failed", "mail server does not keep to its protocol")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("to: [], from: a@b.example, host: h", "email.to"),
        ("to: ['Ops <ops@b.example>'], from: a@b.example, host: h", "email.to[0]: expected a plain address"),
        ("to: ['ops@b.example\\r\\nX: y'], from: a@b.example, host: h", "email.to[0]: expected a plain address"),
        ("to: [a@b.example], from: 'a@b.example, c@d.example', host: h", "email.from: expected a plain address"),
        ("to: [a@b.example], from: a@b.example, host: h, user: me", "expected user and password together"),
        ("to: [a@b.example], from: a@b.example, host: h, port: 0", "email.port"),
        (
            "to: [a@b.example], from: a@b.example, host: h, tls: maybe",
            "email.tls: expected 'starttls', 'tls' or 'none'",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(written: str, message: str) -> None:
    with pytest.raises(InvalidRules, match=re.escape(message)):
        kind_of(f"email: {{{written}}}")


def test_more_than_fifty_are_a_list_of_the_mail_server() -> None:
    many = ", ".join(f"a{n}@b.example" for n in range(51))

    with pytest.raises(InvalidRules, match=r"email\.to"):
        kind_of(f"email: {{to: [{many}], from: a@b.example, host: h}}")


def test_the_usual_ports_are_known() -> None:
    urls = [
        kind_of(f"email: {{to: [a@b.example], from: a@b.example, host: h{rest}}}").urls["host"]
        for rest in ("", ", tls: tls", ", tls: none", ", port: 2525")
    ]

    assert [url.get_secret_value() for url in urls] == [  # type: ignore[union-attr]  # none of them stands elsewhere
        "smtp://h:587",
        "smtp://h:465",
        "smtp+plain://h:25",
        "smtp://h:2525",
    ]
