"""What every kind of action has. A kind is the model of what stands under its name in YAML, and does it once.

    Notice ──► ActionKind.act(notice, means, deadline_ms) ──► Verdict       the other side's word, or a known failure
                                                         └─► OutcomeUnknown   it may have been done

`act` may raise EgressError, InvalidSettings and CannotRender too: `Action.tell` judges these the same for every kind.
"""

from abc import abstractmethod
from collections.abc import Mapping

import msgspec

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.sinks.webhooks.actions.templates import CannotRender
from flowgauge.sinks.webhooks.egress import Answer
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice, UrlRef, Written
from flowgauge.sinks.webhooks.schedule import Verdict, parse_retry_after_ms

REQUEST_BYTES_MAX = 20_000  # of what is sent: as much as a webhook may carry
TOO_LARGE = "what it would send is larger than 20 kB"


class OutcomeUnknown(Exception):  # no error: nobody knows
    """What was asked for may have been done; `verdict` is the failure, should it be repeated."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class ActionKind(Written):
    """How one thing is done."""

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """What fails together; it may hold a secret and is never shown."""

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """Every secret that stands elsewhere, by the field that names it."""
        return {}

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """Every address that is asked, by its field: it is checked before anything is sent."""
        return {}

    @abstractmethod
    def shown(self, notice: Notice) -> str:
        """Return what would be done, without a secret or an address, for people; raise CannotRender."""

    @abstractmethod
    async def act(self, notice: Notice, means: Means, deadline_ms: int) -> Verdict:
        """Do it once, within `deadline_ms`."""


def judge_call(answer: Answer, means: Means) -> Verdict:
    """Return what an answer to an action means: 2xx is done, 429 comes again, other 3xx and 4xx refuse for good.

    Raises OutcomeUnknown for the rest: a server that broke may have done it before.
    """
    if 200 <= answer.status < 300:
        return Verdict("delivered", "", answer.status, answer.elapsed_ms)
    if answer.status == 429:
        asked_ms = parse_retry_after_ms(answer.headers.get("retry-after", ""), means.now_ms())
        return Verdict("failed", "answered 429", answer.status, answer.elapsed_ms, asked_ms)
    if 300 <= answer.status < 500:
        return Verdict("dead", f"answered {answer.status}", answer.status, answer.elapsed_ms)
    raise OutcomeUnknown(Verdict("failed", f"answered {answer.status // 100}xx", answer.status, answer.elapsed_ms))


def json_bytes(value: object) -> bytes:
    """Return `value` as JSON of at most REQUEST_BYTES_MAX bytes; raise CannotRender."""
    encoded = msgspec.json.encode(value)
    if len(encoded) > REQUEST_BYTES_MAX:
        raise CannotRender(TOO_LARGE)
    return encoded
