"""What keeps people from being told and actions from running: an undefined name, no secret, no way out. Pure.

Rules, channels and actions are each fine here; this is about them together, and about the place that they run in.
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
from flowgauge.sinks.webhooks.actions.action import Action, ActionBook
from flowgauge.sinks.webhooks.addresses import Verdict
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.kinds.kind import url_fault

NAMES_MAX = 10  # in one remedy
_DEFINED = ("channels", "actions")
# What names what, in which field: where that is defined, what it is called, and what follows where it is not.
_NAMING = (
    ("rules", "notify", ("channels", "channel", "nobody would be told")),
    ("rules", "actions", ("actions", "action", "nothing would be run")),
    ("routes", "notify", ("channels", "channel", "nobody would be told")),
    ("channels", "fallback", ("channels", "channel", "nobody would be told instead")),
)


def unknown_names(documents: Sequence[Document]) -> Iterator[Problem]:
    """Yield a problem for each channel and action that is named and nobody defined, whatever else is wrong."""
    defined = {top: [(_text(each, "name"), _tenant(each)) for *_, each in _written(documents, top)] for top in _DEFINED}
    for naming, field, (top, what, then) in _NAMING:
        for document, path, source in _written(documents, naming):
            tenant = _tenant(source)
            known = _names_for(tenant, defined[top])
            for index, name in _named(source.get(field)):
                if name not in known:
                    whose = "" if tenant == ANY_TENANT else f" for tenant {tenant}"
                    message = f"no {what} is called {name!r}{whose}: {then}"
                    yield document.problem((*path, field, *index), message, _remedy(name, known, top))


def routes_to_nowhere(documents: Sequence[Document]) -> Iterator[Problem]:
    """Yield a problem for each name that a route matches and that no rule here gives its incidents."""
    rules = [source for *_, source in _written(documents, "rules")]
    known = {"rule", "severity", "channel"}  # the last is of the incidents about channels
    for rule in rules:
        for_each, labels = rule.get("for_each"), rule.get("labels")
        known |= {str(each) for each in cast("list[object]", for_each)} if isinstance(for_each, list) else set()
        known |= set(cast("dict[str, object]", labels)) if isinstance(labels, dict) else set()
    for document, path, source in _written(documents, "routes") if rules else ():
        match = source.get("match")
        for name in cast("dict[str, object]", match) if isinstance(match, dict) else ():
            if name not in known:
                message = f"no rule here has {name!r} in for_each or labels: the route sees it empty"
                near = get_close_matches(name, sorted(known), n=1)
                remedy = f"did you mean {near[0]!r}?" if near else "name what incidents have"
                yield document.problem((*path, "match", name), message, remedy)


def has_any_defined(documents: Sequence[Document]) -> bool:
    """Tell whether any channel or action is written."""
    return any(any(_written(documents, top)) for top in _DEFINED)


def secret_problems(
    documents: Sequence[Document], channels: ChannelBook, actions: ActionBook, secret_of: Callable[[SecretRef], str]
) -> Iterator[Problem]:
    """Yield a problem for each secret that cannot be had or does not sign; never with the secret."""
    for document, path, entry in _entries(documents, channels, actions):
        kind = entry.kind
        for name, ref in kind.references.items():
            place = (*path, entry.kind_name, *name.split(".", 1))
            try:
                secret = secret_of(ref)
                fault = url_fault(secret) if name in kind.urls else kind.secret_fault(name, secret)
            except InvalidSettings as error:
                yield document.problem(place, str(error))
            else:
                if fault:
                    yield document.problem(place, *fault)


def address_problems(
    documents: Sequence[Document],
    channels: ChannelBook,
    actions: ActionBook,
    refused: Callable[[str], Verdict | None],
) -> Iterator[Problem]:
    """Yield a problem for each URL that no message may go to, as far as that shows before a name is asked for."""
    for document, path, entry in _entries(documents, channels, actions):
        for name, url in entry.kind.urls.items():
            if isinstance(url, SecretStr) and (verdict := refused(url.get_secret_value())):
                message = f"no message may go there: {verdict.reason.value}"
                yield document.problem((*path, entry.kind_name, name), message, verdict.remedy)


def _entries(
    documents: Sequence[Document], channels: ChannelBook, actions: ActionBook
) -> Iterator[tuple[Document, YamlPath, Channel | Action]]:
    """Yield each channel and action with the place where it was read."""
    books: Sequence[tuple[str, Sequence[Channel | Action]]] = (
        ("channels", channels.channels),
        ("actions", actions.actions),
    )
    for top, entries in books:
        for (document, path, _), entry in zip(_written(documents, top), entries, strict=True):
            yield document, path, entry


def _named(written: object) -> Iterator[tuple[YamlPath, str]]:
    """Yield each name in a `notify`, `actions` or `fallback`, and where in it that stands."""
    if isinstance(written, str) and written:
        yield (), written
    for index, each in enumerate(cast("list[object]", written) if isinstance(written, list) else []):
        if isinstance(each, str):
            yield (index,), each
        elif isinstance(each, dict):
            run = cast("dict[str, object]", each).get("run")
            if isinstance(run, str):
                yield (index, "run"), run


def _written(documents: Sequence[Document], top: str) -> Iterator[tuple[Document, YamlPath, Mapping[str, object]]]:
    """Yield where each rule, channel or action stands and what is written there, as they were read."""
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


def _names_for(tenant: str, defined: Sequence[tuple[str, str]]) -> list[str]:
    """Return what a rule may name: one of every tenant may name what only some tenants have."""
    return [name for name, owner in defined if tenant == ANY_TENANT or owner in {tenant, ANY_TENANT}]


def _remedy(name: str, known: Sequence[str], top: str) -> str:
    if near := get_close_matches(name, known, n=1):
        return f"did you mean {near[0]!r}?"
    if known:
        return f"define it under `{top}:`, or use one of: {', '.join(known[:NAMES_MAX])}"
    return f"define it under `{top}:`, in this file or beside it"
