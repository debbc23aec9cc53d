"""The hooks that are open, each with its secrets, and who may use them. Pure.

    token              a token of flowgauge, as at the other doors
    github             X-Hub-Signature-256: sha256=HMAC of the body
    gitlab             X-Gitlab-Token: the secret itself
    standard_webhooks  webhook-id, -timestamp and -signature, at most five minutes old
    hmac_sha256        any header with the HMAC of the body in hex
    header             any header with the secret itself
    none               anybody

Secrets and signatures are compared in constant time.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from flowgauge.schemas.errors import InvalidRules, InvalidSettings, Problem
from flowgauge.schemas.event import DEFAULT_TENANT
from flowgauge.schemas.hook_file import Hook, HookFile, hooks_of
from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.signing import HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, SignatureInvalid, verify
from flowgauge.schemas.signing_keys import verifying_key
from flowgauge.schemas.yaml_places import Document

_HMAC: Final = {"github": ("x-hub-signature-256", "sha256=")}
_PLAIN: Final = {"gitlab": ("x-gitlab-token", "")}


@dataclass(frozen=True, slots=True)
class OpenHook:
    """A hook with its secrets. Neither is part of what is logged."""

    hook: Hook
    secrets: Sequence[str] = field(default=(), repr=False)

    def missing(self, headers: Mapping[str, str]) -> str:
        """Return which header is missing, whatever the body is; empty where none is."""
        absent = next((name for name in self._headers() if name not in headers), None)
        return f"the header {absent} is missing" if absent else ""

    def _headers(self) -> Sequence[str]:
        by = self.hook.verify.by
        if by == "standard_webhooks":
            return HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE
        if by in ("hmac_sha256", "header"):
            return ((self.hook.verify.header or "").lower(),)
        known = _HMAC.get(by) or _PLAIN.get(by)
        return (known[0],) if known else ()

    def fault_of(self, headers: Mapping[str, str], body: bytes, *, now_ms: int) -> str:
        """Return why who sent this is not known; empty where it is. Headers are by their names in small letters."""
        by = self.hook.verify.by
        if by == "standard_webhooks":
            try:
                verify(self.secrets, headers, body, now_s=now_ms // 1000)
            except SignatureInvalid as invalid:
                return str(invalid)
            return ""
        own = ((self.hook.verify.header or "").lower(), self.hook.verify.prefix)
        if by in ("github", "hmac_sha256"):
            header, prefix = _HMAC.get(by, own)
            digests = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in self.secrets]
            return _fault(header, _lower_digest(headers.get(header), prefix), [prefix + digest for digest in digests])
        if by in ("gitlab", "header"):
            header, prefix = _PLAIN.get(by, own)
            return _fault(header, headers.get(header), [prefix + secret for secret in self.secrets])
        return ""


@dataclass(frozen=True, slots=True)
class HookBook:
    """All hooks of a file, by name."""

    hooks: Mapping[str, OpenHook] = field(default_factory=dict[str, OpenHook])

    def of(self, name: str) -> OpenHook | None:
        """Return the hook of this name, None where there is none."""
        return self.hooks.get(name)


def hook_book(document: Document, secret_of: Callable[[SecretRef], str], tenants: AbstractSet[str]) -> HookBook:
    """Return the hooks of `document`; raise InvalidRules with every mistake.

    Mistakes too are a secret that cannot be had, and a tenant that is none of `tenants`, or of no tenants `default`.
    """
    written = hooks_of(document)
    problems: list[Problem] = []
    opened: dict[str, OpenHook] = {}
    for index, hook in enumerate(written.hooks):
        secrets: list[str] = []
        for reference in hook.verify.secrets:
            try:
                secrets.append(_usable(hook, secret_of(reference)))
            except (InvalidSettings, ValueError) as error:
                problems.append(document.problem(("hooks", index, "verify", "secret"), str(error)))
        opened[hook.name] = OpenHook(hook, secrets)
    problems += _strangers(document, written, tenants or {DEFAULT_TENANT})
    if problems:
        raise InvalidRules(tuple(problems))
    return HookBook(opened)


def _usable(hook: Hook, secret: str) -> str:
    if hook.verify.by == "standard_webhooks":
        verifying_key(secret)  # raises ValueError for what is none
    return secret


def _strangers(document: Document, written: HookFile, tenants: AbstractSet[str]) -> list[Problem]:
    remedy = f"known are: {', '.join(sorted(tenants))}"
    return [
        document.problem(("hooks", index, "tenant"), f"no tenant is called {hook.tenant}", remedy)
        for index, hook in enumerate(written.hooks)
        if hook.tenant is not None and hook.tenant not in tenants
    ]


def _lower_digest(got: str | None, prefix: str) -> str | None:
    """Return a header's value with its digits in small letters: some senders write hex in capital ones."""
    return got and got[: len(prefix)] + got[len(prefix) :].lower()


def _fault(header: str, got: str | None, expected: Sequence[str]) -> str:
    """Compare with each, whichever fits: the time tells nothing."""
    if got is None:
        return f"the header {header} is missing"
    given = got.encode("latin-1")  # as HTTP's headers are read, which are bytes
    fits = [hmac.compare_digest(given, each.encode()) for each in expected]
    return "" if any(fits) else f"the header {header} does not fit the secret"
