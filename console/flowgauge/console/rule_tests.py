"""`flowgauge rules test FILE`: events in, expected transitions out, in virtual time.

    rules: [orders.yaml]                        # beside this file; or inline rules, as in a rule file
    tests:
      - name: an outage fires, and clears when runs succeed again
        events:
          - {at: 0s, every: 30s, times: 10, flow: orders-eu, state: failed}
          - {at: 5m, every: 30s, times: 60, flow: orders-eu, state: completed}
        until: 40m                              # where the clock stands at the end
        expect:
          - {rule: orders failing, key: {flow: orders-eu}, to: firing}
          - {rule: orders failing, key: {flow: orders-eu}, to: resolved}

A time is a duration from the start of the test (2026-01-01T00:00:00Z) or an RFC 3339 time. `delay` is how long after
`at` the event reaches the log. Other fields are the event's own; a run of its own is made for each, `kind` is flow-run.
`expect` names every transition, in order, by the fields that matter: `rule, key, from, to, at, value, samples, reason`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowgauge.processors.replay import Replay, transition_row
from flowgauge.processors.ruleset import RuleSet, load_rules, parse_rules
from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.rule import DurationMs
from flowgauge.schemas.times import parse_duration_ms, parse_time_ms, rfc3339
from flowgauge.schemas.yaml_places import Document, problems_of, read_yaml

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z, a Thursday
TIMES_MAX = 100_000  # events that one line may stand for
VALUE_TOLERANCE = 1e-9
_EXPECTED = frozenset({"rule", "key", "from", "to", "at", "value", "threshold", "samples", "late_samples", "reason"})


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Events(BaseModel):
    """One line of events: when, how often, and the fields of each."""

    model_config = ConfigDict(extra="allow", frozen=True)

    at: str
    every: DurationMs = 0
    times: Annotated[int, Field(ge=1, le=TIMES_MAX)] = 1
    delay: DurationMs = 0


class _Test(_Part):
    name: Annotated[str, Field(min_length=1)]
    events: tuple[_Events, ...]
    until: str | None = None
    expect: tuple[dict[str, Any], ...]


def run_test_file(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield a line and whether it is good for each test; raise InvalidRules for a file that is no test file."""
    document = read_yaml(str(file), _text_of(file))
    data = document.data
    if not isinstance(data, dict) or not isinstance(cast("dict[str, Any]", data).get("tests"), list):
        raise InvalidRules((document.problem((), "expected `rules:` and `tests:` at the top"),))
    sections = cast("dict[str, Any]", data)
    ruleset = _ruleset(document, sections.get("rules"), file)
    for index, source in enumerate(cast("list[Any]", sections["tests"])):
        test = _read_test(document, index, source)
        problem = _difference(_found(ruleset, test), _wanted(document, index, test))
        yield (f"ok    {test.name}", True) if problem is None else (f"FAIL  {test.name}\n      {problem}", False)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRules((_file_problem(file, f"not UTF-8 at byte {error.start}"),)) from None


def _ruleset(document: Document, written: object, file: Path) -> RuleSet:
    if isinstance(written, str):
        written = [written]
    items = cast("list[object]", written) if isinstance(written, list) else []
    if items and all(isinstance(item, str) for item in items):
        return load_rules([file.parent / str(item) for item in items])
    if items and all(isinstance(item, dict) for item in items):
        return parse_rules(document.file, msgspec.json.encode({"rules": items}).decode())
    raise InvalidRules((document.problem(("rules",), "expected rule files, or rules as in a rule file"),))


def _read_test(document: Document, index: int, source: object) -> _Test:
    try:
        test = _Test.model_validate(source)
    except ValidationError as error:
        raise InvalidRules(problems_of(error, document, ("tests", index), tuple(_Test.model_fields))) from None
    for number, expected in enumerate(test.expect):
        for name in expected.keys() - _EXPECTED:
            place = ("tests", index, "expect", number, name)
            known = f"known fields: {', '.join(sorted(_EXPECTED))}"
            raise InvalidRules((document.problem(place, "unknown field", known),))
    return test


def _found(ruleset: RuleSet, test: _Test) -> list[dict[str, object]]:
    lines = [line for _, line in sorted(_lines(test.events), key=lambda item: item[0])]
    until_ms = _time_ms(test.until) if test.until else None
    problems: list[str] = []
    replay = Replay(lambda: lines, ruleset, until_ms=until_ms, report=lambda _, problem: problems.append(problem))
    rows = [transition_row(transition) for transition in replay.transitions()]
    if problems:
        raise InvalidRules((_file_problem(Path(test.name), f"an event is none: {problems[0]}"),))
    return rows


def _lines(events: Sequence[_Events]) -> Iterator[tuple[int, bytes]]:
    number = 0
    for item in events:
        for step in range(item.times):
            number += 1
            at_ms = _time_ms(item.at) + step * item.every
            append_ms = at_ms + item.delay
            yield append_ms, msgspec.json.encode(_event(item, number, at_ms) | {"_append": append_ms})


def _event(item: _Events, number: int, at_ms: int) -> dict[str, Any]:
    fields = dict(item.model_extra or {})
    run = str(fields.get("run") or f"run-{number}")
    state = str(fields.get("state", ""))
    defaults = {
        "id": str(UUID(int=number)),
        "occurred": rfc3339(at_ms),
        "kind": "flow-run",
        "event": f"flow-run.{state}" if state else "flow-run",
        "run": run,
        "resource": {"id": f"flow-run.{run}"},
    }
    if isinstance(fields.get("scheduled_for"), str):
        fields["scheduled_for"] = rfc3339(_time_ms(fields["scheduled_for"]))
    return {**defaults, **fields}


def _time_ms(text: str) -> int:
    try:
        return START_MS + parse_duration_ms(text)
    except ValueError:
        return parse_time_ms(text)


def _wanted(document: Document, index: int, test: _Test) -> list[dict[str, object]]:
    wanted: list[dict[str, object]] = []
    for number, expected in enumerate(test.expect):
        try:
            at = {"at": rfc3339(_time_ms(str(expected["at"])))} if "at" in expected else {}
        except ValueError as error:
            raise InvalidRules((document.problem(("tests", index, "expect", number, "at"), str(error)),)) from None
        wanted.append({**expected, **at})
    return wanted


def _difference(found: list[dict[str, object]], wanted: list[dict[str, object]]) -> str | None:
    """Return what is not as expected, in one line; None when all is."""
    for number, (row, expected) in enumerate(zip(found, wanted, strict=False), start=1):
        wrong = [name for name, value in expected.items() if not _equal(row[name], value)]
        if wrong:
            name = wrong[0]
            return f"transition {number}: {name} is {row[name]!r}, expected {expected[name]!r} ({_short(row)})"
    if len(found) > len(wanted):
        return f"transition {len(wanted) + 1} was not expected: {_short(found[len(wanted)])}"
    if len(found) < len(wanted):
        return f"transition {len(found) + 1} did not come: {wanted[len(found)]!r}"
    return None


def _equal(found: object, expected: object) -> bool:
    if isinstance(found, float) and isinstance(expected, int | float):
        return abs(found - expected) <= VALUE_TOLERANCE
    return found == expected


def _short(row: dict[str, object]) -> str:
    return f"{row['at']} {row['rule']} {row['key']} {row['from']} → {row['to']}, value {row['value']}"


def _file_problem(file: Path, message: str) -> Problem:
    return Problem(str(file), 0, 0, "", message)
