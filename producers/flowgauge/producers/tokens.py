"""Tokens: whose events a request brings in. Pure.

Only digests are kept, so neither memory nor a traceback holds a token, and looking one up takes the same time
whatever the wrong one has in common with a right one.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from flowgauge.schemas.event import DEFAULT_TENANT

AUTHORIZATION_CHARS_MAX = 8_192  # far above any token; longer ones are not even hashed

_SCHEME: Final = "bearer"


class TokenTable:
    """Token → tenant. With no tokens configured it is `open`: everybody is the tenant `default`."""

    __slots__ = ("_tenants", "open")

    def __init__(self, entries: Mapping[str, str] | None = None) -> None:
        self._tenants = {_digest(token): tenant for token, tenant in (entries or {}).items()}
        self.open = not self._tenants

    def __repr__(self) -> str:
        """Return how many tokens there are, and nothing of them."""
        return f"TokenTable({len(self._tenants)} tokens)"

    def tenant_of(self, authorization: str | None) -> str | None:
        """Return the tenant of an `Authorization: Bearer TOKEN` header's value; None when it is not let in."""
        if self.open:
            return DEFAULT_TENANT
        if authorization is None or len(authorization) > AUTHORIZATION_CHARS_MAX:
            return None
        scheme, _, token = authorization.partition(" ")
        return self._tenants.get(_digest(token.strip())) if scheme.lower() == _SCHEME else None


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
