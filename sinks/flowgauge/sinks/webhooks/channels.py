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

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.yaml_places import Document, problems_of, read_yaml
from flowgauge.sinks.webhooks.addresses import URL_CHARS_MAX, text_fault
from flowgauge.transport.yaml_files import read_documents

CHANNELS_MAX = 10_000  # all files together; each is a few hundred bytes
CHANNEL_NAME_MAX = 200
_TOP_LEVEL = ("rules", "channels")
_SCHEME = re.compile(r"([a-z]{1,8})://")


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Webhook(_Written):
    """An endpoint that takes Standard Webhooks."""

    url: Annotated[SecretStr, Field(description="https://HOST/PATH.")]
    secret: Annotated[SecretRef, Field(description="Where the signing secret stands, never the secret itself.")]
    previous_secret: Annotated[
        SecretRef | None, Field(description="The one before, while the receiver changes over: both sign.")
    ] = None

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Every secret that signs, the present one first."""
        return (self.secret,) if self.previous_secret is None else (self.secret, self.previous_secret)

    @field_validator("secret", "previous_secret", mode="before")
    @classmethod
    def _says_where(cls, written: object) -> object:
        """Refuse in one sentence, which does not repeat what may be the secret itself."""
        if written is not None and not _is_reference(written):
            raise ValueError("expected where the secret stands: {env: NAME} or {file: PATH}")
        return written

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if fault := text_fault(text):
            raise ValueError(f"the URL {fault.value}; at most {URL_CHARS_MAX} characters without spaces")
        try:
            parts = urlsplit(text)
            is_url = parts.scheme in {"https", "http"} and bool(parts.hostname)
        except ValueError:
            is_url = False
        if not is_url:
            raise ValueError(f"expected https://HOST/PATH (http only for what egress.allow opens), got {_scheme(text)}")
        return url


class Channel(_Written):
    """One named place to tell."""

    name: Annotated[str, Field(min_length=1, max_length=CHANNEL_NAME_MAX, description="What a rule's notify says.")]
    tenant: Annotated[
        str, Field(min_length=1, max_length=NAME_MAX, description="Whose incidents it tells of; *: everybody's.")
    ] = ANY_TENANT
    webhook: Annotated[Webhook, Field(description="Where to.")]


@dataclass(frozen=True, slots=True)
class ChannelBook:
    """All channels that apply together."""

    channels: tuple[Channel, ...] = ()
    _by_name: Mapping[tuple[str, str], Channel] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {(channel.tenant, channel.name): channel for channel in self.channels}
        object.__setattr__(self, "_by_name", by_name)

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
    """Return the channels of `documents`, in their order; raise InvalidRules with every mistake, the `unread` first."""
    problems = list(unread)
    channels: list[Channel] = []
    names: set[tuple[str, str]] = set()
    for document in documents:
        for index, source in enumerate(_sources(document, problems)):
            if not isinstance(source, dict):
                message = "expected a channel"
                problems.append(
                    document.problem(("channels", index), message, "write `- name:` and `webhook:` below it")
                )
                continue
            try:
                channel = Channel.model_validate(source)
            except ValidationError as error:
                problems.extend(problems_of(error, document, ("channels", index), _known_fields(error)))
                continue
            if (channel.tenant, channel.name) in names:
                place = ("channels", index, "name")
                problems.append(document.problem(place, f"a second channel {channel.name!r}", "rename one of them"))
            names.add((channel.tenant, channel.name))
            channels.append(channel)
    if len(channels) > CHANNELS_MAX:
        problems.append(Problem("channels", 0, 0, "", f"{len(channels)} channels, at most {CHANNELS_MAX} are carried"))
    if problems:
        raise InvalidRules(tuple(problems))
    return ChannelBook(tuple(channels))


def _sources(document: Document, problems: list[Problem]) -> list[object]:
    data = document.data
    if data is None:
        return []
    if not isinstance(data, dict):
        problems.append(
            document.problem((), "expected `rules:` or `channels:` at the top", "write rules: and a list below it")
        )
        return []
    top = cast("dict[str, Any]", data)
    known = f"known fields: {', '.join(_TOP_LEVEL)}"
    problems.extend(document.problem((name,), "unknown field", known) for name in top if name not in _TOP_LEVEL)
    channels = cast("object", top.get("channels") or [])
    if not isinstance(channels, list):
        problems.append(document.problem(("channels",), "expected a list", "begin each channel with `- name:`"))
        return []
    return cast("list[object]", channels)


def _scheme(text: str) -> str:
    """Say how a text that is no URL for us begins, if that is a scheme: anything else of it may be a secret."""
    scheme = _SCHEME.match(text)
    if scheme and scheme[1] not in {"http", "https"}:
        return f"one that begins with {scheme[1]}://"
    return "one without a host" if scheme else "one that does not begin with https://"


def _is_reference(written: object) -> bool:
    if not isinstance(written, dict) or len(cast("dict[str, object]", written)) != 1:
        return False
    ((name, place),) = cast("dict[str, object]", written).items()
    return name in {"env", "file"} and isinstance(place, str) and place != ""


def _known_fields(error: ValidationError) -> tuple[str, ...]:
    """Return what the unknown fields may have been meant as: the fields of where they stand."""
    inside = any(detail["loc"][0] == "webhook" and len(detail["loc"]) > 1 for detail in error.errors())
    return tuple(Channel.model_fields) + (tuple(Webhook.model_fields) if inside else ())
