"""What a Prefect trigger covers, as Prefect itself decides it: other rules than those of `match`. Pure.

    expect, after    globs of the whole name, `*` at least one character; `?`, `[…]` and `!` stand for themselves where
                     an event is looked for, and are globs where it is asked which of the two it is
    label            `*`, `?`, `[…]`; `!x` is anything but x, as one more alternative of a list: `["!a", "!b"]` is all
    match_related    each specification must be met by one related resource alone, in all its labels

A missing label meets nothing, not even `!x`. Labels are named as in Prefect; the connector writes three of them
shorter (`prefect.resource.id` as `id`), which is undone here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from flowgauge.processors.selector import Getter, Predicate, Test
from flowgauge.schemas.event import NAME_MAX, Event

Specification = Mapping[str, Sequence[str]]
_Labels = Mapping[str, str]

_SHORTENED = {"prefect.resource.id": "id", "prefect.resource.name": "name", "prefect.resource.role": "role"}
_LOG_WRITE = "prefect.log.write"  # Prefect's triggers never see these


def covers_name(expect: Sequence[str], after: Sequence[str]) -> Test:
    """Return the test whether a trigger looks at events of a name."""
    named = (*expect, *after)
    if not expect:
        pattern = re.compile(".+")
        return lambda name: pattern.match(name) is not None and name != _LOG_WRITE
    pattern = re.compile("|".join(map(_beginning, named)))

    def test(name: str) -> bool:
        is_candidate = any(fnmatchcase(name, each) for each in named)
        return is_candidate and pattern.match(name) is not None and name != _LOG_WRITE

    return test


def is_one_of(text: str | None, patterns: Iterable[str]) -> bool:
    """Tell whether `text` meets one of `patterns`, each of which may be negated."""
    if text is None:
        return False
    return any(
        not fnmatchcase(text, pattern[1:]) if pattern.startswith("!") else fnmatchcase(text, pattern)
        for pattern in patterns
    )


def covers_resources(match: Specification, match_related: Sequence[Specification]) -> Predicate:
    """Return the test whether a trigger looks at an event for its resource and the related ones."""
    own = _meets(match)
    related = [_meets(specification) for specification in match_related if specification]

    def test(event: Event) -> bool:
        return own(event.resource) and all(any(meets(item) for item in event.related) for meets in related)

    return test


def label_getter(label: str) -> Getter:
    """Return how to read `label` or `related:ROLE:LABEL` for a bucket: "" where it is missing, or longer than a name.

    Related: the label of the first resource in that role, whether it has it or not.
    """
    role, related_label = _related(label)
    if role is None:
        return lambda event: _text(_value(event.resource, label))

    def of_related(event: Event) -> str:
        for item in event.related:
            if item.get("role") == role:
                return _text(_value(item, related_label))
        return _text(event.resource.get(label))

    return of_related


def field_of(label: str) -> str:
    """Return what the keys of incidents call a label of `for_each`: `related.flow.id`, `resource.env`."""
    role, related_label = _related(label)
    if role is None:
        return f"resource.{_SHORTENED.get(label, label)}"
    return f"related.{role}.{_SHORTENED.get(related_label, related_label)}"


def _beginning(glob: str) -> str:
    """Return what a name begins with where Prefect's engine looks for it: `.+` for each `*`, in linear time.

    A star takes as little as it can and never takes more later: what comes after the first place where the next part
    stands also comes after every other place of it. Tried place by place, five stars take minutes for one name.
    """
    first, *rest = map(re.escape, glob.split("*"))
    return first + "".join(f"(?>.+?{part})" for part in rest)


def _related(label: str) -> tuple[str | None, str]:
    directive, _, related_label = label.rpartition(":")
    directive, _, role = directive.partition(":")
    return (role, related_label) if directive == "related" else (None, label)


def _meets(specification: Specification) -> Callable[[_Labels], bool]:
    items = tuple(specification.items())

    def test(labels: _Labels) -> bool:
        return all(is_one_of(_value(labels, label), patterns) for label, patterns in items)

    return test


def _value(labels: _Labels, label: str) -> str | None:
    if label in _SHORTENED:
        return labels.get(_SHORTENED[label])
    if label in {"id", "name", "role"}:  # Prefect's own of that name had to make room
        return labels.get(f"label.{label}")
    return labels.get(label)


def _text(value: str | None) -> str:
    return value if value is not None and len(value) <= NAME_MAX else ""
