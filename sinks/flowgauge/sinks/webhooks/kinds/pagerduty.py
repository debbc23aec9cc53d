"""PagerDuty, by its Events API v2: an incident is one alert there, opened by its firing and closed by its resolve.

Source: PagerDuty's developer documentation, "Events API v2". 202 is success, 400 says that the event will never be
taken, all else is tried again. A resolve without an open alert under its key is dropped, so the key is the incident's
id: a resolve that comes late cannot close what opened since.
"""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import AfterValidator, Field, SecretStr

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.webhooks.kinds.kind import (
    ATTEMPT_MS_MAX,
    ChannelKind,
    Means,
    Notice,
    Secret,
    UrlRef,
    judge,
    url_fault,
)
from flowgauge.sinks.webhooks.message import Incident, incident_of
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict

API_URL = "https://events.pagerduty.com/v2/enqueue"
SUMMARY_CHARS_MAX = 1_024
FIELD_CHARS_MAX = 255  # of the other texts: what a list shows
BODY_BYTES_MAX = 512 * 1_024
DETAILS_MAX = 50  # lines
DETAIL_CHARS_MAX = 1_000  # of one: with 50 of them in any script, the body stays below its bound

Severity = Literal["critical", "error", "warning", "info"]
SEVERITIES: Mapping[str, Severity] = {
    "critical": "critical", "error": "error", "warning": "warning", "info": "info",
}  # fmt: skip
SEVERITY_UNKNOWN: Severity = "warning"  # the rules' own default

_KEY = re.compile(r"[0-9A-Za-z]{32}")
_encode = msgspec.json.Encoder().encode


class _Details(Incident, frozen=True, kw_only=True):
    details: list[str]


class _Payload(msgspec.Struct, frozen=True, kw_only=True, rename={"rule": "class"}):
    summary: str
    source: str
    severity: Severity
    timestamp: str
    rule: str
    group: str
    custom_details: _Details


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    routing_key: str
    event_action: Literal["trigger", "resolve"]
    dedup_key: str
    payload: _Payload
    client: str
    client_url: str = ""
    links: list[dict[str, str]] = []


def _url(text: str) -> str:
    if fault := url_fault(text):
        raise ValueError(fault[0])
    return text


class PagerDuty(ChannelKind):
    """A service or an event orchestration of PagerDuty."""

    retry: ClassVar[RetryClass] = "page"

    routing_key: Annotated[Secret, Field(description="Where the integration key stands, never the key itself.")]
    severity: dict[Literal["info", "warning", "error", "critical"], Severity] = Field(
        default={}, description="What PagerDuty is told instead of a rule's severity."
    )
    api_url: Annotated[str, AfterValidator(_url)] = Field(
        default=API_URL, description="Where to: another one for accounts in the EU."
    )

    @property
    def endpoint(self) -> str:
        """The key: what fails for one service need not fail for another."""
        return f"{self.api_url} {self.routing_key!r}"

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """The API."""
        return {"api_url": SecretStr(self.api_url)}

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The integration key."""
        return {"routing_key": self.routing_key}

    def secret_fault(self, name: str, secret: str) -> tuple[str, str] | None:  # noqa: ARG002  # there is one
        """Return why `secret` is no integration key."""
        if _KEY.fullmatch(secret):
            return None
        return (
            "no PagerDuty integration key: expected 32 letters and digits",
            "take it from an Events API v2 integration",
        )

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Trigger the alert of the incident, or resolve it."""
        severities: dict[str, Severity] = {**SEVERITIES, **{str(each): told for each, told in self.severity.items()}}
        severity = severities.get(notice.transition.severity, SEVERITY_UNKNOWN)
        body = event_body(notice, means.secret(self.routing_key), severity=severity)
        headers = {"content-type": "application/json"}
        answer = await means.egress.post(self.api_url, body, headers, deadline_ms=ATTEMPT_MS_MAX)
        return judge(answer, means, permanent=frozenset({400}))


def event_body(notice: Notice, routing_key: str, *, severity: Severity) -> bytes:
    """Return the event, the same for every attempt: at most BODY_BYTES_MAX bytes."""
    transition = notice.transition
    incident = incident_of(transition, notice.public_url)
    links = {"Incident": incident.link, "Runbook": incident.runbook}
    event = _Event(
        routing_key=routing_key,
        event_action="resolve" if transition.to_state == "resolved" else "trigger",
        dedup_key=transition.incident_id,
        payload=_Payload(
            summary=incident.summary[:SUMMARY_CHARS_MAX],
            source=(", ".join(transition.key.values()) or transition.rule)[:FIELD_CHARS_MAX],
            severity=severity,
            timestamp=rfc3339(transition.at_ms),
            rule=transition.rule[:FIELD_CHARS_MAX],
            group=transition.tenant[:FIELD_CHARS_MAX],
            custom_details=_Details(
                **msgspec.structs.asdict(incident),
                details=[line[:DETAIL_CHARS_MAX] for line in notice.details[:DETAILS_MAX]],
            ),
        ),
        client="flowgauge",
        client_url=incident.link or "",
        links=[{"href": href, "text": text} for text, href in links.items() if href],
    )
    return _encode(event)
