"""Actions: what rules may run, as the operator writes it in YAML under `actions:`. A rule can only name what is here.

    actions:
      - name: restart-worker           # what a rule's `actions:` names
        tenant: acme                   # default "*": whose incidents may run it
        http:
          url: https://robot.acme.example/restart
          headers: {authorization: {env: ROBOT_TOKEN}}
          body: {flow: "{{ flow }}"}
        limit: {count: 3, per: 1h}     # for each rule; what is beyond is refused

Told like a channel (kinds.kind), with one difference: an attempt that may have reached the other side is only repeated
where the action is `idempotent`. What a limit, a loop or the kill switch refuses is decided before, in `guard`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, cast

from pydantic import AfterValidator, Field, model_validator

from flowgauge.schemas.errors import Problem
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.rule import ACTION_NAME_MAX
from flowgauge.schemas.setting_parts import Duration, SecretRef
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import parse_duration_ms
from flowgauge.schemas.yaml_places import Document, read_yaml
from flowgauge.sinks.webhooks.actions import KINDS
from flowgauge.sinks.webhooks.actions.action_kind import ActionKind, OutcomeUnknown
from flowgauge.sinks.webhooks.actions.command import Command
from flowgauge.sinks.webhooks.actions.http import HttpCall
from flowgauge.sinks.webhooks.actions.prefect import PrefectCall
from flowgauge.sinks.webhooks.actions.templates import CannotRender
from flowgauge.sinks.webhooks.egress import AddressRefused, EgressFailed, Failure
from flowgauge.sinks.webhooks.entries import read_entries
from flowgauge.sinks.webhooks.kinds.kind import ChannelKind, Means, Notice, UrlRef, Written
from flowgauge.sinks.webhooks.policy import LinePolicy
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict
from flowgauge.sinks.webhooks.telling import UNKNOWN_OUTCOME
from flowgauge.transport.yaml_files import read_documents

ACTIONS_MAX = 1_000  # all files together
TIMEOUT_MS_MAX = 60_000
SECRETS_MS_MAX = 5_000  # to read them before an attempt, and to end what a deadline cut
LIMIT_COUNT_MAX = 1_000  # the guard remembers so many of each rule
LIMIT_MS_MAX = 31 * 86_400_000
DRY_RUN = "dry run"
_NOT_REACHED: Final = frozenset({Failure.CONNECT, Failure.DNS, Failure.TLS})  # nothing of the request was sent


def _timeout(text: str) -> str:
    if parse_duration_ms(text) > TIMEOUT_MS_MAX:
        raise ValueError(f"expected at most {TIMEOUT_MS_MAX // 1000}s, got {text}")
    return text


def _span(text: str) -> str:
    if parse_duration_ms(text) > LIMIT_MS_MAX:
        raise ValueError(f"expected at most 31d, got {text}")
    return text


class Limit(Written):
    """How often one rule may run an action."""

    count: Annotated[int, Field(ge=1, le=LIMIT_COUNT_MAX, description="At most so many incidents' worth.")] = 10
    per: Annotated[Duration, AfterValidator(_span), Field(description="In any span of this length.")] = "1h"

    @property
    def per_ms(self) -> int:
        """`per` in ms."""
        return parse_duration_ms(self.per)

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{{count: {self.count}, per: {self.per}}}"


class Action(ChannelKind):
    """One named thing that rules may run; the outbox tells it like a channel."""

    retry: ClassVar[RetryClass] = "chat"  # hours late it is no help any more
    has_details: ClassVar[bool] = False

    name: Annotated[str, Field(min_length=1, max_length=ACTION_NAME_MAX, description="What a rule's actions say.")]
    tenant: Annotated[
        str, Field(min_length=1, max_length=NAME_MAX, description="Whose incidents may run it; *: everybody's.")
    ] = ANY_TENANT
    http: Annotated[HttpCall | None, Field(description="A request over HTTP.")] = None
    prefect: Annotated[PrefectCall | None, Field(description="A deed of a Prefect server.")] = None
    command: Annotated[Command | None, Field(description="A program on the host, if the settings list it.")] = None
    idempotent: Annotated[
        bool, Field(description="Doing it twice does no harm: it is repeated when nobody knows whether it was done.")
    ] = False
    follows_actions: Annotated[
        bool, Field(description="What actions did may set it off too, a few times in a row.")
    ] = False
    dry_run: Annotated[bool, Field(description="Everything but the deed itself.")] = False
    timeout: Annotated[Duration, AfterValidator(_timeout), Field(description="How long it may take; at most 60s.")] = (
        "10s"
    )
    limit: Annotated[Limit, Field(description="How often each rule may run it.")] = Limit()

    @property
    def kind_name(self) -> str:
        """The name of the one kind that is written."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def deed(self) -> ActionKind:
        """What is done."""
        return cast("ActionKind", getattr(self, self.kind_name))

    @property
    def kind(self) -> ChannelKind:
        """What is told, as of a channel: itself."""
        return self

    @property
    def policy(self) -> LinePolicy:
        """How its lines are told: what may have been done is only repeated where that does no harm."""
        return LinePolicy(retry=self.retry, is_repeatable=self.idempotent)

    @property
    def timeout_ms(self) -> int:
        """`timeout` in ms."""
        return parse_duration_ms(self.timeout)

    @property
    def attempt_ms_max(self) -> int:
        """`timeout_ms`, and time to read the secrets: it is the action itself that judges its own deadline."""
        return self.timeout_ms + SECRETS_MS_MAX

    @property
    def endpoint(self) -> str:
        """What fails together."""
        return self.deed.endpoint

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """Every secret that stands elsewhere."""
        return self.deed.secret_refs

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """Every address that is asked."""
        return self.deed.urls

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Do it once, within `timeout_ms`, and judge it; of the network's failures none is raised."""
        began = asyncio.get_running_loop().time()
        verdict = await self._judged(notice, means)
        elapsed_ms = verdict.elapsed_ms or round((asyncio.get_running_loop().time() - began) * 1000)
        return Verdict(verdict.outcome, verdict.reason, verdict.status, elapsed_ms, verdict.retry_after_ms)

    async def _judged(self, notice: Notice, means: Means) -> Verdict:
        try:
            if not self.dry_run:
                return await self.deed.act(notice, means, self.timeout_ms)
            self.deed.shown(notice)
            verdict = Verdict("delivered", DRY_RUN)
        except CannotRender as fault:
            verdict = Verdict("dead", f"not done: {fault}")
        except AddressRefused as refused:
            verdict = Verdict("failed", refused.reason.refusal)  # tried again: it can be opened
        except EgressFailed as failed:
            verdict = self._of_failure(failed)
        except OutcomeUnknown as unknown:
            verdict = self._unknown(unknown.verdict)
        return verdict

    def _of_failure(self, failed: EgressFailed) -> Verdict:
        if failed.reason in _NOT_REACHED:
            return Verdict("failed", failed.reason.value)
        if failed.reason is Failure.REQUEST:
            return Verdict("dead", failed.reason.value)
        return self._unknown(Verdict("failed", failed.reason.value))

    def _unknown(self, verdict: Verdict) -> Verdict:
        return verdict if self.idempotent else Verdict("dead", UNKNOWN_OUTCOME, verdict.status, verdict.elapsed_ms)

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "Action":
        written = [name for name in KINDS if getattr(self, name) is not None]
        if len(written) != 1:
            raise ValueError(
                f"expected one of: {', '.join(KINDS)}" + (f"; got {' and '.join(written)}" if written else "")
            )
        return self


