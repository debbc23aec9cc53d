import base64
import hashlib
import hmac
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.signing import SignatureFault, SignatureInvalid, sign, signed_headers, verify
from flowgauge.schemas.signing_keys import new_private_key, new_secret, public_key_of, signing_key, verifying_key

# The vector that the libraries of Standard Webhooks share.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP_S = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

# The vector of Svix for ed25519, over the same message; the specification shows its signature.
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SIGNATURE_V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

OTHER_SECRET = new_secret(bytes(range(32)))
OTHER_PRIVATE = new_private_key(bytes(range(32)))

shared = st.binary(min_size=24, max_size=64).map(new_secret)
private = st.binary(min_size=32, max_size=32).map(new_private_key)
secrets = shared | private
message_ids = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1)
timestamps = st.integers(min_value=0, max_value=10**11)


def headers_with(**changed: str | None) -> dict[str, str]:
    full: dict[str, str | None] = {"id": MESSAGE_ID, "timestamp": str(TIMESTAMP_S), "signature": SIGNATURE, **changed}
    return {f"webhook-{name}": value for name, value in full.items() if value is not None}


def for_receivers(secret: str) -> str:
    return public_key_of(secret) if secret.startswith("whsk_") else secret


def fault_of(
    headers: dict[str, str], *, now_s: int = TIMESTAMP_S, body: bytes = BODY, secrets: Sequence[str] = (SECRET,)
) -> SignatureFault | None:
    try:
        verify(secrets, headers, body, now_s=now_s)
    except SignatureInvalid as invalid:
        return invalid.reason
    return None


def flipped(data: bytes, bit: int) -> bytes:
    at = bit % (len(data) * 8)
    return data[: at // 8] + bytes([data[at // 8] ^ (1 << at % 8)]) + data[at // 8 + 1 :]


def test_the_shared_vector_is_signed_and_verified() -> None:
    signature = sign(SECRET, message_id=MESSAGE_ID, timestamp_s=TIMESTAMP_S, body=BODY)

    assert signature == SIGNATURE
    assert fault_of(headers_with()) is None


def test_the_vector_of_ed25519_is_signed_and_verified_by_its_public_key() -> None:
    signature = sign(PRIVATE, message_id=MESSAGE_ID, timestamp_s=TIMESTAMP_S, body=BODY)

    assert signature == SIGNATURE_V1A
    assert public_key_of(PRIVATE) == PUBLIC
    assert fault_of(headers_with(signature=signature), secrets=[PUBLIC]) is None


@given(secrets, message_ids, timestamps, st.binary(max_size=300))
def test_what_is_signed_verifies(secret: str, message_id: str, timestamp_s: int, body: bytes) -> None:
    headers = signed_headers([secret], message_id=message_id, timestamp_s=timestamp_s, body=body)

    verify([secret], headers, body, now_s=timestamp_s)
    verify([for_receivers(secret)], headers, body, now_s=timestamp_s)


@given(st.lists(secrets, min_size=2, max_size=2, unique=True), st.lists(secrets, max_size=2), st.binary(max_size=99))
def test_while_one_secret_replaces_another_of_any_kind_receivers_of_either_verify_and_strangers_do_not(
    ours: list[str], others: list[str], body: bytes
) -> None:
    headers = signed_headers(ours, message_id="m1", timestamp_s=7, body=body)
    strangers = [other for other in others if other not in ours]

    for secret in ours:
        verify([*strangers, for_receivers(secret)], headers, body, now_s=7)
    if strangers:
        with pytest.raises(SignatureInvalid):
            verify(strangers, headers, body, now_s=7)


@given(
    secret=secrets,
    message_id=message_ids,
    timestamp_s=timestamps,
    body=st.binary(min_size=1, max_size=300),
    data=st.data(),
)
def test_any_flipped_bit_of_body_id_timestamp_or_signature_is_found(
    *, secret: str, message_id: str, timestamp_s: int, body: bytes, data: st.DataObject
) -> None:
    headers = signed_headers([secret], message_id=message_id, timestamp_s=timestamp_s, body=body)
    part = data.draw(st.sampled_from(["body", *headers]))
    bit = data.draw(st.integers(min_value=0, max_value=10_000))

    if part == "body":
        body = flipped(body, bit)
    else:
        headers[part] = flipped(headers[part].encode(), bit).decode("latin-1")

    with pytest.raises(SignatureInvalid):
        verify([for_receivers(secret)], headers, body, now_s=timestamp_s)


headers_of_strangers = st.dictionaries(
    st.sampled_from(["webhook-id", "Webhook-Timestamp", "webhook-signature", "x"]), st.text(st.characters())
) | st.fixed_dictionaries(
    {
        "webhook-id": st.just(MESSAGE_ID),
        "webhook-timestamp": st.just(str(TIMESTAMP_S)),
        "webhook-signature": st.lists(
            st.tuples(st.sampled_from(["v1,", "v1a,", "v1", "v1a", "v2,", ","]), st.text(st.characters())).map("".join)
        ).map(" ".join),
    }
)


@given(headers_of_strangers)
def test_no_header_whatever_ends_in_anything_but_signature_invalid(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureInvalid):
        verify([SECRET, PUBLIC, OTHER_PRIVATE], headers, BODY, now_s=TIMESTAMP_S)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (headers_with(id=None), SignatureFault.NO_ID),
        (headers_with(id=""), SignatureFault.NO_ID),
        (headers_with(id="msg.1"), SignatureFault.BAD_ID),
        (headers_with(id="msg 1"), SignatureFault.BAD_ID),
        (headers_with(id="m\u00fcnchen"), SignatureFault.BAD_ID),
        (headers_with(id="msg_other"), SignatureFault.MISMATCH),
        (headers_with(timestamp=None), SignatureFault.NO_TIMESTAMP),
        (headers_with(timestamp="soon"), SignatureFault.BAD_TIMESTAMP),
        (headers_with(timestamp="-1614265330"), SignatureFault.BAD_TIMESTAMP),
        (headers_with(timestamp="1614265330.0"), SignatureFault.BAD_TIMESTAMP),
        (headers_with(timestamp="\uff11614265330"), SignatureFault.BAD_TIMESTAMP),
        (headers_with(timestamp="9" * 5_000), SignatureFault.BAD_TIMESTAMP),
        (headers_with(timestamp="01614265330"), SignatureFault.MISMATCH),
        (headers_with(signature=None), SignatureFault.NO_SIGNATURE),
        (headers_with(signature="v1"), SignatureFault.NO_KNOWN_VERSION),
        (headers_with(signature="v1a,c2lnbmF0dXJl"), SignatureFault.NO_KNOWN_VERSION),
        (headers_with(signature="v1,a,b"), SignatureFault.MISMATCH),
        (headers_with(signature="v1,"), SignatureFault.MISMATCH),
        (headers_with(signature="v1,\udcff"), SignatureFault.MISMATCH),
        (headers_with(signature=SIGNATURE.removeprefix("v1,")), SignatureFault.NO_KNOWN_VERSION),
        (headers_with(signature=SIGNATURE.replace("v1", "v2")), SignatureFault.NO_KNOWN_VERSION),
        (headers_with(signature=SIGNATURE.rstrip("=")), SignatureFault.MISMATCH),
        (headers_with(signature="v1,AAAA " * 16 + SIGNATURE), SignatureFault.MISMATCH),
        (headers_with(signature=f"v1,AAAA v1a,xyz {SIGNATURE}"), None),
        ({name.title(): value for name, value in headers_with().items()}, None),
    ],
)
def test_each_malformed_header_has_its_reason(headers: dict[str, str], expected: SignatureFault | None) -> None:
    assert fault_of(headers) == expected


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(300, None), (301, SignatureFault.TOO_OLD), (-300, None), (-301, SignatureFault.TOO_NEW)],
)
def test_a_message_is_good_for_five_minutes_either_way(age_s: int, expected: SignatureFault | None) -> None:
    assert fault_of(headers_with(), now_s=TIMESTAMP_S + age_s) == expected


