"""A signed webhook, as Standard Webhooks describes them: any program can take it.

Source: the Standard Webhooks specification 1.0.0. Only 2xx is success; 410 says that the endpoint wants no more.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.signing_keys import NEW_SECRET, signing_key
from flowgauge.sinks.webhooks.kinds.kind import (
    ATTEMPT_MS_MAX,
    AtOneUrl,
    Means,
    Notice,
    Secret,
    Url,
    judge,
)
from flowgauge.sinks.webhooks.message import message_body, message_headers
from flowgauge.sinks.webhooks.schedule import Verdict

REPLAY_HEADER = "flowgauge-replay"


class Webhook(AtOneUrl):
    """An endpoint that takes Standard Webhooks."""

    has_details: ClassVar[bool] = False  # its body is the same in every attempt

    url: Annotated[Url, Field(description="https://HOST/PATH.")]
    secret: Annotated[Secret, Field(description="Where the signing secret stands, never the secret itself.")]
    previous_secret: Annotated[
        Secret | None, Field(description="The one before, while the receiver changes over: both sign.")
    ] = None

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """Every secret that signs, the present one first."""
        named = {"secret": self.secret, "previous_secret": self.previous_secret}
        return {name: ref for name, ref in named.items() if ref is not None}

    def secret_fault(self, name: str, secret: str) -> tuple[str, str] | None:  # noqa: ARG002  # both sign
        """Return why `secret` cannot sign."""
        try:
            signing_key(secret)
        except ValueError as error:
            return f"no webhook secret: {str(error).removeprefix('webhook secret: ')}", NEW_SECRET
        return None

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Post the signed message."""
        body = message_body(notice.transition, public_url=notice.public_url)
        secrets = [means.secret(ref) for ref in self.secret_refs.values()]
        headers = message_headers(secrets, delivery_id=notice.delivery_id, now_ms=means.now_ms(), body=body)
        if notice.is_replay:
            headers[REPLAY_HEADER] = "1"
        answer = await means.egress.post(means.url(self.url), body, headers, deadline_ms=ATTEMPT_MS_MAX)
        return judge(answer, means)
