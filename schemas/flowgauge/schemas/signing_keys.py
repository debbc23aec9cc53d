"""The keys of Standard Webhooks: how each is written, what it signs and what it verifies. Pure.

    whsec_   base64 of 24 to 64 random bytes                   signs and verifies `v1`, HMAC-SHA256
    whsk_    base64 of an ed25519 key and its public key       signs and verifies `v1a`
    whpk_    base64 of that public key, for receivers          verifies `v1a`

Of whsk_ the first half alone is taken too. No key is ever part of a message or of a repr.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SECRET_PREFIX = "whsec_"  # noqa: S105 a prefix, the secret follows it
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SECRET_BYTES_MIN = 24  # The bounds of Standard Webhooks.
SECRET_BYTES_MAX = 64
ED25519_BYTES = 32  # Of a seed, and of a public key.
NEW_SECRET = "make one: flowgauge webhooks keygen"  # noqa: S105 what to do about one that is none

_SECRET_FORM = f"{SECRET_PREFIX} and the base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} random bytes"


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """What both sides hold."""

    version = "v1"
    key: bytes = field(repr=False)

    def signature(self, content: bytes) -> str:
        """Sign, as base64."""
        return base64.b64encode(hmac.digest(self.key, content, hashlib.sha256)).decode()

    def matches(self, content: bytes, offered: str) -> bool:
        """Tell in constant time whether `offered` is this key's signature."""
        return hmac.compare_digest(self.signature(content).encode(), offered.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a receiver holds: it verifies and cannot sign."""

    version = "v1a"
    key: Ed25519PublicKey = field(repr=False)

    def matches(self, content: bytes, offered: str) -> bool:
        """Tell whether `offered` is a signature of this key's private half."""
        signature = _canonical_base64(offered)
        if signature is None:
            return False
        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class KeyPair:
    """What an ed25519 sender holds."""

    version = "v1a"
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The half for receivers."""
        return PublicKey(self.key.public_key())

    def signature(self, content: bytes) -> str:
        """Sign, as base64."""
        return base64.b64encode(self.key.sign(content)).decode()

    def matches(self, content: bytes, offered: str) -> bool:
        """Tell whether `offered` is this key's signature."""
        return self.public.matches(content, offered)


SigningKey = SharedSecret | KeyPair
VerifyingKey = SharedSecret | KeyPair | PublicKey


def signing_key(secret: str) -> SigningKey:
    """Read what signs. Raises ValueError, with the remedy and without the secret, for anything else."""
    if secret.startswith(SECRET_PREFIX):
        return SharedSecret(_checked_length(_decoded(secret, SECRET_PREFIX)))
    if secret.startswith(PRIVATE_PREFIX):
        return KeyPair(_private_key(_decoded(secret, PRIVATE_PREFIX)))
    if secret.startswith(PUBLIC_PREFIX):
        raise ValueError(
            f"webhook secret: {PUBLIC_PREFIX} is the public key, which only verifies; sign with its {PRIVATE_PREFIX}"
        )
    raise ValueError(f"webhook secret: expected {_SECRET_FORM}, or {PRIVATE_PREFIX} and that of an ed25519 key")


def verifying_key(secret: str) -> VerifyingKey:
    """Read what verifies: any key that signs, or a public one. Raises ValueError as `signing_key` does."""
    if not secret.startswith(PUBLIC_PREFIX):
        return signing_key(secret)
    key = _decoded(secret, PUBLIC_PREFIX)
    if len(key) != ED25519_BYTES:
        raise ValueError(f"webhook secret: expected {ED25519_BYTES} bytes after {PUBLIC_PREFIX}, got {len(key)}")
    return PublicKey(Ed25519PublicKey.from_public_bytes(key))


def new_secret(random_bytes: bytes) -> str:
    """Write 24 to 64 random bytes (the caller's `secrets.token_bytes`) as a secret."""
    return SECRET_PREFIX + base64.b64encode(_checked_length(random_bytes)).decode()


def new_private_key(random_bytes: bytes) -> str:
    """Write 32 random bytes as an ed25519 key that signs. Raises ValueError for another length."""
    if len(random_bytes) != ED25519_BYTES:
        raise ValueError(f"ed25519 key: expected {ED25519_BYTES} random bytes, got {len(random_bytes)}")
    public = Ed25519PrivateKey.from_private_bytes(random_bytes).public_key().public_bytes_raw()
    return PRIVATE_PREFIX + base64.b64encode(random_bytes + public).decode()


def public_key_of(secret: str) -> str:
    """Write the public half of an ed25519 key, for receivers. Raises ValueError where there is none."""
    match signing_key(secret):
        case KeyPair() as pair:
            return PUBLIC_PREFIX + base64.b64encode(pair.public.key.public_bytes_raw()).decode()
        case SharedSecret():
            raise ValueError(f"webhook secret: {SECRET_PREFIX} has no public key: both sides hold the same secret")


def _decoded(secret: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except ValueError:
        # Not chained: the cause would carry a piece of the secret into a traceback.
        raise ValueError(f"webhook secret: what follows {prefix} is not standard padded base64") from None


def _checked_length(key: bytes) -> bytes:
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(
            f"webhook secret: expected {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, got {len(key)};"
            " make a new one from random bytes"
        )
    return key


def _private_key(key: bytes) -> Ed25519PrivateKey:
    if len(key) not in {ED25519_BYTES, 2 * ED25519_BYTES}:
        lengths = f"{ED25519_BYTES} or {2 * ED25519_BYTES} bytes"
        raise ValueError(f"webhook secret: expected {lengths} after {PRIVATE_PREFIX}, got {len(key)}")
    private = Ed25519PrivateKey.from_private_bytes(key[:ED25519_BYTES])
    if len(key) > ED25519_BYTES and private.public_key().public_bytes_raw() != key[ED25519_BYTES:]:
        raise ValueError(f"webhook secret: the halves of what follows {PRIVATE_PREFIX} are of different keys")
    return private


def _canonical_base64(text: str) -> bytes | None:
    """Decode, or give None where encoding it again would give another text."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return decoded if base64.b64encode(decoded).decode() == text else None
