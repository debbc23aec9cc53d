"""Selectors: whether an event matches, and which group it belongs to.

A list is an *or* of its globs; `!x` is a *not* that always holds: `["dev-*", "!dev-1"]` is every dev but dev-1.
An event without the field never matches, not even `!x`. Globs are case-sensitive (`*`, `?`, `[…]`).
Prefect's own, different rules belong to the `prefect` kind alone.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, reduce
from operator import attrgetter

from flowgauge.schemas.event import Event

Test = Callable[[str], bool]
Getter = Callable[[Event], str | None]
Predicate = Callable[[Event], bool]
Values = Callable[[Event], Sequence[str]]

_WILD = re.compile(r"[*?\[]")


def text_test(patterns: Sequence[str]) -> Test:
    """Return the test whether a text matches `patterns`."""
    wanted = _any_of(pattern for pattern in patterns if not pattern.startswith("!"))
    refused = _any_of(pattern[1:] for pattern in patterns if pattern.startswith("!"))
    if refused is None:
        return wanted or _nothing
    if wanted is None:
        return lambda text: not refused(text)
    return lambda text: wanted(text) and not refused(text)


def predicate(field: str, patterns: Sequence[str]) -> Predicate:
    """Return the test whether an event's `field` matches `patterns`."""
    test = text_test(patterns)
    if field.startswith("related."):
        role, label = field.split(".", 2)[1:]

        def any_related(event: Event) -> bool:
            return any(item.get("role") == role and label in item and test(item[label]) for item in event.related)

        return any_related
    get = getter(field)

    def one_value(event: Event) -> bool:
        value = get(event)
        return value is not None and test(value)

    return one_value


def plain_values(patterns: Sequence[str]) -> frozenset[str]:
    """Return the values of which a text that matches `patterns` is one; empty where a glob leaves that open."""
    wanted = frozenset(pattern for pattern in patterns if not pattern.startswith("!"))
    return frozenset() if any(map(_WILD.search, wanted)) else wanted


def values_of(field: str) -> Values:
    """Return how to read all values that an event has in `field`; related: of each that has the role."""
    if field.startswith("related."):
        role, label = field.split(".", 2)[1:]
        return lambda event: [item[label] for item in event.related if item.get("role") == role and label in item]
    get = getter(field)

    def one_value(event: Event) -> Sequence[str]:
        value = get(event)
        return () if value is None else (value,)

    return one_value


def getter(field: str) -> Getter:
    """Return how to read `field` of an event: None where it has none. Related: the first of that role with it."""
    if field.startswith("resource."):
        label = field.split(".", 1)[1]
        return lambda event: event.resource.get(label)
    if field.startswith("related."):
        role, label = field.split(".", 2)[1:]
        return lambda event: next(
            (item[label] for item in event.related if item.get("role") == role and label in item), None
        )
    return attrgetter(field)


def _nothing(_text: str) -> bool:
    return False


def _any_of(patterns: Iterable[str]) -> Test | None:
    items = list(patterns)
    if not items:
        return None
    if "*" in items:
        return lambda _text: True
    kinds: dict[str, list[str]] = {}
    for item in items:
        kinds.setdefault(_shape(item), []).append(item)
    return reduce(_either, (_TEST_OF[shape](globs) for shape, globs in kinds.items()))


def _shape(glob: str) -> str:
    """Tell where a glob is wild: nowhere, at its end, or else."""
    if not _WILD.search(glob):
        return "exact"
    return "begin" if glob[-1] == "*" and not _WILD.search(glob[:-1]) else "wild"


def _either(one: Test, other: Test) -> Test:
    return lambda text: one(text) or other(text)


def _begins(globs: Sequence[str]) -> Test:
    begins = tuple(glob[:-1] for glob in globs)
    return lambda text: text.startswith(begins)


def _like(globs: Sequence[str]) -> Test:
    # Compiled when first asked: of thousands of rules few see an event, and compiling takes longer than all the rest.
    wild = cache(lambda: re.compile("|".join(fnmatch.translate(glob) for glob in globs)).match)
    return lambda text: wild()(text) is not None


_TEST_OF: Mapping[str, Callable[[Sequence[str]], Test]] = {
    "exact": lambda texts: frozenset(texts).__contains__,
    "begin": _begins,
    "wild": _like,
}