@dataclass(frozen=True, slots=True)
class ActionBook:
    """All actions that apply together."""

    actions: tuple[Action, ...] = ()
    _by_name: Mapping[tuple[str, str], Action] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {(action.tenant, action.name): action for action in self.actions}
        object.__setattr__(self, "_by_name", by_name)

    def find(self, tenant: str, name: str) -> Action | None:
        """Return the action that `tenant`'s rules call `name`: its own, else everybody's, else None."""
        return self._by_name.get((tenant, name)) or self._by_name.get((ANY_TENANT, name))


def load_actions(paths: Sequence[Path]) -> ActionBook:
    """Return the actions of YAML files, or of folders; raise InvalidRules with every mistake in every file."""
    return actions_of(*read_documents(paths))


def parse_actions(file: str, text: str) -> ActionBook:
    """Return the actions in `text`, told of as `file`; raise InvalidRules with every mistake."""
    return actions_of([read_yaml(file, text)])


def actions_of(documents: Sequence[Document], unread: Sequence[Problem] = ()) -> ActionBook:
    """Return the actions of `documents`, in their order; raise InvalidRules with every mistake, the `unread` first."""
    return ActionBook(read_entries(documents, unread, "actions", model=Action, kinds=KINDS, most=ACTIONS_MAX))
