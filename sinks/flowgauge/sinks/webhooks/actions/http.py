"""A request over HTTP, to whatever takes one: a runbook's robot, a deployment tool, a ticket system.

Each request has `idempotency-key`, the same for every attempt at one delivery: who knows it does nothing twice.
Source: the Idempotency-Key header as the IETF's draft has it.
"""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from flowgauge.schemas.setting_parts import SecretFromEnv, SecretFromFile, SecretRef
from flowgauge.sinks.webhooks.actions.action_kind import ActionKind, json_bytes, judge_call
from flowgauge.sinks.webhooks.actions.templates import TemplateJson, render_json, values_of
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice, Url, UrlRef, endpoint_of
from flowgauge.sinks.webhooks.message import message_body
from flowgauge.sinks.webhooks.schedule import Verdict

HEADERS_MAX = 20
IDEMPOTENCY_KEY = "idempotency-key"
_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
_HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"


def _header_value(value: str | SecretRef) -> str | SecretRef:
    if isinstance(value, str) and not (value.isprintable() and value.isascii()):
        raise ValueError("a header's value is one line of ASCII")
    return value


HeaderName = Annotated[str, Field(pattern=_HEADER_NAME)]
HeaderValue = Annotated[str | SecretFromEnv | SecretFromFile, AfterValidator(_header_value)]


class HttpCall(ActionKind):
    """A request over HTTP."""

    url: Annotated[Url, Field(description="https://HOST/PATH.")]
    method: Annotated[Literal["DELETE", "GET", "PATCH", "POST", "PUT"], Field(description="What the request is.")] = (
        "POST"
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default={}, max_length=HEADERS_MAX, description="Texts by name; one that is secret says where it stands."
    )
    body: Annotated[
        TemplateJson, Field(description="JSON whose texts are templates; none: the message of a webhook.")
    ] = None

    @property
    def endpoint(self) -> str:
        """The URL."""
        return endpoint_of(self.url)

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """The one."""
        return {"url": self.url}

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The headers that stand elsewhere."""
        return {f"headers.{name}": value for name, value in self.headers.items() if not isinstance(value, str)}

    @model_validator(mode="after")
    def _has_no_body_that_is_not_sent(self) -> "HttpCall":
        if self.body is not None and self.method not in _WITH_BODY:
            raise ValueError(f"`body` says nothing here: a {self.method} has none")
        return self

    def shown(self, notice: Notice) -> str:
        """Return the method, where the URL is written its host, and the body."""
        host = urlsplit(self.url.get_secret_value()).hostname if isinstance(self.url, SecretStr) else None
        body = self._body(notice).decode()
        return f"{self.method} {host or 'the URL that stands elsewhere'}" + (f"\n{body}" if body else "")

    async def act(self, notice: Notice, means: Means, deadline_ms: int) -> Verdict:
        """Send the request."""
        body = self._body(notice)
        headers = {"content-type": "application/json"} if body else {}
        headers |= {name.lower(): self._header(value, means) for name, value in self.headers.items()}
        headers[IDEMPOTENCY_KEY] = notice.delivery_id
        answer = await means.egress.request(self.method, means.url(self.url), body, headers, deadline_ms=deadline_ms)
        return judge_call(answer, means)

    def _header(self, value: HeaderValue, means: Means) -> str:
        return value if isinstance(value, str) else means.secret(value)

    def _body(self, notice: Notice) -> bytes:
        if self.method not in _WITH_BODY:
            return b""
        if self.body is None:
            return message_body(notice.transition, public_url=notice.public_url)
        return json_bytes(render_json(self.body, values_of(notice)))
