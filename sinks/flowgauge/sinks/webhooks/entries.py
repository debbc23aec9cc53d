"""The named entries of files: channels and actions, read with every mistake at its place. Pure.

An entry has a `name`, a `tenant` and one of several kinds under the kind's name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.rule import TOP_LEVEL
from flowgauge.schemas.yaml_places import Document, problems_of

_Entry = TypeVar("_Entry", bound=BaseModel)


def read_entries(
    documents: Sequence[Document],
    unread: Sequence[Problem],
    top: str,
    *,
    model: type[_Entry],
    kinds: Mapping[str, type[BaseModel]],
    most: int,
) -> tuple[_Entry, ...]:
    """Return the entries under `top` of `documents`, in their order, at most so many.

    Raises InvalidRules with every mistake, the `unread` first.
    """
    problems = list(unread)
    entries: list[_Entry] = []
    names: set[tuple[str, str]] = set()
    one = top.removesuffix("s")
    for document in documents:
        for index, source in enumerate(_sources(document, top, problems)):
            if not isinstance(source, dict):
                article = "an" if one[0] in "aeiou" else "a"
                below = f"`{next(iter(kinds))}:` or another kind" if kinds else "its fields"
                remedy = f"write `- name:` and {below} below it"
                problems.append(document.problem((top, index), f"expected {article} {one}", remedy))
                continue
            try:
                entry = model.model_validate(source)
            except ValidationError as error:
                problems.extend(problems_of(error, document, (top, index), _known_fields(error, model, kinds)))
                continue
            named = entry.__dict__
            who = named["tenant"], named["name"]
            if who in names:
                place = (top, index, "name")
                problems.append(document.problem(place, f"a second {one} {who[1]!r}", "rename one of them"))
            names.add(who)
            entries.append(entry)
    if len(entries) > most:
        problems.append(Problem(top, 0, 0, "", f"{len(entries)} {top}, at most {most} are carried"))
    if problems:
        raise InvalidRules(tuple(problems))
    return tuple(entries)


def _sources(document: Document, top: str, problems: list[Problem]) -> list[object]:
    data = document.data
    if data is None:
        return []
    if not isinstance(data, dict):
        problems.append(
            document.problem((), "expected `rules:` or `channels:` at the top", "write rules: and a list below it")
        )
        return []
    written = cast("dict[str, Any]", data)
    known = f"known fields: {', '.join(TOP_LEVEL)}"
    problems.extend(document.problem((name,), "unknown field", known) for name in written if name not in TOP_LEVEL)
    entries = cast("object", written.get(top) or [])
    if not isinstance(entries, list):
        remedy = f"begin each {top.removesuffix('s')} with `- name:`"
        problems.append(document.problem((top,), "expected a list", remedy))
        return []
    return cast("list[object]", entries)


def _known_fields(
    error: ValidationError, model: type[BaseModel], kinds: Mapping[str, type[BaseModel]]
) -> tuple[str, ...]:
    """Return what the unknown fields may have been meant as: the fields of where they stand."""
    inside = {detail["loc"][0] for detail in error.errors() if len(detail["loc"]) > 1}
    models = (model, *(kinds[kind] for kind in kinds if kind in inside))
    return tuple(field.alias or name for each in models for name, field in each.model_fields.items())
