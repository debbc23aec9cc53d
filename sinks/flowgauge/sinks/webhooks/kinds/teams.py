"""Microsoft Teams, by a workflow that posts what it is sent: a card for each incident, or one for a storm of them.

The workflow is made of the template "Send webhook alerts to a channel" (or to a chat). It answers 202 as soon as it
has taken a card, and cannot change one that it posted. Its errors are JSON with a code; other pages are of something
in between, and pass.
"""

from typing import Annotated, ClassVar

import msgspec
from pydantic import Field

from flowgauge.sinks.webhooks.egress import Answer
from flowgauge.sinks.webhooks.kinds.kind import (
    ATTEMPT_MS_MAX,
    AtOneUrl,
    Means,
    Notice,
    Url,
    judge,
)
from flowgauge.sinks.webhooks.kinds.teams_card import teams_message
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict

NO_ANSWER = "answered with a page, not as a workflow does"
TURNED_OFF = "the workflow is turned off: turn it on in Teams, under Workflows"
DELETED = "the workflow was deleted: make a new one and change `url`"
NOT_LET_IN = "the workflow does not let us in: let anyone trigger it, and copy its URL again"
_PERMANENT = frozenset({400, 413})  # the message itself is refused


class Teams(AtOneUrl):
    """A Teams channel or chat, by a workflow."""

    retry: ClassVar[RetryClass] = "chat"
    takes_groups: ClassVar[bool] = True

    url: Annotated[Url, Field(description="The URL of the workflow.")]

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Post the card."""
        headers = {"content-type": "application/json"}
        url = means.url(self.url)
        answer = await means.egress.post(url, teams_message(notice), headers, deadline_ms=ATTEMPT_MS_MAX)
        return judge_workflow(answer, means)


class _Error(msgspec.Struct, frozen=True):
    code: str


class _Refusal(msgspec.Struct, frozen=True):
    """What we read of an error of a workflow."""

    error: _Error


_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def judge_workflow(answer: Answer, means: Means) -> Verdict:
    """Return what an answer means: 2xx is success unless it is a page, a code of the workflow's own tells the rest."""
    if 200 <= answer.status < 300 and answer.body.lstrip().startswith(b"<"):
        return Verdict("failed", NO_ANSWER, answer.status, answer.elapsed_ms)
    match answer.status, _code_in(answer.body):
        case 400, "WorkflowTriggerIsNotEnabled":
            return Verdict("dead", TURNED_OFF, answer.status, answer.elapsed_ms)
        case ((401 | 403), str()):
            return Verdict("dead", NOT_LET_IN, answer.status, answer.elapsed_ms)
        case 404, str():
            return Verdict("dead", DELETED, answer.status, answer.elapsed_ms, is_gone=True)
        case _:
            return judge(answer, means, permanent=_PERMANENT)


def _code_in(body: bytes) -> str | None:
    """Return the code of a workflow's error, None where there is none."""
    try:
        return _decode_refusal(body).error.code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
