"""Alertmanager, by its v2 API, for those who route, group and silence there: an incident is one alert.

Source: Alertmanager's OpenAPI description and types. An alert *is* its labels: one label that changes makes another
alert, and leaves the first one firing. So the labels of the opening are kept with the delivery (`reference`) and told
again, whatever became of the rule; the incident's id is one of them, so that no late end closes what opened since.

    firing     startsAt ├──────────────────────────────────────────── … FIRING_MS from now: it fires until it is told
    one event  startsAt ├───────┤ MOMENT_MS from now: long enough to be grouped and told, there is no end to wait for
    resolved   startsAt ├───────────┤ endsAt, in the past by any clock: an end to come would leave the far one in force

Without an end Alertmanager would resolve after its `resolve_timeout` what it does not hear again. We say a thing once,
so we say an end that is far away.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, model_validator

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.kinds.authorization import basic, bearer, header_fault
from flowgauge.sinks.webhooks.kinds.kind import (
    ATTEMPT_MS_MAX,
    AtOneUrl,
    Means,
    Notice,
    Secret,
    Url,
    judge,
)
from flowgauge.sinks.webhooks.kinds.plain_text import plain_text
from flowgauge.sinks.webhooks.kinds.wording import cut, plain
from flowgauge.sinks.webhooks.message import incident_of
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict
from flowgauge.sinks.webhooks.telling import is_immediate

ALERTS_PATH = "/api/v2/alerts"
FIRING_MS = 365 * 24 * 3_600_000
MOMENT_MS = 5 * 60_000
SKEW_MS = 60_000  # by which Alertmanager's clock may be behind ours
LABEL_CHARS_MAX = 200
LABELS_CHARS_MAX = 2_000  # of those that come from the key and the rule, names and all: they are kept per delivery
DESCRIPTION_CHARS_MAX = 20_000

_Labels = dict[str, str]
_encode = msgspec.json.Encoder().encode
_decode_labels = msgspec.json.Decoder(_Labels).decode


class _Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    labels: _Labels
    annotations: _Labels
    starts_at: str
    ends_at: str
    generator_url: str = msgspec.field(default="", name="generatorURL")


class Alertmanager(AtOneUrl):
    """An Alertmanager."""

    retry: ClassVar[RetryClass] = "page"

    url: Annotated[Url, Field(description="Where it answers, without /api/v2/alerts.")]
    user: Annotated[str, Field(max_length=255, pattern=r"^[^:\x00-\x1f]*$", description="Of basic authentication.")] = (
        ""
    )
    password: Annotated[Secret | None, Field(description="Where the user's password stands.")] = None
    token: Annotated[Secret | None, Field(description="Where a bearer token stands, instead of a user.")] = None

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The password or the token, where there is one."""
        named = {"password": self.password, "token": self.token}
        return {name: ref for name, ref in named.items() if ref is not None}

    def secret_fault(self, name: str, secret: str) -> tuple[str, str] | None:
        """Return why `secret` can be no token."""
        return header_fault(secret) if name == "token" else None

    @model_validator(mode="after")
    def _is_known_by_one_thing(self) -> "Alertmanager":
        if bool(self.user) != (self.password is not None):
            raise ValueError("expected user and password together, or neither")
        if self.user and self.token is not None:
            raise ValueError("expected a user with a password, or a token, not both")
        return self

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Post the alert as it is now."""
        labels = told_labels(notice)
        body = alerts_body(notice, labels, now_ms=means.now_ms())
        headers = {"content-type": "application/json", **self._authorization(means)}
        answer = await means.egress.post(alerts_url(means.url(self.url)), body, headers, deadline_ms=ATTEMPT_MS_MAX)
        verdict = judge(answer, means, permanent=frozenset({400}))
        return replace(verdict, reference=_encode(labels).decode()) if verdict.outcome == "delivered" else verdict

    def _authorization(self, means: Means) -> dict[str, str]:
        if self.password is not None:
            return basic(self.user, means.secret(self.password))
        return bearer(means.secret(self.token)) if self.token is not None else {}


def alerts_url(base: str) -> str:
    """Return where alerts are posted to below `base`."""
    parts = urlsplit(base)
    return parts._replace(path=parts.path.rstrip("/") + ALERTS_PATH, fragment="").geturl()


def told_labels(notice: Notice) -> dict[str, str]:
    """Return the labels that the incident's alert has there: those of its opening, if it was told."""
    try:
        return _decode_labels(notice.reference) or labels_of(notice.transition)
    except msgspec.DecodeError:
        return labels_of(notice.transition)


def labels_of(transition: Transition) -> dict[str, str]:
    """Return the labels of an incident, with names that every Alertmanager takes; ours, the key and the rule's."""
    labels = {
        "alertname": transition.rule,
        "incident_id": transition.incident_id,
        "severity": plain(transition.severity),
        "tenant": transition.tenant,
    }
    room = LABELS_CHARS_MAX
    for name, text in (*_named(transition.key), *_named(transition.labels)):
        room -= len(name) + len(text)
        if room < 0:
            break
        labels.setdefault(name, text)
    return {name: text for name, text in labels.items() if text}


def alerts_body(notice: Notice, labels: Mapping[str, str], *, now_ms: int) -> bytes:
    """Return the body that tells of the incident's alert as of `now_ms`."""
    transition = notice.transition
    incident = incident_of(transition, notice.public_url)
    annotations = {
        "summary": incident.summary,
        "description": str(plain_text(notice))[:DESCRIPTION_CHARS_MAX],
        "state": incident.state,
        "runbook_url": transition.runbook,
    }
    start_ms, end_ms = _span_ms(transition, now_ms)
    alert = _Alert(
        labels=dict(labels),
        annotations={name: text for name, text in annotations.items() if text},
        starts_at=rfc3339(start_ms),
        ends_at=rfc3339(end_ms),
        generator_url=incident.link or "",
    )
    return _encode([alert])


def _named(mapping: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the entries under names of letters, digits and underscores; `__` is for Prometheus' own."""
    for name, text in mapping.items():
        written = re.sub(r"[^A-Za-z0-9_]", "_", name)[:LABEL_CHARS_MAX]
        written = f"_{written}" if written[:1].isdigit() else re.sub("^__+", "_", written)
        if written:
            yield written, cut(plain(text), LABEL_CHARS_MAX)


def _span_ms(transition: Transition, now_ms: int) -> tuple[int, int]:
    """Return start and end, in this order by any clock; the module's docstring draws them."""
    if transition.to_state == "resolved":
        end_ms = max(0, min(transition.at_ms, now_ms - SKEW_MS))
        return min(transition.opened_at_ms, end_ms), end_ms
    lasts_ms = MOMENT_MS if is_immediate(transition) else FIRING_MS
    return transition.opened_at_ms, max(now_ms, transition.opened_at_ms) + lasts_ms
