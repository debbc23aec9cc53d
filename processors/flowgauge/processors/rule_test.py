"""Tests for rules: events in, expected transitions out, in virtual time. Pure but for reading the files named.

    rules: [orders.yaml]               # beside the test file
    start: 2026-01-01T00:00:00Z        # what `at` counts from; this is the default
    events:
      - {at: 10s, flow: orders-sync, state: failed, times: 5, every: 30s}
    until: 20m
    expect:
      - {at: 2m15s, rule: orders-sync failing, key: {flow: orders-sync}, to: firing}

Every transition must be expected and every expected one must come. `pending` and `inactive` are left out unless
some expectation names one of them: most people care about what is told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid5

import msgspec
from pydantic import BeforeValidator, Field, ValidationError

from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import RuleSet, load_rules
from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.rule import DurationMs, Written
from flowgauge.schemas.times import EPOCH, format_duration, parse_duration_ms, parse_time_ms, rfc3339
from flowgauge.schemas.transition import AlertState, Transition
from flowgauge.schemas.yaml_places import Document, problems_of
from flowgauge.transport.yaml_files import read_document

EVENTS_MAX = 1_000_000  # after `times`; a longer story is a file for `flowgauge replay`
DEFAULT_START = "2026-01-01T00:00:00Z"
QUIET_STATES = frozenset({"pending", "inactive"})
_NAMESPACE = UUID("5f0c1d7e-3b52-4c8c-9a0e-f10369a09e00")
VALUE_TOLERANCE = 1e-6


def _moment(value: object) -> str:
    """Take a duration since `start`, or an RFC 3339 time, as it was written."""
    text = str(value)
    if not text.endswith("Z") and "T" not in text:
        parse_duration_ms(text)
        return text
    parse_time_ms(text)
    return text


Moment = Annotated[str, BeforeValidator(_moment)]


class StoryEvent(Written):
    """One event, or `times` of them `every` so often. What is left out is made up, the same each time."""

    at: Moment
    append: Moment | None = None  # when the log got it; default: when it happened
    times: Annotated[int, Field(ge=1, le=EVENTS_MAX)] = 1
    every: DurationMs = 1_000
    partition: Annotated[int, Field(ge=0, lt=1_024)] = 0
    tenant: str = "default"
    event: str | None = None
    kind: str = "flow-run"
    flow: str | None = None
    run: str | None = None
    task: str | None = None
    state: str | None = None
    scheduled_for: Moment | None = None
    resource: dict[str, str] = Field(default_factory=dict)
    related: tuple[dict[str, str], ...] = ()
    id: UUID | None = None


class Expected(Written):
    """One transition that must come. What is left out may be anything."""

    at: Moment
    rule: str
    to: AlertState
    key: dict[str, str] | None = None
    tenant: str | None = None
    value: float | None = None
    samples: int | None = None
    reason: str | None = None


class RuleTest(Written):
    """A whole test file."""

    rules: tuple[str, ...]
    start: str = DEFAULT_START
    events: tuple[StoryEvent, ...] = ()
    until: Moment | None = None
    expect: tuple[Expected, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleTestResult:
    """What a test found; passed when both lists are empty."""

    transitions: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        """Everything expected came and nothing else."""
        return not self.missing and not self.unexpected


def run_rule_test(path: Path) -> RuleTestResult:
    """Run the test file at `path`; raise InvalidRules for mistakes in it or in its rules."""
    test = _read(path)
    ruleset = load_rules(path.parent / name for name in test.rules)
    return check_rule_test(test, ruleset)


def check_rule_test(test: RuleTest, ruleset: RuleSet) -> RuleTestResult:
    """Run `test` against `ruleset`."""
    start_ms = parse_time_ms(test.start)
    lines = [line for _, line in sorted(_lines(test, start_ms), key=lambda item: item[0])]
    until_ms = None if test.until is None else _ms(test.until, start_ms)
    found = list(Replay(lambda: lines, ruleset, until_ms=until_ms).transitions())
    if not any(expected.to in QUIET_STATES for expected in test.expect):
        found = [item for item in found if item.to_state not in QUIET_STATES]
    missing = [expected for expected in test.expect if not _take(expected, found, start_ms)]
    return RuleTestResult(
        len(found),
        tuple(_expected_words(expected, start_ms) for expected in missing),
        tuple(_words(item, start_ms) for item in found if not _was_taken(item, test.expect, start_ms)),
    )


def _read(path: Path) -> RuleTest:
    return _validated(read_document(path))


def _validated(document: Document) -> RuleTest:
    try:
        return RuleTest.model_validate(document.data)
    except ValidationError as error:
        raise InvalidRules(problems_of(error, document, (), tuple(RuleTest.model_fields))) from None


def _lines(test: RuleTest, start_ms: int) -> Iterator[tuple[int, bytes]]:
    for number, event in enumerate(test.events):
        for repeat in range(event.times):
            shift_ms = repeat * event.every
            append = event.at if event.append is None else event.append
            append_ms = _ms(append, start_ms) + shift_ms
            yield append_ms, _line(event, (number, repeat), start_ms, append_ms=append_ms)


def _line(event: StoryEvent, place: tuple[int, int], start_ms: int, *, append_ms: int) -> bytes:
    run = event.run or f"run-{place[0]}-{place[1]}"
    name = event.event or f"{event.kind}.{event.state or 'happened'}"
    occurred_ms = _ms(event.at, start_ms) + place[1] * event.every
    fields: dict[str, Any] = {
        "_append": append_ms,
        "_partition": event.partition,
        "id": str(event.id or uuid5(_NAMESPACE, f"{place[0]}.{place[1]}")),
        "tenant": event.tenant,
        "occurred": rfc3339(occurred_ms),
        "event": name,
        "kind": event.kind,
        "run": run,
        "resource": {"id": f"{event.kind}.{run}", **event.resource},
        "related": list(event.related),
    }
    optional = {"flow": event.flow, "task": event.task, "state": event.state}
    if event.scheduled_for is not None:
        optional["scheduled_for"] = rfc3339(_ms(event.scheduled_for, start_ms))
    return msgspec.json.encode(fields | {key: value for key, value in optional.items() if value is not None})


def _ms(moment: str, start_ms: int) -> int:
    return parse_time_ms(moment) if "T" in moment else start_ms + parse_duration_ms(moment)


def _take(expected: Expected, found: Sequence[Transition], start_ms: int) -> bool:
    return any(_meets(item, expected, start_ms) for item in found)


def _was_taken(item: Transition, expect: Sequence[Expected], start_ms: int) -> bool:
    return any(_meets(item, expected, start_ms) for expected in expect)


def _meets(item: Transition, expected: Expected, start_ms: int) -> bool:
    wanted: Mapping[str, object] = {
        "rule": expected.rule,
        "to_state": expected.to,
        "at_ms": _ms(expected.at, start_ms),
        "key": expected.key,
        "tenant": expected.tenant,
        "samples": expected.samples,
        "reason": expected.reason,
    }
    if any(value is not None and getattr(item, name) != value for name, value in wanted.items()):
        return False
    return expected.value is None or abs((item.value or 0.0) - expected.value) <= VALUE_TOLERANCE


def _words(item: Transition, start_ms: int) -> str:
    value = "" if item.value is None else f" value {item.value:g} of {item.samples} samples"
    return f"{_at(item.at_ms, start_ms)} {item.rule} {item.key} to {item.to_state}:{value} ({item.reason})"


def _expected_words(expected: Expected, start_ms: int) -> str:
    key = "" if expected.key is None else f" {expected.key}"
    return f"{_at(_ms(expected.at, start_ms), start_ms)} {expected.rule}{key} to {expected.to}"


def _at(moment_ms: int, start_ms: int) -> str:
    since = format_duration(moment_ms - start_ms) if moment_ms >= start_ms else "before the start"
    return f"at {since} ({(EPOCH + timedelta(milliseconds=moment_ms)).isoformat()})"