def test_the_body_is_bytes_and_need_not_be_text() -> None:
    body = b"\xff\xfe\x00."
    headers = signed_headers([SECRET], message_id="m1", timestamp_s=TIMESTAMP_S, body=body)

    assert fault_of(headers, body=body) is None
    assert fault_of(headers, body=body + b".") is SignatureFault.MISMATCH


@pytest.mark.parametrize(
    ("signature", "secrets", "expected"),
    [
        (SIGNATURE_V1A, [PRIVATE], None),
        (SIGNATURE_V1A, [SECRET, PUBLIC], None),
        (f"{SIGNATURE} {SIGNATURE_V1A}", [PUBLIC], None),
        (f"v1a,AAAA v1a, {SIGNATURE_V1A}", [PUBLIC], None),
        (SIGNATURE, [PUBLIC], SignatureFault.NO_KNOWN_VERSION),
        (SIGNATURE_V1A, [SECRET], SignatureFault.NO_KNOWN_VERSION),
        (SIGNATURE_V1A.replace("v1a", "v1"), [PUBLIC, SECRET], SignatureFault.MISMATCH),
        (SIGNATURE.replace("v1", "v1a"), [PUBLIC, SECRET], SignatureFault.MISMATCH),
        (SIGNATURE_V1A, [public_key_of(OTHER_PRIVATE)], SignatureFault.MISMATCH),
        (SIGNATURE_V1A.rstrip("="), [PUBLIC], SignatureFault.MISMATCH),
        (SIGNATURE_V1A.replace("Ag==", "Ah=="), [PUBLIC], SignatureFault.MISMATCH),
        (SIGNATURE_V1A.replace("+", "-").replace("/", "_"), [PUBLIC], SignatureFault.MISMATCH),
        ("v1a," + "A" * 86 + "==", [PUBLIC], SignatureFault.MISMATCH),
        ("v1a,\udcff", [PUBLIC], SignatureFault.MISMATCH),
        ("v1a", [PUBLIC], SignatureFault.NO_KNOWN_VERSION),
    ],
)
def test_each_signature_is_verified_by_the_secrets_of_its_kind(
    signature: str, secrets: list[str], expected: SignatureFault | None
) -> None:
    assert fault_of(headers_with(signature=signature), secrets=secrets) == expected


