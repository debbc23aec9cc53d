"""Laws of channels: whatever happened, what a service is told stays within the service's limits."""

import json
import re
from dataclasses import replace
from email import message_from_bytes
from email.policy import SMTP
from email.utils import parseaddr
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.webhooks.kinds import alertmanager, incident_io, pagerduty
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.mail_message import address_form, mail_of
from flowgauge.sinks.webhooks.message import fitted

texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "x" * 20_000, "ﬃ" * 5_000, "\x00\x1b[31m\u202e\r\n", "😀" * 3_000])
)
mappings = st.dictionaries(texts, texts, max_size=5)
runs = st.builds(ExampleRun, st.integers(0, 2**52), texts, texts, texts)
moments = st.integers(0, 4_000_000_000_000)
numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
transitions = st.builds(
    Transition,
    transition_id=st.just("a" * 32),
    incident_id=st.just("b" * 32),
    seq=st.integers(0, 100),
    tenant=st.text(min_size=1, max_size=200),
    rule=st.text(min_size=1, max_size=200),
    rule_kind=st.just("failure_rate"),
    rules_version=st.just(1),
    key=mappings,
    from_state=st.just("inactive"),
    to_state=st.sampled_from(["firing", "no_data", "resolved"]),
    at_ms=moments,
    opened_at_ms=moments,
    reason=texts,
    value=numbers,
    threshold=numbers,
    samples=st.integers(0, 2**40),
    window_ms=st.integers(0, 2**40),
    examples=st.lists(runs, max_size=9),
    severity=texts,
    labels=mappings,
    summary=texts,
    runbook=texts,
).map(fitted)
deliveries = st.sampled_from(["d" * 32, "d\r\nX: y", ""])
notices = st.builds(
    Notice,
    delivery_id=deliveries,
    transitions=st.tuples(transitions),
    public_url=st.sampled_from(["", "https://gauge.example", "https://" + "h" * 1_000]),
    details=st.lists(texts, max_size=60).map(tuple),
)


storms = st.builds(
    Notice,
    delivery_id=deliveries,
    transitions=st.lists(transitions, min_size=1, max_size=5).map(
        lambda few: tuple(changed(few[n % len(few)], incident_id=f"{n:032x}") for n in range(200))
    ),
    public_url=st.just("https://gauge.example"),
)
MAIL_BYTES_MAX = 1_000_000  # a tenth of what mail servers usually take
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted"),
    *("MIME-Version", "Content-Type"),
}


@given(notices)
def test_an_event_of_pagerduty_has_what_it_asks_for_and_is_no_longer(notice: Notice) -> None:
    body = pagerduty.event_body(notice, "k" * 32, severity="error")

    event: dict[str, Any] = json.loads(body)
    assert len(body) <= 512 * 1024
    assert len(event["dedup_key"]) <= 255
    assert 1 <= len(event["payload"]["summary"]) <= 1_024
    assert event["payload"]["source"]
    assert event["payload"]["severity"] in {"critical", "error", "warning", "info"}
    assert event["event_action"] == ("resolve" if notice.transition.to_state == "resolved" else "trigger")


@given(notices)
def test_an_event_of_incident_io_is_no_longer_than_it_takes(notice: Notice) -> None:
    body = incident_io.alert_event(notice)

    event: dict[str, Any] = json.loads(body)
    assert len(body) <= 512 * 1024
    assert 1 <= len(event["title"]) <= 500
    assert event["status"] == ("resolved" if notice.transition.to_state == "resolved" else "firing")


@given(notices, st.integers(0, 4_000_000_000_000), st.one_of(st.none(), texts))
def test_an_alert_has_labels_that_alertmanager_takes_and_ends_after_it_began(
    notice: Notice, now_ms: int, reference: str | None
) -> None:
    labels = alertmanager.told_labels(replace(notice, reference=reference or ""))

    (alert,) = json.loads(alertmanager.alerts_body(notice, labels, now_ms=now_ms))
    assert all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) and text for name, text in alert["labels"].items())
    assert not any(name.startswith("__") for name in alert["labels"])
    assert alert["startsAt"] <= alert["endsAt"]
    assert all(alert["annotations"].values())
    assert sum(len(name) + len(text) for name, text in labels.items()) <= 2_000 + 4 * 220
    again = replace(notice, reference=json.dumps(labels), transitions=(changed(notice.transition, labels={}),))
    assert alertmanager.told_labels(again) == labels


@given(st.one_of(notices, storms))
def test_a_mail_is_lines_of_ascii_that_every_server_takes_and_its_headers_are_ours(notice: Notice) -> None:
    mail = mail_of(notice, "gauge@flow.example", ["ops@example.com"], now_ms=0).as_bytes()

    assert mail.isascii()
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    assert b"\n" not in mail.replace(b"\r\n", b"")
    assert len(mail) <= MAIL_BYTES_MAX
    read = message_from_bytes(mail, policy=SMTP)
    assert set(read.keys()) <= HEADERS
    assert len(set(read.keys())) == len(read.keys())
    assert len(read["Subject"]) <= 150


@given(st.text(max_size=40))
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    try:
        address_form(text)
    except ValueError:
        return
    assert text.isascii()
    assert parseaddr(text) == ("", text)
