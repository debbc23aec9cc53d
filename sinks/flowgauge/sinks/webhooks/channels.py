"""Channels: where people want to be told, as they write it in YAML under `channels:`.

    channels:
      - name: data-oncall              # what a rule's `notify:` names
        tenant: acme                   # default "*": whose incidents it tells of
        webhook:
          url: https://hooks.acme.example/flowgauge
          secret: {env: ONCALL_SECRET}             # whsec_…; or {file: /run/secrets/oncall}
          previous_secret: {env: ONCALL_OLD}       # while the receiver changes over: both sign

A tenant's channel hides a `*` channel of the same name, and no tenant reaches another's. A URL can hold a token: it is
never logged, shown or part of a message about a mistake. Secrets stand elsewhere; the shell reads them when it sends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from pydantic import AfterValidator, Field, model_validator

from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.lane import ACTION_PREFIX
from flowgauge.schemas.rule import GROUP_FIELDS_MAX, DurationMs
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.transition import Transition
from flowgauge.schemas.yaml_places import Document, read_yaml
from flowgauge.sinks.webhooks.entries import read_entries
from flowgauge.sinks.webhooks.kinds import KINDS
from flowgauge.sinks.webhooks.kinds.alertmanager import Alertmanager
from flowgauge.sinks.webhooks.kinds.apprise_service import AppriseService
from flowgauge.sinks.webhooks.kinds.incident_io import IncidentIo
from flowgauge.sinks.webhooks.kinds.kind import ChannelKind, Written
from flowgauge.sinks.webhooks.kinds.mail import Mail
from flowgauge.sinks.webhooks.kinds.pagerduty import PagerDuty
from flowgauge.sinks.webhooks.kinds.slack import Slack
from flowgauge.sinks.webhooks.kinds.teams import Teams
from flowgauge.sinks.webhooks.kinds.webhook import Webhook
from flowgauge.sinks.webhooks.policy import Grouping, LinePolicy
from flowgauge.sinks.webhooks.routes import ROUTES_MAX, Route, routed
from flowgauge.sinks.webhooks.schedule import RetryClass
from flowgauge.transport.yaml_files import read_documents

CHANNELS_MAX = 10_000  # all files together; each is a few hundred bytes
CHANNEL_NAME_MAX = 200


def _no_action(name: str) -> str:
    if name.startswith(ACTION_PREFIX):
        raise ValueError(f"a channel's name does not begin with {ACTION_PREFIX}: define it under `actions:`")
    return name


class Group(Written):
    """Which incidents share messages, and how often one goes."""

    by: Annotated[
        tuple[str, ...],
        Field(strict=False, max_length=GROUP_FIELDS_MAX, description="rule, severity, names of for_each or of labels."),
    ] = ()
    wait: Annotated[DurationMs, Field(description="How long the first message waits for others.")] = 1_000
    interval: Annotated[DurationMs, Field(description="How long after a message the next one goes.")] = 15_000

    @property
    def grouping(self) -> Grouping:
        """What the outbox goes by."""
        return Grouping(self.by, self.wait, self.interval)


class Channel(Written):
    """One named place to tell."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=CHANNEL_NAME_MAX, description="What a rule's notify says."),
        AfterValidator(_no_action),
    ]
    tenant: Annotated[
        str, Field(min_length=1, max_length=NAME_MAX, description="Whose incidents it tells of; *: everybody's.")
    ] = ANY_TENANT
    retry: Annotated[
        RetryClass | None, Field(description="How long and how often a message is tried; by default the kind's.")
    ] = None
    fallback: Annotated[
        str,
        Field(max_length=CHANNEL_NAME_MAX, description="The channel that is told when this one is not reached."),
        AfterValidator(_no_action),
    ] = ""
    fallback_after: Annotated[DurationMs, Field(description="How long after the first try.")] = 15 * 60_000
    repeat: Annotated[DurationMs, Field(description="How long after a message what still fires is told again.")] = 0
    group: Annotated[Group | None, Field(description="Which incidents share messages, where the kind can.")] = None
    delivery_failures: Annotated[bool, Field(description="Whether it is told when another channel is not reached.")] = (
        False
    )
    webhook: Annotated[Webhook | None, Field(description="A signed webhook, for any program.")] = None
    slack: Annotated[Slack | None, Field(description="A Slack channel, by an incoming webhook or a bot.")] = None
    teams: Annotated[Teams | None, Field(description="A Microsoft Teams channel or chat, by a workflow.")] = None
    pagerduty: Annotated[PagerDuty | None, Field(description="An alert of PagerDuty.")] = None
    incident_io: Annotated[IncidentIo | None, Field(description="An alert of incident.io.")] = None
    alertmanager: Annotated[Alertmanager | None, Field(description="An alert of an Alertmanager.")] = None
    email: Annotated[Mail | None, Field(description="A mail, by SMTP.")] = None
    apprise: Annotated[AppriseService | None, Field(description="One of the many services that apprise knows.")] = None

    @property
    def kind_name(self) -> str:
        """The name of the one kind that is written."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def kind(self) -> ChannelKind:
        """Where to, and how."""
        return cast("ChannelKind", getattr(self, self.kind_name))

    @property
    def policy(self) -> LinePolicy:
        """How its lines are told."""
        group = self.group or Group()
        return LinePolicy(
            retry=self.retry or self.kind.retry,
            fallback=self.fallback,
            fallback_after_ms=self.fallback_after,
            repeat_ms=self.repeat,
            group=group.grouping if self.kind.takes_groups else None,
        )

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "Channel":
        written = [name for name in KINDS if getattr(self, name) is not None]
        if len(written) != 1:
            raise ValueError(
                f"expected one of: {', '.join(KINDS)}" + (f"; got {' and '.join(written)}" if written else "")
            )
        if self.group and not self.kind.takes_groups:
            raise ValueError(f"a {written[0]} is told of each incident by itself: take `group` out")
        if self.fallback == self.name:
            raise ValueError("a channel is no fallback for itself: name another one")
        return self


@dataclass(frozen=True, slots=True)
class ChannelBook:
    """All channels that apply together."""

    channels: tuple[Channel, ...] = ()
    routes: tuple[Route, ...] = ()
    _by_name: Mapping[tuple[str, str], Channel] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {(channel.tenant, channel.name): channel for channel in self.channels}
        object.__setattr__(self, "_by_name", by_name)

    def routed(self, transition: Transition) -> tuple[str, ...]:
        """Return the channels that hear of an incident by its routes."""
        return routed(self.routes, transition) if self.routes else ()

    def watchers(self, tenant: str, name: str) -> tuple[str, ...]:
        """Return the channels that are told when the channel `name` of `tenant` is not reached: never itself."""
        lost = self.find(tenant, name)
        names = {each.name for each in self.channels if each.delivery_failures and each.tenant in {tenant, ANY_TENANT}}
        found = [(each, self.find(tenant, each)) for each in sorted(names - {name})]
        return tuple(
            each
            for each, channel in found
            if channel and channel.delivery_failures and not (lost and channel.kind.endpoint == lost.kind.endpoint)
        )

    def find(self, tenant: str, name: str) -> Channel | None:
        """Return the channel that `tenant`'s rules call `name`: its own, else everybody's, else None."""
        return self._by_name.get((tenant, name)) or self._by_name.get((ANY_TENANT, name))


def load_channels(paths: Sequence[Path]) -> ChannelBook:
    """Return the channels of YAML files, or of the *.yaml and *.yml files in folders, sorted by name.

    Rules in the same files are passed over. Raises InvalidRules with every mistake in every file.
    """
    return channels_of(*read_documents(paths))


def parse_channels(file: str, text: str) -> ChannelBook:
    """Return the channels in `text`, told of as `file`; raise InvalidRules with every mistake."""
    return channels_of([read_yaml(file, text)])


def channels_of(documents: Sequence[Document], unread: Sequence[Problem] = ()) -> ChannelBook:
    """Return the channels and routes of `documents`, in their order; raise InvalidRules with every mistake.

    The `unread` come first.
    """
    found: list[Problem] = []
    channels: tuple[Channel, ...] = ()
    routes: tuple[Route, ...] = ()
    try:
        channels = read_entries(documents, unread, "channels", model=Channel, kinds=KINDS, most=CHANNELS_MAX)
    except InvalidRules as error:
        found += error.problems
    try:
        routes = read_entries(documents, unread, "routes", model=Route, kinds={}, most=ROUTES_MAX)
    except InvalidRules as error:
        found += [each for each in error.problems if each not in found]
    if found:
        raise InvalidRules(tuple(found))
    return ChannelBook(channels, routes)