def test_during_a_rotation_old_and_new_receivers_both_verify() -> None:
    headers = signed_headers([SECRET, OTHER_SECRET], message_id="m1", timestamp_s=TIMESTAMP_S, body=BODY)

    verify([SECRET], headers, BODY, now_s=TIMESTAMP_S)
    verify([OTHER_SECRET], headers, BODY, now_s=TIMESTAMP_S)
    with pytest.raises(SignatureInvalid, match="no signature matches"):
        verify([new_secret(bytes(24))], headers, BODY, now_s=TIMESTAMP_S)


def test_a_receiver_with_two_secrets_takes_either() -> None:
    headers = signed_headers([OTHER_SECRET], message_id="m1", timestamp_s=TIMESTAMP_S, body=BODY)

    verify([SECRET, OTHER_SECRET], headers, BODY, now_s=TIMESTAMP_S)


def test_the_signature_is_the_hmac_of_id_timestamp_and_body() -> None:
    key = bytes(range(32))
    expected = base64.b64encode(hmac.new(key, b"m1.7.{}", hashlib.sha256).digest()).decode()

    assert sign(new_secret(key), message_id="m1", timestamp_s=7, body=b"{}") == f"v1,{expected}"


@pytest.mark.parametrize(
    "secret",
    [
        *("", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_!!!!"),
        "whsec_" + base64.b64encode(b"hidden-hidden-hidden-23").decode(),
        "whsec_" + base64.b64encode(b"h" * 65).decode(),
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "whsec_" + base64.b64encode(b"h" * 32).decode().rstrip("="),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS\u00fc",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        *("whsk_", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_!!!!", PRIVATE.rstrip("=")),
        "whsk_" + base64.b64encode(b"h" * 33).decode(),
        "whsk_" + base64.b64encode(b"h" * 64).decode(),
        "whsk_" + base64.b64encode(b"h" * 96).decode(),
    ],
)
def test_a_bad_secret_is_refused_with_a_remedy_and_never_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret: ") as caught:
        sign(secret, message_id="m1", timestamp_s=1, body=b"")
    with pytest.raises(ValueError, match="webhook secret: "):
        verify([secret], headers_with(), BODY, now_s=TIMESTAMP_S)

    hidden = secret.partition("_")[2] if "_" in secret else secret
    assert not hidden or hidden not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_bad_public_key_verifies_nothing_and_says_why(length: int) -> None:
    with pytest.raises(ValueError, match=f"expected 32 bytes after whpk_, got {length}"):
        verify(["whpk_" + base64.b64encode(bytes(length)).decode()], headers_with(), BODY, now_s=TIMESTAMP_S)


def test_a_public_key_signs_nothing() -> None:
    with pytest.raises(ValueError, match="only verifies; sign with its whsk_"):
        sign(PUBLIC, message_id="m1", timestamp_s=1, body=b"")


def test_the_first_half_of_an_ed25519_secret_signs_alike() -> None:
    half = "whsk_" + base64.b64encode(base64.b64decode(PRIVATE.removeprefix("whsk_"))[:32]).decode()

    assert sign(half, message_id=MESSAGE_ID, timestamp_s=TIMESTAMP_S, body=BODY) == SIGNATURE_V1A
    assert public_key_of(half) == PUBLIC


def test_a_shared_secret_has_no_public_key() -> None:
    with pytest.raises(ValueError, match="whsec_ has no public key"):
        public_key_of(SECRET)


@given(secrets)
def test_no_key_shows_itself(secret: str) -> None:
    for key in (signing_key(secret), verifying_key(for_receivers(secret))):
        assert not any(part in repr(key) for part in (secret, secret.partition("_")[2]))


def test_verifying_without_a_secret_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="no secret to verify with"):
        verify([], headers_with(), BODY, now_s=TIMESTAMP_S)


@pytest.mark.parametrize("message_id", ["", "msg.1", "msg 1", "msg\n1", "m\u00fcnchen"])
def test_an_id_that_would_blur_what_is_signed_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="webhook-id: expected"):
        sign(SECRET, message_id=message_id, timestamp_s=1, body=b"")


def test_a_negative_time_is_refused() -> None:
    with pytest.raises(ValueError, match="webhook-timestamp: expected"):
        sign(SECRET, message_id="m1", timestamp_s=-1, body=b"")


@pytest.mark.parametrize("length", [0, 23, 65])
def test_a_new_secret_takes_24_to_64_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="expected 24 to 64 bytes"):
        new_secret(bytes(length))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_new_ed25519_secret_takes_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="expected 32 random bytes"):
        new_private_key(bytes(length))
