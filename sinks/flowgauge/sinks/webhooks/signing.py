"""Standard Webhooks signatures: what a receiver needs to know that a message is ours, whole and recent.

The signature covers `id.timestamp.body` (raw bytes) with HMAC-SHA256 under a secret written `whsec_` + base64.
`webhook-signature` is a space-separated list of `version,signature`, so two secrets can be valid while one
replaces the other, and an unknown version is passed over. No secret is ever part of a message.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from enum import StrEnum

SECRET_PREFIX = "whsec_"  # noqa: S105 a prefix, the secret follows it
SECRET_BYTES_MIN = 24  # The bounds of Standard Webhooks.
SECRET_BYTES_MAX = 64
NEW_SECRET = f"make one: echo {SECRET_PREFIX}$(openssl rand -base64 32)"  # what to do about one that is none
TOLERANCE_S = 300  # How far a message's time may be from ours: five minutes, against replays.
SIGNATURES_MAX = 16  # More are not looked at: a rotation has two, and the header is the sender's to fill.
TIMESTAMP_CHARS_MAX = 12

HEADER_ID = "webhook-id"
HEADER_TIMESTAMP = "webhook-timestamp"
HEADER_SIGNATURE = "webhook-signature"

_VERSION = "v1"


class SignatureFault(StrEnum):
    """Why a message was not accepted."""

    NO_ID = "webhook-id is missing"
    BAD_ID = "webhook-id is malformed"
    NO_TIMESTAMP = "webhook-timestamp is missing"
    BAD_TIMESTAMP = "webhook-timestamp is not Unix seconds"
    TOO_OLD = "webhook-timestamp is too old"
    TOO_NEW = "webhook-timestamp is in the future"
    NO_SIGNATURE = "webhook-signature is missing"
    NO_KNOWN_VERSION = "webhook-signature has no v1 signature"
    MISMATCH = "no signature matches"


class SignatureInvalid(Exception):
    """The message cannot be trusted; `reason` says why."""

    def __init__(self, reason: SignatureFault) -> None:
        super().__init__(reason.value)
        self.reason = reason


def sign(secret: str, *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Give one signature, `v1,...`. Raises ValueError for a bad secret, id or time; sign at each attempt anew."""
    if not _is_message_id(message_id):
        raise ValueError("webhook-id: expected visible ASCII characters without '.'")
    if timestamp_s < 0:
        raise ValueError("webhook-timestamp: expected Unix seconds, not a negative number")
    return _signature(_key(secret), message_id, str(timestamp_s), body)


def signed_headers(secrets: Sequence[str], *, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Give the three headers, signed with every secret: during a rotation the old and the new one."""
    signatures = [sign(secret, message_id=message_id, timestamp_s=timestamp_s, body=body) for secret in secrets]
    return {
        HEADER_ID: message_id,
        HEADER_TIMESTAMP: str(timestamp_s),
        HEADER_SIGNATURE: " ".join(signatures),
    }


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: int,
    tolerance_s: int = TOLERANCE_S,
) -> None:
    """Return if one signature matches one secret, in constant time; else raise SignatureInvalid.

    Header names are read in any case. Whatever the sender wrote ends in SignatureInvalid; only a bad secret of
    ours, or none, raises ValueError.
    """
    keys = [_key(secret) for secret in secrets]
    if not keys:
        raise ValueError("no secret to verify with: give at least one whsec_ secret")
    found = {name.lower(): value for name, value in headers.items()}
    message_id = _message_id(found)
    timestamp = _timestamp(found, now_s=now_s, tolerance_s=tolerance_s)
    offered = _offered(found)
    matches = False
    for key in keys:
        expected = _signature(key, message_id, timestamp, body).encode()
        for signature in offered:
            matches |= hmac.compare_digest(expected, signature)
    if not matches:
        raise SignatureInvalid(SignatureFault.MISMATCH)


def new_secret(random_bytes: bytes) -> str:
    """Write 24 to 64 random bytes (the caller's `secrets.token_bytes`) as a secret."""
    _check_length(random_bytes)
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def check_secret(secret: str) -> None:
    """Raise ValueError, with the remedy and without the secret, unless it is one."""
    _key(secret)


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = b"%s.%s.%s" % (message_id.encode(), timestamp.encode(), body)
    return f"{_VERSION},{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def _key(secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        bytes_ = f"{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} random bytes"
        raise ValueError(f"webhook secret: expected {SECRET_PREFIX} and the base64 of {bytes_}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        # Not chained: the cause would carry a piece of the secret into a traceback.
        raise ValueError(f"webhook secret: what follows {SECRET_PREFIX} is not standard padded base64") from None
    _check_length(key)
    return key


def _check_length(key: bytes) -> None:
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(
            f"webhook secret: expected {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, got {len(key)};"
            " make a new one from random bytes"
        )


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


def _offered(headers: Mapping[str, str]) -> list[bytes]:
    text = headers.get(HEADER_SIGNATURE)
    if not text:
        raise SignatureInvalid(SignatureFault.NO_SIGNATURE)
    listed = text.split(" ")[:SIGNATURES_MAX]
    known = [one.encode("utf-8", "replace") for one in listed if one.startswith(f"{_VERSION},")]
    if not known:
        raise SignatureInvalid(SignatureFault.NO_KNOWN_VERSION)
    return known
