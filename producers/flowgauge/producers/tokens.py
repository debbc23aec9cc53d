"""Tokens: whose events a request brings in. Pure.

Only digests are kept, so neither memory nor a traceback holds a token, and looking one up takes the same time
whatever the wrong one has in common with a right one.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from flowgauge.schemas.event import DEFAULT_TENANT

AUTHORIZATION_CHARS_MAX = 8_192  # far above any token; longer ones are not even hashed

_SCHEME: Final = "bearer"


class Sender(NamedTuple):
    """Who sends: the tenant, and by which of its tokens, told by its digest."""

    tenant: str
    token: bytes


class TokenTable:
    """Token → tenant. With no tokens configured it is `open`: everybody is the tenant `default`."""

    __slots__ = ("_tenants", "open")

    def __init__(self, entries: Mapping[str, str] | None = None) -> None:
        self._tenants = _digested(entries or {})
        self.open = not self._tenants

    def __repr__(self) -> str:
        """Return how many tokens there are, and nothing of them."""
        return f"TokenTable({len(self._tenants)} tokens)"

    def replace(self, entries: Mapping[str, str]) -> bool:
        """Let in who has one of these tokens from now on, and nobody else; return whether anything is different.

        Raises ValueError where that would open the table to everybody, or close an open one.
        """
        if self.open == bool(entries):
            raise ValueError("tokens come and go, but whether any are asked for is said at the start")
        tenants = _digested(entries)
        is_other = tenants != self._tenants
        self._tenants = tenants
        return is_other

    def tenant_of(self, authorization: str | None) -> str | None:
        """Return the tenant of an `Authorization: Bearer TOKEN` header's value; None when it is not let in."""
        sender = self.sender_of(authorization)
        return sender.tenant if sender else None

    def sender_of(self, authorization: str | None) -> Sender | None:
        """Return whose token it is, and which, as `tenant_of` does."""
        if self.open:
            return Sender(DEFAULT_TENANT, b"")
        if authorization is None or len(authorization) > AUTHORIZATION_CHARS_MAX:
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != _SCHEME:
            return None
        digest = _digest(token.strip())
        tenant = self._tenants.get(digest)
        return None if tenant is None else Sender(tenant, digest)

    def knows(self, sender: Sender) -> bool:
        """Return whether a sender that was let in would still be."""
        return self.open or self._tenants.get(sender.token) == sender.tenant


def _digested(entries: Mapping[str, str]) -> dict[bytes, str]:
    return {_digest(token): tenant for token, tenant in entries.items()}


def basic_text(authorization: str) -> str | None:
    """Return `NAME:PASSWORD` of an HTTP Basic header's value, "" where it cannot be read; None for another scheme."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
