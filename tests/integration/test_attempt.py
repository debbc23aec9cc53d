"""What is recorded of an attempt that failed is one of a few sentences: tenants read it, and strangers cause it."""

import json
import re
import ssl

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.egress_servers import Receiver, resolving, saying, shown_by, unresolvable
from tests.unit.address_forms import ALL, Form

from flowgauge.schemas.signing_keys import new_secret
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.addresses import EgressPolicy, Reason
from flowgauge.sinks.webhooks.attempt import Sender, Wording
from flowgauge.sinks.webhooks.channels import Channel
from flowgauge.sinks.webhooks.egress import Egress, Failure, Resolver
from flowgauge.sinks.webhooks.schedule import (
    GONE,
    NO_SECRET,
    RETRY_AFTER_MS_MAX,
    Verdict,
    judge_answer,
    retry_delay_ms,
)
from flowgauge.sinks.webhooks.sends import Member, Send

pytestmark = pytest.mark.integration

NOW_MS = 1_700_000_000_000
SECRET = new_secret(bytes(range(32)))
HOST = "s3cret-host.example"
PATH = "/s3cret-path?token=s3cret-token"
KINDS_WRITTEN = {
    "webhook": '{"url": {"env": "URL"}, "secret": {"env": "SECRET"}}',
    "slack": '{"url": {"env": "URL"}}',
    "slack, by its bot": '{"token": {"env": "SECRET"}, "channel": "C0123456789", "api_url": {"env": "URL"}}',
    "pagerduty": '{"routing_key": {"env": "SECRET"}, "api_url": "%s"}',
    "incident_io": '{"url": {"env": "URL"}, "token": {"env": "SECRET"}}',
    "alertmanager": '{"url": {"env": "URL"}}',
}
TRANSITION = Transition(
    transition_id="t1",
    incident_id="i1",
    seq=0,
    tenant="acme",
    rule="failing",
    rule_kind="event",
    rules_version=1,
    key={},
    from_state="inactive",
    to_state="firing",
    at_ms=NOW_MS,
    opened_at_ms=NOW_MS,
    reason="above",
)
REFUSED = [form for form in ALL if form.webhook_reason is not Reason.PUBLIC]
TELLING = re.compile(r"s3cret|://|127\.0\.0\.1|\d+\.\d+\.\d+\.\d+|::|:\d|\[|Errno|ssl|certificate", re.IGNORECASE)


async def attempted(
    url: str, *, resolve: Resolver, allow: str = "", secret: str = SECRET, kind: str = "webhook"
) -> Verdict:
    egress = Egress(
        EgressPolicy(allow=(allow,) if allow else ()), resolve=resolve, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    sender = Sender(egress, {"URL": url, "SECRET": secret}, lambda: NOW_MS, Wording())
    written = KINDS_WRITTEN[kind].replace("%s", url)
    channel = Channel.model_validate({"name": "ops", kind.partition(",")[0]: json.loads(written)})
    return await sender.attempt(channel, Send("ops", (Member(TRANSITION, 1, "d1"),)))


async def answered(answer: bytes, *, tls: ssl.SSLContext | None = None, kind: str = "webhook") -> Verdict:
    """Attempt to tell a receiver that answers so, under a name and a path that are nobody's business."""
    async with Receiver(saying(answer)).running(tls=tls) as port:
        url = f"{'https' if tls else 'http'}://{HOST}:{port}{PATH}"
        return await attempted(url, resolve=resolving(["127.0.0.1"]), allow=f"127.0.0.1:{port}", kind=kind)


@pytest.mark.parametrize("reason", [*(reason.refusal for reason in Reason), *Failure, GONE, NO_SECRET])
def test_no_reason_names_a_host_an_address_or_what_a_library_said(reason: str) -> None:
    assert not TELLING.search(reason)


@pytest.mark.parametrize("form", REFUSED, ids=lambda form: f"{form.written[:60]!a} {form.means}")
async def test_an_address_that_is_refused_is_recorded_by_its_reason_alone(form: Form) -> None:
    verdict = await attempted(form.url, resolve=form.resolve)

    said = Failure.DNS.value if form.reason is Reason.UNRESOLVED else form.webhook_reason.refusal
    unreadable = NO_SECRET if form.reason is Reason.CONTROL else said
    assert (verdict.outcome, verdict.status, verdict.reference) == ("failed", 0, "")
    assert verdict.reason in {said, unreadable}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 500 s3cret\r\nX: s3cret\r\nContent-Length: 6\r\n\r\ns3cret", "answered 5xx"),
        (b"HTTP/1.1 403 s3cret\r\nContent-Length: 6\r\n\r\ns3cret", "answered 4xx"),
        (b"HTTP/1.1 429 s3cret\r\nRetry-After: s3cret\r\nContent-Length: 6\r\n\r\ns3cret", "answered 429"),
        (b"HTTP/1.1 302 s3cret\r\nLocation: http://s3cret/\r\nContent-Length: 0\r\n\r\n", "answered 3xx"),
        (b"HTTP/1.1 410 s3cret\r\nContent-Length: 6\r\n\r\ns3cret", GONE),
        (b"HTTP/1.1 200 s3cret\r\nContent-Length: 99\r\n\r\ns3cret", None),
        (b"s3cret\r\n\r\n", None),
        (b"", None),
    ],
)
async def test_what_a_receiver_says_is_not_recorded(answer: bytes, reason: str | None) -> None:
    verdict = await answered(answer)

    assert verdict.reason in ({reason} if reason else {Failure.PROTOCOL.value, Failure.CUT_SHORT.value})
    assert not TELLING.search(f"{verdict.reason} {verdict.reference}")


