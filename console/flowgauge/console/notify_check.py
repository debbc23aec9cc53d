"""What keeps people from being told: a channel that nobody defined, a secret or a way out that is not there. Pure.

Rules and channels are each fine here; this is about the two together, and about the place that they run in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import cast

from pydantic import SecretStr

from flowgauge.schemas.errors import InvalidSettings, Problem
from flowgauge.schemas.plain_yaml import Path as YamlPath
from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.yaml_places import Document
from flowgauge.sinks.webhooks.addresses import Verdict
from flowgauge.sinks.webhooks.channels import ChannelBook
from flowgauge.sinks.webhooks.kinds.kind import url_fault

CHANNELS_NAMED_MAX = 10  # in one remedy


def unknown_channels(documents: Sequence[Document]) -> Iterator[Problem]:
    """Yield a problem for each name in a rule's `notify` that leads to no channel, whatever else is wrong with them."""
    channels = [(_text(source, "name"), _tenant(source)) for *_, source in _written(documents, "channels")]
    for document, path, source in _written(documents, "rules"):
        tenant = _tenant(source)
        known = _names_for(tenant, channels)
        notify = source.get("notify")
        for index, name in enumerate(cast("list[object]", notify) if isinstance(notify, list) else []):
            if isinstance(name, str) and name not in known:
                whose = "" if tenant == ANY_TENANT else f" for tenant {tenant}"
                message = f"no channel is called {name!r}{whose}: nobody would be told"
                yield document.problem((*path, "notify", index), message, _remedy(name, known))


def has_channels(documents: Sequence[Document]) -> bool:
    """Tell whether any channel is written."""
    return any(_written(documents, "channels"))


def secret_problems(
    documents: Sequence[Document], channels: ChannelBook, secret_of: Callable[[SecretRef], str]
) -> Iterator[Problem]:
    """Yield a problem for each secret of a channel that cannot be had or does not sign; never with the secret."""
    for (document, path, _), channel in zip(_written(documents, "channels"), channels.channels, strict=True):
        kind = channel.kind
        for name, ref in kind.references.items():
            place = (*path, channel.kind_name, name)
            try:
                secret = secret_of(ref)
                fault = url_fault(secret) if name in kind.urls else kind.secret_fault(name, secret)
            except InvalidSettings as error:
                yield document.problem(place, str(error))
            else:
                if fault:
                    yield document.problem(place, *fault)


def address_problems(
    documents: Sequence[Document], channels: ChannelBook, refused: Callable[[str], Verdict | None]
) -> Iterator[Problem]:
    """Yield a problem for each URL that no message may go to, as far as that shows before a name is asked for."""
    for (document, path, _), channel in zip(_written(documents, "channels"), channels.channels, strict=True):
        for name, url in channel.kind.urls.items():
            if isinstance(url, SecretStr) and (verdict := refused(url.get_secret_value())):
                message = f"no message may go there: {verdict.reason.value}"
                yield document.problem((*path, channel.kind_name, name), message, verdict.remedy)


def _written(documents: Sequence[Document], top: str) -> Iterator[tuple[Document, YamlPath, Mapping[str, object]]]:
    """Yield where each rule (or channel) stands and what is written there, in the order in which they were read."""
    for document in documents:
        data: object = document.data
        written = cast("dict[str, object]", data).get(top) if isinstance(data, dict) else None
        for index, source in enumerate(cast("list[object]", written) if isinstance(written, list) else []):
            if isinstance(source, dict):
                yield document, (top, index), cast("dict[str, object]", source)


def _text(source: Mapping[str, object], field: str) -> str:
    text = source.get(field)
    return text if isinstance(text, str) else ""


def _tenant(source: Mapping[str, object]) -> str:
    return _text(source, "tenant") or ANY_TENANT


def _names_for(tenant: str, channels: Sequence[tuple[str, str]]) -> list[str]:
    """Return what a rule may notify: a rule of every tenant may name a channel that only some tenants have."""
    return [name for name, owner in channels if tenant == ANY_TENANT or owner in {tenant, ANY_TENANT}]


def _remedy(name: str, known: Sequence[str]) -> str:
    if near := get_close_matches(name, known, n=1):
        return f"did you mean {near[0]!r}?"
    if known:
        return f"define it under `channels:`, or use one of: {', '.join(known[:CHANNELS_NAMED_MAX])}"
    return "define it under `channels:`, in this file or beside it"
