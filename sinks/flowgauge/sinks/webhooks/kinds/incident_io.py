"""incident.io, by an HTTP alert source: an incident is one alert there.

Source: incident.io's API reference, "Alert Events V2". An alert is known by its deduplication key; a body is 512 kB at
most. 400, 413 and 422 say that the event will never be taken, all else is tried again.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import Field

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.sinks.webhooks.kinds.authorization import bearer, header_fault
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
from flowgauge.sinks.webhooks.message import Incident, incident_of
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict

TITLE_CHARS_MAX = 500  # ours: what a list of alerts shows
DESCRIPTION_CHARS_MAX = 20_000  # ours
BODY_BYTES_MAX = 512 * 1_024
REFUSED = frozenset({400, 413, 422})

_encode = msgspec.json.Encoder().encode


class _AlertEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    title: str
    description: str
    deduplication_key: str
    status: Literal["firing", "resolved"]
    metadata: Incident
    source_url: str = ""


class IncidentIo(AtOneUrl):
    """An HTTP alert source of incident.io."""

    retry: ClassVar[RetryClass] = "page"

    url: Annotated[Url, Field(description="That of the alert source.")]
    token: Annotated[Secret, Field(description="Where its token stands, never the token itself.")]

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The token."""
        return {"token": self.token}

    def secret_fault(self, name: str, secret: str) -> tuple[str, str] | None:  # noqa: ARG002  # there is one
        """Return why `secret` can be no token."""
        return header_fault(secret)

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Tell that the alert fires, or is resolved."""
        headers = {"content-type": "application/json", **bearer(means.secret(self.token))}
        answer = await means.egress.post(means.url(self.url), alert_event(notice), headers, deadline_ms=ATTEMPT_MS_MAX)
        return judge(answer, means, permanent=REFUSED)


def alert_event(notice: Notice) -> bytes:
    """Return the body, the same for every attempt: at most BODY_BYTES_MAX bytes."""
    incident = incident_of(notice.transition, notice.public_url)
    return _encode(
        _AlertEvent(
            title=incident.summary[:TITLE_CHARS_MAX],
            description=str(plain_text(notice))[:DESCRIPTION_CHARS_MAX],
            deduplication_key=incident.incident_id,
            status="resolved" if incident.state == "resolved" else "firing",
            metadata=incident,
            source_url=incident.link or "",
        )
    )
