"""`rules test`: a story's events through its rules in virtual time, and what came against what was expected.

Every transition must be expected and every expected one must come: each expectation, the most exact first, takes one
transition. `pending` and `inactive` are left out unless some expectation names one of them: most people care about
what is told. Pure but for reading the files named. `rule_story` shows how a test is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowgauge.processors.replay import Replay
from flowgauge.processors.rule_story import (
    Expected,
    RuleTest,
    event_lines,
    moment_ms,
    refuse_impossible,
    validated,
)
from flowgauge.processors.ruleset import RuleSet, load_rules
from flowgauge.schemas.event import DEFAULT_TENANT
from flowgauge.schemas.times import format_duration, rfc3339
from flowgauge.schemas.transition import Transition
from flowgauge.schemas.yaml_places import Document
from flowgauge.transport.yaml_files import read_document

QUIET_STATES = frozenset({"pending", "inactive"})
VALUE_TOLERANCE = 1e-6
VALUE_DECIMALS = 6  # shown; within the tolerance


@dataclass(frozen=True, slots=True)
class Missing:
    """An expectation that nothing met, and the transition that came nearest to it, if any came near."""

    place: str  # file:line:column
    expected: str
    nearest: str = ""
    differs: tuple[str, ...] = ()  # fields of the expectation in which the nearest is another


@dataclass(frozen=True, slots=True)
class RuleTestResult:
    """What a test found; passed when both lists are empty. Transitions stand here as `expect` takes them."""

    transitions: int
    missing: tuple[Missing, ...]
    unexpected: tuple[str, ...]  # beyond those that are the nearest to a missing one

    @property
    def has_passed(self) -> bool:
        """Everything expected came and nothing else."""
        return not self.missing and not self.unexpected

    def lines(self) -> Iterator[str]:
        """Yield what went wrong, to be read as a diff: `-` was expected, `+` came."""
        for missing in self.missing:
            came = f"came with another {', '.join(missing.differs)}" if missing.nearest else "did not come"
            yield f"{missing.place}: {came}"
            yield f"  - {missing.expected}"
            if missing.nearest:
                yield f"  + {missing.nearest}"
        if self.unexpected:
            yield "came and was not expected:"
            yield from (f"  + {each}" for each in self.unexpected)


def run_rule_test(path: Path) -> RuleTestResult:
    """Run the test file at `path`; raise InvalidRules for mistakes in it or in its rules."""
    document = read_document(path)
    test = validated(document)
    ruleset = load_rules(path.parent / name for name in test.rules)
    refuse_impossible(test, ruleset, document)
    return _compared(test, _found(test, ruleset), document)


def _found(test: RuleTest, ruleset: RuleSet) -> list[Transition]:
    lines = event_lines(test)
    found = list(Replay(lambda: lines, ruleset, until_ms=test.until_ms).transitions())
    if any(expected.to in QUIET_STATES for expected in test.expect):
        return found
    return [item for item in found if item.to_state not in QUIET_STATES]


def _compared(test: RuleTest, found: Sequence[Transition], document: Document) -> RuleTestResult:
    left, start_ms = list(found), test.start_ms
    most_exact_first = sorted(enumerate(test.expect), key=lambda item: -_exactness(item[1]))
    unmet = sorted(number for number, expected in most_exact_first if not _take(expected, left, start_ms))
    missing: list[Missing] = []
    for number in unmet:
        line, column = document.place(("expect", number))
        missing.append(_missing(test.expect[number], f"{document.file}:{line}:{column}", left, test))
    return RuleTestResult(len(found), tuple(missing), tuple(_written(item, test) for item in left))


def _exactness(expected: Expected) -> int:
    return len(expected.model_fields_set) + len(expected.key)


def _take(expected: Expected, left: list[Transition], start_ms: int) -> bool:
    """Remove the first transition that meets the expectation; return False when none does."""
    for place, item in enumerate(left):
        if not _differences(item, expected, start_ms):
            del left[place]
            return True
    return False


def _missing(expected: Expected, place: str, left: list[Transition], test: RuleTest) -> Missing:
    """Return what to say of an expectation that nothing met; what was nearest to it is taken out of `left`."""
    written, at_ms = _dumped(expected.model_dump(exclude_unset=True)), moment_ms(expected.at, test.start_ms)
    near = [
        (len(_differences(item, expected, test.start_ms)), abs(item.at_ms - at_ms), index)
        for index, item in enumerate(left)
        if item.rule == expected.rule and (item.to_state == expected.to or item.at_ms == at_ms)
    ]
    if not near:
        return Missing(place, written)
    nearest = left.pop(min(near)[-1])
    differs = _differences(nearest, expected, test.start_ms)
    return Missing(place, written, _written(nearest, test), tuple(differs))


def _differences(item: Transition, expected: Expected, start_ms: int) -> list[str]:
    """Return the fields in which a transition is not as expected."""
    pairs: dict[str, tuple[object, object]] = {
        "at": (item.at_ms, moment_ms(expected.at, start_ms)),
        "rule": (item.rule, expected.rule),
        "key": ({name: item.key.get(name) for name in expected.key}, expected.key),
        "to": (item.to_state, expected.to),
        "tenant": (item.tenant, expected.tenant),
        "samples": (item.samples, expected.samples),
        "reason": (item.reason, expected.reason),
    }
    found = [name for name, (came, wanted) in pairs.items() if wanted is not None and came != wanted]
    return found if _is_value(item.value, expected.value) else [*found, "value"]


def _is_value(came: float | None, wanted: float | None) -> bool:
    return wanted is None or (came is not None and abs(came - wanted) <= VALUE_TOLERANCE)


def _written(item: Transition, test: RuleTest) -> str:
    """Return a transition as `expect` takes it, so that it can be copied there; its reason is a comment."""
    is_relative = item.at_ms >= test.start_ms and not any(":" in expected.at for expected in test.expect)
    fields: dict[str, Any] = {
        "at": format_duration(item.at_ms - test.start_ms) if is_relative else rfc3339(item.at_ms),
        "rule": item.rule,
        "key": item.key or None,
        "to": item.to_state,
        "tenant": item.tenant if item.tenant != DEFAULT_TENANT else None,
        "value": None if item.value is None else round(item.value, VALUE_DECIMALS),
        "samples": item.samples or None,
    }
    return f"{_dumped({name: value for name, value in fields.items() if value is not None})}  # {item.reason}"


def _dumped(fields: dict[str, Any]) -> str:
    """Return fields in one line of YAML."""
    return yaml.safe_dump(fields, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9).strip()
