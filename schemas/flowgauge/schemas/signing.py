"""Standard Webhooks signatures: what a receiver needs to know that a message is ours, whole and recent.

The signature covers `id.timestamp.body` (raw bytes), by HMAC-SHA256 or ed25519: signing_keys.py has the kinds of keys.
`webhook-signature` is a space-separated list of `version,signature`, so two secrets of either kind can be valid
while one replaces the other, and an unknown version is passed over. No secret is ever part of a message.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum

from flowgauge.schemas.signing_keys import signing_key, verifying_key

TOLERANCE_S = 300  # How far a message's time may be from ours: five minutes, against replays.
SIGNATURES_MAX = 16  # More are not looked at: a rotation has two, and the header is the sender's to fill.
TIMESTAMP_CHARS_MAX = 12

HEADER_ID = "webhook-id"
HEADER_TIMESTAMP = "webhook-timestamp"
HEADER_SIGNATURE = "webhook-signature"


class SignatureFault(StrEnum):
    """Why a message was not accepted."""

    NO_ID = "webhook-id is missing"
    BAD_ID = "webhook-id is malformed"
    NO_TIMESTAMP = "webhook-timestamp is missing"
    BAD_TIMESTAMP = "webhook-timestamp is not Unix seconds"
    TOO_OLD = "webhook-timestamp is too old"
    TOO_NEW = "webhook-timestamp is in the future"
    NO_SIGNATURE = "webhook-signature is missing"
    NO_KNOWN_VERSION = "webhook-signature has none of the secret's kind: v1 for whsec_, v1a for whsk_ and whpk_"
    MISMATCH = "no signature matches"


class SignatureInvalid(Exception):
    """The message cannot be trusted; `reason` says why."""

    def __init__(self, reason: SignatureFault) -> None:
        super().__init__(reason.value)
        self.reason = reason


def sign(secret: str, *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Give one signature, `v1,...` or `v1a,...`. Raises ValueError for a bad secret, id or time.

    Sign at each attempt anew: the time is the attempt's.
    """
    if not _is_message_id(message_id):
        raise ValueError("webhook-id: expected visible ASCII characters without '.'")
    if timestamp_s < 0:
        raise ValueError("webhook-timestamp: expected Unix seconds, not a negative number")
    key = signing_key(secret)
    return f"{key.version},{key.signature(_content(message_id, str(timestamp_s), body))}"


def signed_headers(secrets: Sequence[str], *, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Give the three headers, signed with every secret: during a rotation the old and the new one."""
    signatures = [sign(secret, message_id=message_id, timestamp_s=timestamp_s, body=body) for secret in secrets]
    return headers_of(message_id, str(timestamp_s), " ".join(signatures))


def headers_of(message_id: str, timestamp: str, signature: str) -> dict[str, str]:
    """Name the three values as headers."""
    return {HEADER_ID: message_id, HEADER_TIMESTAMP: timestamp, HEADER_SIGNATURE: signature}


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: int,
    tolerance_s: int = TOLERANCE_S,
) -> None:
    """Return if one signature matches one secret, else raise SignatureInvalid.

    Header names are read in any case. Whatever the sender wrote ends in SignatureInvalid; only a bad secret of
    ours, or none, raises ValueError.
    """
    keys = [verifying_key(secret) for secret in secrets]
    if not keys:
        raise ValueError("no secret to verify with: give at least one, whsec_, whsk_ or whpk_")
    found = {name.lower(): value for name, value in headers.items()}
    message_id = _message_id(found)
    timestamp = _timestamp(found, now_s=now_s, tolerance_s=tolerance_s)
    offered = _offered(found, {key.version for key in keys})
    content = _content(message_id, timestamp, body)
    matches = False
    for key in keys:
        for version, signature in offered:
            matches |= version == key.version and key.matches(content, signature)
    if not matches:
        raise SignatureInvalid(SignatureFault.MISMATCH)


def _content(message_id: str, timestamp: str, body: bytes) -> bytes:
    return b"%s.%s.%s" % (message_id.encode(), timestamp.encode(), body)


def _is_message_id(text: str) -> bool:
    return bool(text) and "." not in text and text.isascii() and text.isprintable() and " " not in text


def _message_id(headers: Mapping[str, str]) -> str:
    message_id = headers.get(HEADER_ID)
    if not message_id:
        raise SignatureInvalid(SignatureFault.NO_ID)
    if not _is_message_id(message_id):
        raise SignatureInvalid(SignatureFault.BAD_ID)
    return message_id


def _timestamp(headers: Mapping[str, str], *, now_s: int, tolerance_s: int) -> str:
    """Give the header's own text: the sender signed it as written."""
    text = headers.get(HEADER_TIMESTAMP)
    if not text:
        raise SignatureInvalid(SignatureFault.NO_TIMESTAMP)
    if not (text.isascii() and text.isdecimal() and len(text) <= TIMESTAMP_CHARS_MAX):
        raise SignatureInvalid(SignatureFault.BAD_TIMESTAMP)
    age_s = now_s - int(text)
    if age_s > tolerance_s:
        raise SignatureInvalid(SignatureFault.TOO_OLD)
    if age_s < -tolerance_s:
        raise SignatureInvalid(SignatureFault.TOO_NEW)
    return text


def _offered(headers: Mapping[str, str], versions: AbstractSet[str]) -> list[tuple[str, str]]:
    """Give what is signed in one of `versions`, as version and signature."""
    text = headers.get(HEADER_SIGNATURE)
    if not text:
        raise SignatureInvalid(SignatureFault.NO_SIGNATURE)
    listed = [one.partition(",") for one in text.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]]
    known = [(version, signature) for version, comma, signature in listed if comma and version in versions]
    if not known:
        raise SignatureInvalid(SignatureFault.NO_KNOWN_VERSION)
    return known
