"""The Python library of Standard Webhooks and we understand each other; where it errs, we do not follow."""

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from flowgauge.schemas.signing import SignatureFault, SignatureInvalid, signed_headers, verify
from flowgauge.schemas.signing_keys import new_private_key, new_secret
from flowgauge.transport import wall_clock

SECRET = new_secret(bytes(range(32)))
PRIVATE = new_private_key(bytes(range(32)))

shared = st.binary(min_size=24, max_size=64).map(new_secret)
message_ids = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1)
bodies = st.text(max_size=300)


def now_s() -> int:
    return wall_clock.now_ms() // 1000


def theirs(message_id: str, at: datetime.datetime, body: str, *, secret: str = SECRET) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
    }


@given(shared, message_ids, bodies)
def test_the_library_verifies_what_we_sign(secret: str, message_id: str, body: str) -> None:
    headers = signed_headers([secret], message_id=message_id, timestamp_s=now_s(), body=body.encode())

    Webhook(secret).verify(body.encode(), headers, json_parse=False)


@given(shared, message_ids, st.integers(0, 10**10), bodies)
def test_we_verify_what_the_library_signs(secret: str, message_id: str, timestamp_s: int, body: str) -> None:
    at = datetime.datetime.fromtimestamp(timestamp_s, tz=datetime.UTC)

    verify([secret], theirs(message_id, at, body, secret=secret), body.encode(), now_s=timestamp_s)


@pytest.mark.parametrize("order", [[SECRET, PRIVATE], [PRIVATE, SECRET], [new_secret(bytes(24)), SECRET]])
def test_the_library_finds_its_signature_among_those_of_a_rotation(order: list[str]) -> None:
    body = json.dumps({"type": "incident.firing"}).encode()

    headers = signed_headers(order, message_id="m1", timestamp_s=now_s(), body=body)

    assert Webhook(SECRET).verify(body, headers) == {"type": "incident.firing"}


def test_the_library_refuses_another_body_and_another_secret() -> None:
    headers = signed_headers([SECRET], message_id="m1", timestamp_s=now_s(), body=b"{}")

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{ }", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret(bytes(24))).verify(b"{}", headers)


def test_a_time_that_the_library_signed_in_another_zone_is_wrong_and_is_refused() -> None:
    at = datetime.datetime.fromtimestamp(1_700_000_000, tz=datetime.timezone(datetime.timedelta(hours=2)))

    with pytest.raises(SignatureInvalid) as caught:
        verify([SECRET], theirs("m1", at, "{}"), b"{}", now_s=1_700_000_000)

    assert caught.value.reason is SignatureFault.MISMATCH


@pytest.mark.parametrize(
    ("signature", "reason"),
    [("v1", SignatureFault.NO_KNOWN_VERSION), ("v1,a,b", SignatureFault.MISMATCH), ("v1,a", SignatureFault.MISMATCH)],
)
def test_a_malformed_signature_that_breaks_the_library_has_its_reason_here(
    signature: str, reason: SignatureFault
) -> None:
    at = now_s()
    headers = {"webhook-id": "m1", "webhook-timestamp": str(at), "webhook-signature": signature}

    with pytest.raises(ValueError):  # noqa: PT011  # binascii.Error or unpacking: no answer of a verifier
        Webhook(SECRET).verify(b"{}", headers)
    with pytest.raises(SignatureInvalid) as caught:
        verify([SECRET], headers, b"{}", now_s=at)

    assert caught.value.reason is reason


def test_a_body_that_is_no_text_breaks_the_library_and_verifies_here() -> None:
    at = now_s()
    headers = signed_headers([SECRET], message_id="m1", timestamp_s=at, body=b"\xff")

    with pytest.raises(UnicodeDecodeError):
        Webhook(SECRET).verify(b"\xff", headers)
    verify([SECRET], headers, b"\xff", now_s=at)