BODIES = [
    b"s3cret",
    b'{"ok": false, "error": "s3cret", "message": "s3cret", "status": "s3cret", "errors": ["s3cret"]}',
    b'{"ok": true, "ts": "s3cret", "channel": "s3cret", "error": {"code": "s3cret", "message": "s3cret"}}',
    b"\xff s3cret",
]


@pytest.mark.parametrize("body", BODIES, ids=["text", "error", "success", "binary"])
@pytest.mark.parametrize("status", [200, 202, 301, 400, 401, 403, 404, 410, 413, 422, 429, 500, 503])
@pytest.mark.parametrize("kind", KINDS_WRITTEN)
async def test_no_kind_of_channel_records_what_its_service_says(kind: str, status: int, body: bytes) -> None:
    head = b"HTTP/1.1 %d s3cret\r\nX: s3cret\r\nLocation: http://s3cret/\r\nContent-Length: %d\r\n\r\n"

    verdict = await answered(head % (status, len(body)) + body, kind=kind)

    assert verdict.status == status
    assert not TELLING.search(f"{verdict.reason} {verdict.reference}")


@pytest.mark.parametrize("kind", KINDS_WRITTEN)
async def test_no_kind_of_channel_reaches_an_address_that_is_refused(kind: str) -> None:
    verdict = await attempted(f"https://{HOST}{PATH}", resolve=resolving(["8.8.8.8", "169.254.169.254"]), kind=kind)

    assert (verdict.outcome, verdict.reason) == ("failed", Reason.LINK_LOCAL.refusal)


async def test_why_a_connection_failed_is_not_recorded_in_detail() -> None:
    untrusted = await answered(b"", tls=shown_by(trustme.CA().issue_cert(HOST)))
    unknown = await attempted(f"https://{HOST}{PATH}", resolve=unresolvable)
    async with Receiver(saying(b"")).running() as port:
        pass
    closed = await attempted(f"http://{HOST}:{port}{PATH}", resolve=resolving(["127.0.0.1"]), allow="127.0.0.1")
    unsigned = await attempted(f"https://{HOST}{PATH}", resolve=resolving(["8.8.8.8"]), secret="s3cret")

    assert [untrusted.reason, unknown.reason, closed.reason, unsigned.reason] == [
        Failure.TLS.value,
        Failure.DNS.value,
        Failure.CONNECT.value,
        NO_SECRET,
    ]


@pytest.mark.parametrize(
    ("retry_after", "asked_ms"),
    [
        ("31536000", 31_536_000_000),
        ("Thu, 14 Nov 2024 22:13:20 GMT", 31_622_400_000),
        ("7.5", 7_500),
        ("Tue, 14 Nov 2000 22:13:20 GMT", 0),
        ("99999999999999999999", 0),
        ("-1", 0),
        ("1e9", 0),
        ("nan", 0),
        ("soon", 0),
        ("\xff", 0),
    ],
)
async def test_a_receiver_that_is_busy_for_a_year_is_asked_again_within_the_hour(
    retry_after: str, asked_ms: int
) -> None:
    busy = b"HTTP/1.1 429 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % retry_after.encode("latin-1")

    verdict = await answered(busy)

    waits_ms = retry_delay_ms("d1", 1, verdict.retry_after_ms)
    assert (verdict.reason, verdict.retry_after_ms) == ("answered 429", asked_ms)
    assert waits_ms is not None
    assert waits_ms <= RETRY_AFTER_MS_MAX


@given(st.text() | st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")), st.integers(0, 2**42))
def test_no_retry_after_whatever_ends_in_anything_but_a_wait(text: str, now_ms: int) -> None:
    verdict = judge_answer(503, retry_after=text, elapsed_ms=0, now_ms=now_ms)

    assert verdict.retry_after_ms >= 0
