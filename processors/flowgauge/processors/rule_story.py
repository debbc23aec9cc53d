"""The story that a rule test tells: events in, expected transitions out, as people write them in a file.

    rules: [orders.yaml]               # beside the test file
    start: 2026-01-01T00:00:00Z        # what `at` counts from; this is the default
    events:
      - {at: 10s, flow: orders-sync, state: failed, times: 5, every: 30s}
    until: 20m
    expect:
      - {at: 2m15s, rule: orders-sync failing, key: {flow: orders-sync}, to: firing}

A mistake is told with its place before anything runs: a story that cannot come true is no failed test. Pure. Read
`rule_test` next.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID, uuid5

import msgspec
from pydantic import BeforeValidator, Field, ValidationError

from flowgauge.processors.replay import PARTITIONS_MAX
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.check import check
from flowgauge.schemas.errors import InvalidEvent, InvalidRules, Problem
from flowgauge.schemas.event import DEFAULT_TENANT, Kind, State
from flowgauge.schemas.recorded import APPEND_MS_MAX
from flowgauge.schemas.rule import DurationMs, Written
from flowgauge.schemas.times import parse_duration_ms, parse_time_ms, rfc3339
from flowgauge.schemas.transition import AlertState
from flowgauge.schemas.yaml_places import Document, problems_of

EVENTS_MAX = 1_000_000  # after `times`; a longer story is a file for `flowgauge replay`
DEFAULT_START = "2026-01-01T00:00:00Z"
EXAMPLE = "docs/replay.md shows one"
NAMES_SHOWN_MAX = 5  # of the rules there are, where one is misspelt
_OUT_OF_RANGE = "expected a time between 1970 and 2200"
_LATER = "write a later `until`, or leave it out"
_NAMESPACE = UUID("5f0c1d7e-3b52-4c8c-9a0e-f10369a09e00")


def moment_ms(moment: str, start_ms: int) -> int:
    """Return the ms since 1970 of a duration since `start_ms`, or of an RFC 3339 time; raise ValueError for neither."""
    try:
        return start_ms + parse_duration_ms(moment)
    except ValueError:
        return parse_time_ms(moment)


def _start(value: object) -> str:
    parse_time_ms(str(value))
    return str(value)


def _moment(value: object) -> str:
    text = str(value)
    if text.isdecimal():
        raise ValueError(f"the unit is missing: write {text}s or {text}m")
    try:
        moment_ms(text, 0)
    except ValueError:
        forms = "a duration since `start` such as 90s or 1h30m, or an RFC 3339 time with a zone"
        raise ValueError(f"expected {forms}, got {text!r}") from None
    return text


Start = Annotated[str, BeforeValidator(_start)]
Moment = Annotated[str, BeforeValidator(_moment)]  # as it was written


class StoryEvent(Written):
    """One event, or `times` of them `every` so often. What is left out is made up, the same each time."""

    at: Moment
    append: Moment | None = None  # when the log got it; default: when it happened
    times: Annotated[int, Field(ge=1, le=EVENTS_MAX)] = 1
    every: DurationMs = 1_000
    partition: Annotated[int, Field(ge=0, lt=PARTITIONS_MAX)] = 0
    tenant: str = DEFAULT_TENANT
    event: str | None = None
    kind: Kind = "flow-run"
    flow: str | None = None
    run: str | None = None
    task: str | None = None
    state: State | None = None
    scheduled_for: Moment | None = None
    resource: dict[str, str] = Field(default_factory=dict)
    related: tuple[dict[str, str], ...] = ()
    id: UUID | None = None


class Expected(Written):
    """One transition that must come. What is left out, of `key` too, may be anything."""

    at: Moment
    rule: str
    key: dict[str, str] = Field(default_factory=dict)
    to: AlertState
    tenant: str | None = None
    value: float | None = None
    samples: int | None = None
    reason: str | None = None


class RuleTest(Written):
    """A whole test file."""

    rules: Annotated[tuple[str, ...], Field(min_length=1)]
    start: Start = DEFAULT_START
    events: tuple[StoryEvent, ...] = ()
    until: Moment | None = None
    expect: tuple[Expected, ...] = ()

    @property
    def start_ms(self) -> int:
        """What durations count from."""
        return parse_time_ms(self.start)

    @property
    def until_ms(self) -> int | None:
        """Where the clock ends; None where the last append is the end."""
        return None if self.until is None else moment_ms(self.until, self.start_ms)


def validated(document: Document) -> RuleTest:
    """Return the story that is written in `document`; raise InvalidRules with every mistake."""
    _refuse_rules(document)
    try:
        return RuleTest.model_validate(document.data)
    except ValidationError as error:
        raise InvalidRules(problems_of(error, document, (), _known_fields)) from None


def refuse_impossible(test: RuleTest, ruleset: RuleSet, document: Document) -> None:
    """Raise InvalidRules for events that no log takes and expectations that no transition of these rules can meet."""
    problems = [*_event_problems(test, document), *_expectation_problems(test, ruleset, document)]
    if problems:
        raise InvalidRules(tuple(problems))


def event_lines(test: RuleTest) -> list[bytes]:
    """Return the events as lines for the replay, in the order of their append times."""
    timed = [line for number, event in enumerate(test.events) for line in _lines_of(event, number, test.start_ms)]
    return [line for _, line in sorted(timed, key=lambda item: item[0])]


def _refuse_rules(document: Document) -> None:
    """Raise InvalidRules where rules stand in the place of the names of their files, most likely for a wrong file."""
    if not isinstance(document.data, dict):
        raise InvalidRules((document.problem((), "expected a test of rules", EXAMPLE),))
    data = cast("dict[str, object]", document.data)
    rules = cast("list[object]", data["rules"]) if isinstance(data.get("rules"), list) else []
    written = [index for index, each in enumerate(rules) if isinstance(each, dict)]
    if "channels" in data or "actions" in data or (written and not {"events", "expect"} & data.keys()):
        name = Path(document.file).name
        what, remedy = (
            "this is a file of rules, and no test of them",
            f"write a test that begins with `rules: [{name}]`",
        )
        raise InvalidRules((document.problem((), what, f"{remedy}, {EXAMPLE}"),))
    if written:
        what, remedy = "expected the name of a rule file, got a rule", "put the rules in a file of their own"
        raise InvalidRules((document.problem(("rules", written[0]), what, f"{remedy}, and name it here"),))


def _known_fields(path: tuple[str | int, ...]) -> Sequence[str]:
    match path:
        case ("events", int(), *_):
            return tuple(StoryEvent.model_fields)
        case ("expect", int(), *_):
            return tuple(Expected.model_fields)
        case _:
            return tuple(RuleTest.model_fields)


def _event_problems(test: RuleTest, document: Document) -> Iterator[Problem]:
    if sum(event.times for event in test.events) > EVENTS_MAX:
        remedy = "make it a file for `flowgauge replay`"
        yield document.problem(("events",), f"more than {EVENTS_MAX} events, after `times`", remedy)
    for number, event in enumerate(test.events):
        last_ms = (event.times - 1) * event.every
        outside = [
            name
            for name, moment in (("at", event.at), ("append", event.append), ("scheduled_for", event.scheduled_for))
            if moment is not None and not 0 <= moment_ms(moment, test.start_ms) <= APPEND_MS_MAX - last_ms
        ]
        if outside:
            yield document.problem(("events", number, outside[0]), _OUT_OF_RANGE)
            continue
        append_ms, line = next(_lines_of(event, number, test.start_ms))
        try:
            check(line, append_ms)
        except InvalidEvent as error:
            yield document.problem(("events", number), f"no event that a log takes: {error}")
        if test.until_ms is not None and append_ms > test.until_ms:
            yield document.problem(("events", number), "comes after `until`: nothing would see it", _LATER)
    if test.until_ms is not None and not 0 <= test.until_ms <= APPEND_MS_MAX:
        yield document.problem(("until",), _OUT_OF_RANGE)


def _expectation_problems(test: RuleTest, ruleset: RuleSet, document: Document) -> Iterator[Problem]:
    keys: dict[str, list[str]] = {}
    for item in ruleset.rules:  # two tenants may have a rule of the same name
        keys.setdefault(item.name, []).extend(item.key_names)
    names = ", ".join(islice(keys, NAMES_SHOWN_MAX)) + (", …" if len(keys) > NAMES_SHOWN_MAX else "")
    for number, expected in enumerate(test.expect):
        if expected.rule not in keys:
            remedy = f"rules of this test: {names or 'none'}"
            yield document.problem(("expect", number, "rule"), f"no rule is called {expected.rule!r}", remedy)
            continue
        if test.until_ms is not None and moment_ms(expected.at, test.start_ms) > test.until_ms:
            yield document.problem(("expect", number, "at"), "is after `until`: nothing is told then", _LATER)
        known = keys[expected.rule]
        remedy = f"its keys have {', '.join(known)}" if known else "it has no `for_each`: leave `key` out"
        for name in expected.key:
            if name not in known:
                yield document.problem(("expect", number, "key", name), "not in the keys of this rule", remedy)


def _lines_of(event: StoryEvent, number: int, start_ms: int) -> Iterator[tuple[int, bytes]]:
    """Yield (append time, line) for each time that the event happens."""
    occurred_ms = moment_ms(event.at, start_ms)
    append_ms = occurred_ms if event.append is None else moment_ms(event.append, start_ms)
    for repeat in range(event.times):
        shift_ms = repeat * event.every
        fields = _fields(event, (number, repeat), start_ms)
        times = {"_append": append_ms + shift_ms, "occurred": rfc3339(occurred_ms + shift_ms)}
        yield append_ms + shift_ms, msgspec.json.encode(times | fields)


def _fields(event: StoryEvent, place: tuple[int, int], start_ms: int) -> dict[str, Any]:
    run = event.run or f"run-{place[0]}-{place[1]}"
    fields: dict[str, Any] = {
        "_partition": event.partition,
        "id": str(event.id or uuid5(_NAMESPACE, f"{place[0]}.{place[1]}")),
        "tenant": event.tenant,
        "event": event.event or f"{event.kind}.{event.state or 'happened'}",
        "kind": event.kind,
        "run": run,
        "resource": {"id": f"{event.kind}.{run}", **event.resource},
        "related": list(event.related),
    }
    optional = {"flow": event.flow, "task": event.task, "state": event.state}
    if event.scheduled_for is not None:
        optional["scheduled_for"] = rfc3339(moment_ms(event.scheduled_for, start_ms))
    return fields | {key: value for key, value in optional.items() if value is not None}
