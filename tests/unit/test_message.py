"""The webhook's body and headers, byte for byte. `FLOWGAUGE_UPDATE_GOLDEN=1` writes the golden files anew."""

import os
from pathlib import Path

import msgspec
import pytest
from tests import notices

from flowgauge.schemas.signing import verify
from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.webhooks.message import (
    FITTED_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    fitted,
    incident_link,
    message_body,
    message_headers,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "webhook"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

FIRING = msgspec.structs.replace(
    notices.FIRING,
    opened_at_ms=1_795_427_460_000,
    examples=[
        ExampleRun(1_795_427_400_000_000, "6a0e5b0c-0b1f-4c6e-9a65-0d5f3f0d8a11", "run-1", "orders-eu"),
        ExampleRun(1_795_427_410_250_000, "6a0e5b0c-0b1f-4c6e-9a65-0d5f3f0d8a12", "run-2"),
    ],
    notify=["data-oncall"],
)
RESOLVED = msgspec.structs.replace(
    FIRING, transition_id="f" * 32, seq=1, from_state="firing", to_state="resolved", value=0.0, examples=[], summary=""
)
NO_DATA = msgspec.structs.replace(
    FIRING, transition_id="e" * 32, seq=1, from_state="firing", to_state="no_data", value=None, samples=0, examples=[]
)


@pytest.mark.parametrize(
    ("name", "transition", "public_url"),
    [
        ("firing", FIRING, "https://gauge.example/flow/"),
        ("resolved", RESOLVED, ""),
        ("no_data", NO_DATA, "https://gauge.example"),
    ],
)
def test_the_body_is_what_receivers_were_promised(name: str, transition: Transition, public_url: str) -> None:
    body = message_body(fitted(transition), public_url=public_url)

    text = msgspec.json.format(body, indent=2).decode() + "\n"
    golden = GOLDEN / f"{name}.json"
    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
        golden.write_text(text)
    assert text == golden.read_text()


def test_the_headers_carry_the_id_the_attempts_time_and_one_signature_per_secret() -> None:
    body = message_body(fitted(FIRING))

    headers = message_headers([SECRET, OLD_SECRET], delivery_id="d1", now_ms=1_795_427_470_999, body=body)

    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "d1"
    assert headers["webhook-timestamp"] == "1795427470"
    assert len(headers["webhook-signature"].split()) == 2
    for secret in (SECRET, OLD_SECRET):
        verify([secret], headers, body, now_s=1_795_427_470)


def test_a_secret_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        message_headers(["hunter2"], delivery_id="d1", now_ms=0, body=b"{}")


@pytest.mark.parametrize("text", ["x", "ü", "\x00", '"', "\U0001f600", "<"])
@pytest.mark.parametrize("length", [500, 1_000, 20_000])
def test_a_body_stays_under_its_bound_whatever_a_rule_or_an_event_says(text: str, length: int) -> None:
    long = text * length
    huge = {f"{number} {long}": long for number in range(40)}
    template = "{% for name in labels %}{{ name }}{% endfor %}{{ labels['0 " + text[:1] + "'] }}" + text * 1_500
    runs = [ExampleRun(1, long, long, long) for _ in range(9)]

    kept = fitted(
        msgspec.structs.replace(
            FIRING, key=huge, labels=huge, reason=long, severity=long, summary=template, examples=runs, runbook=long
        )
    )

    assert len(msgspec.json.encode(kept)) <= FITTED_BYTES_MAX
    assert len(message_body(kept, public_url="https://" + "h" * 1_000)) <= PAYLOAD_BYTES_MAX


def test_what_fits_is_told_as_it_is() -> None:
    assert fitted(FIRING) == msgspec.structs.replace(FIRING, notify=[])


def test_cutting_keeps_who_and_what_it_is_about() -> None:
    kept = fitted(msgspec.structs.replace(FIRING, labels={"a": "x" * 100_000}))

    assert kept.labels == {"a": "x" * 1_023 + "…"}
    assert (kept.incident_id, kept.transition_id, kept.tenant, kept.rule) == (
        FIRING.incident_id,
        FIRING.transition_id,
        FIRING.tenant,
        FIRING.rule,
    )


def test_a_link_needs_a_public_url_that_is_no_essay() -> None:
    assert incident_link("i/1", "https://g.example/") == "https://g.example/incidents/i%2F1"
    assert incident_link("i", "") is None
    assert incident_link("i", "https://" + "h" * 2_000) is None
