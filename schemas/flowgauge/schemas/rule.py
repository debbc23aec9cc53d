"""The rule as people write it: what to match, how to group, when to fire, whom to tell.

`when` holds one kind by its name; each kind's own fields are checked by that kind (processors.kinds). The file
form is YAML with top-level `rules:`; processors.ruleset reads it and gives every mistake its line.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from flowgauge.schemas.lane import ACTION_PREFIX, action_lane, action_of
from flowgauge.schemas.rule_forms import (
    DURATION,
    LABEL_FIELD,
    PLAIN_FIELDS,
    RUNBOOK,
    RUNBOOK_CHARS_MAX,
    SHARE,
    WINDOW,
    for_each_form,
    labels_form,
    match_form,
)
from flowgauge.schemas.times import format_duration, parse_duration_ms, parse_time_ms, rfc3339

RULE_NAME_MAX = 200
ACTION_NAME_MAX = 200
ACTIONS_MAX = 8  # of one rule: they share an incident's 16 lanes with its channels
TOP_LEVEL = ("rules", "channels", "routes", "actions")  # what a file of rules holds
GROUP_FIELDS_MAX = 8
SUMMARY_MAX = 2_000
PATTERN_MAX = 1_024
PATTERNS_MAX = 1_000
WINDOW_MIN_MS = 1_000  # the smallest pane
DURATION_MAX_MS = 31 * 86_400_000  # a window of a month; longer questions are for ClickHouse

_LABEL_FIELD = re.compile(LABEL_FIELD)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_PERCENT = re.compile(r"\d+(?:\.\d+)?%")


def _duration(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a duration such as 30s, 10m or 7d, got {value!r}")  # noqa: TRY004  # pydantic's way
    if isinstance(value, int):
        if value == 0:
            return 0
        raise ValueError(f"the unit is missing: write {value}s or {value}m")
    duration_ms = parse_duration_ms(value)
    if duration_ms > DURATION_MAX_MS:
        raise ValueError(f"{value} is longer than 31d, the longest that a rule may look back")
    return duration_ms


def _share(value: object) -> float:
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        share = float(value[:-1] + "e-2")  # the nearest double: 0.7 / 100 is not
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    else:
        raise ValueError(f"expected a share such as 20% or 0.2, got {value!r}")
    if not 0 <= share <= 1:
        hint = f": write {share:g}% if that was meant" if 1 < share <= 100 and not isinstance(value, str) else ""
        raise ValueError(f"a share lies between 0% and 100%, got {value}{hint}")
    return share


def _window(value: object) -> int:
    window_ms = _duration(value)
    if window_ms < WINDOW_MIN_MS:
        raise ValueError(f"a window is at least 1s long, got {value}: write 10m to look back ten minutes")
    return window_ms


def _no_text(number: Literal["int", "float"]) -> BeforeValidator:
    """Refuse the texts and truths that pydantic takes for numbers, and editors, by the JSON Schema, do not."""

    def read(value: object) -> object:
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise PydanticCustomError(f"{number}_parsing", "expected a number")
        if isinstance(value, str | bool):
            raise PydanticCustomError(f"{number}_type", "expected a number")
        return value

    return BeforeValidator(read)


IN_DIGITS = _no_text("int")  # after the bounds of an int, so that a JSON Schema has them
IN_NUMBERS = _no_text("float")  # the same of a float


def _moment(value: object) -> int:
    return parse_time_ms(str(value))


DurationMs = Annotated[int, BeforeValidator(_duration), WithJsonSchema(DURATION)]
MomentMs = Annotated[int, BeforeValidator(_moment), WithJsonSchema({"type": "string"})]
WindowMs = Annotated[int, BeforeValidator(_window), WithJsonSchema(WINDOW)]
Share = Annotated[float, BeforeValidator(_share), WithJsonSchema(SHARE)]


class Written(BaseModel):
    """What people write: unknown fields are mistakes, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def defaults(self) -> Mapping[str, object]:
        """Return what fields that are not written mean, where that hangs on others."""
        return {}


def _patterns(value: object) -> tuple[str, ...]:
    items = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    if not 1 <= len(items) <= PATTERNS_MAX:
        raise ValueError(f"expected 1 to {PATTERNS_MAX} patterns")
    return tuple(_pattern(item) for item in items)


def _pattern(item: object) -> str:
    if item is None or isinstance(item, dict | list):
        raise ValueError("expected text, a glob such as orders-*, a negation !x, or a list of these")
    if isinstance(item, float):  # 1.10 would have become 1.1, and .inf cannot be stored
        raise ValueError(f"put {item} in quotes, as it is written in the events")  # noqa: TRY004  # pydantic's way
    text = str(item).lower() if isinstance(item, bool) else str(item)
    if len(text) > PATTERN_MAX:
        raise ValueError(f"a pattern is at most {PATTERN_MAX} characters")
    return text


Patterns = Annotated[tuple[str, ...], BeforeValidator(_patterns)]


def _field(name: str) -> str:
    """Return `name` if events can be matched or grouped by it; raise ValueError with the nearest there is."""
    if name in PLAIN_FIELDS or _LABEL_FIELD.fullmatch(name):
        return name
    first, dot, rest = name.partition(".")
    near = get_close_matches(first, ("resource", "related") if dot else PLAIN_FIELDS, n=1)
    meant = f"{near[0]}{dot}{rest}" if near else ""
    if meant in PLAIN_FIELDS or _LABEL_FIELD.fullmatch(meant):
        raise ValueError(f"unknown field {name!r}: did you mean `{meant}`?")
    raise ValueError(f"unknown field {name!r}: use {', '.join(PLAIN_FIELDS)}, resource.LABEL or related.ROLE.LABEL")


FieldName = Annotated[str, AfterValidator(_field)]


def _runbook(text: str) -> str:
    """Return the address, or nothing; raise ValueError for one that leads nowhere, or holds a password."""
    if "@" in text.partition("://")[2].partition("/")[0]:  # never repeated
        raise ValueError("expected an address without a user: it goes with every message")
    try:
        parts = urlsplit(text)
        is_address = bool(re.fullmatch(RUNBOOK["pattern"], text) and parts.hostname and parts.port != 0)
    except ValueError:
        is_address = False
    if text and not is_address:
        raise ValueError(f"expected an address such as https://wiki.example.com/orders-db, got {text[:100]!r}")
    return text


LabelPatterns = Annotated[dict[str, Patterns], WithJsonSchema(labels_form(longest=PATTERN_MAX, most=PATTERNS_MAX))]
Match = Annotated[
    dict[FieldName, Patterns], WithJsonSchema(match_form(longest=PATTERN_MAX, most=PATTERNS_MAX))
]  # all fields must
_FOR_EACH = for_each_form(most=GROUP_FIELDS_MAX)


def _told(description: str) -> Any:
    """Return what an editor says of a field."""
    return Field(description=description)


class RunAction(Written):
    """An action that a rule runs when its incident gets into one of some states."""

    run: Annotated[str, Field(min_length=1, max_length=ACTION_NAME_MAX), _told("The name of the action.")]
    on: Annotated[
        tuple[Literal["firing", "no_data", "resolved"], ...],
        Field(json_schema_extra={"minItems": 1}),
        _told("The states that it is run in."),
    ] = ("firing",)

    @field_validator("on")
    @classmethod
    def _in_some_state(cls, states: tuple[str, ...]) -> tuple[str, ...]:
        if not states:
            raise ValueError("expected a list of at least one, got none (name one)")
        return states


def _run_actions(value: object) -> object:
    """Read a name by itself as the action that runs when the rule fires."""
    if not isinstance(value, list | tuple):
        return value
    return [{"run": each} if isinstance(each, str) else each for each in cast("list[object]", value)]


class Rule(Written):
    """One rule. Its name is the identity of its incidents within a tenant."""

    name: Annotated[str, Field(min_length=1, max_length=RULE_NAME_MAX), _told("The identity of its incidents.")]
    tenant: Annotated[str, Field(min_length=1), _told("Whose events it sees: one tenant, or *, each by itself.")] = "*"
    match: Annotated[Match, _told("Which events: all fields must.")] = {}
    for_each: Annotated[
        tuple[FieldName, ...],
        Field(max_length=GROUP_FIELDS_MAX),
        WithJsonSchema(_FOR_EACH),
        _told("A window and an incident of its own for each value of these fields; none: one for all."),
    ] = ()
    missing_key: Annotated[
        Literal["skip", "share"], _told("An event without a field of for_each is skipped, or shares one group.")
    ] = "skip"
    when: Annotated[dict[str, dict[str, Any]], _told("Exactly one kind of rule: when somebody must know.")]
    for_: Annotated[DurationMs, Field(alias="for"), _told("How long it must hold before it fires.")] = 0
    keep_firing_for: Annotated[DurationMs, _told("How long it must be gone before it resolves.")] = 0
    no_data: Annotated[
        Literal["hold", "resolve", "fire"],
        _told("What an empty window means for an incident: nothing, its end, or one."),
    ] = "hold"
    allowed_lateness: Annotated[
        DurationMs, _told("How much later than it happened an event may come and still count.")
    ] = 10_000
    severity: Annotated[Literal["info", "warning", "error", "critical"], _told("How urgent it is.")] = "warning"
    labels: Annotated[dict[str, str], _told("Texts that go with every message.")] = {}
    summary: Annotated[
        str, Field(max_length=SUMMARY_MAX), _told("One line for people, with names such as {{ flow }}.")
    ] = ""
    runbook: Annotated[
        str,
        Field(max_length=RUNBOOK_CHARS_MAX),
        AfterValidator(_runbook),
        WithJsonSchema(RUNBOOK),
        _told("The address of what to do about it."),
    ] = ""
    notify: Annotated[tuple[str, ...], _told("Names of the channels that are told.")] = ()
    actions: Annotated[
        tuple[RunAction, ...],
        Field(max_length=ACTIONS_MAX),
        BeforeValidator(_run_actions),
        _told("Names of the actions that are run, and in which states."),
    ] = ()

    @field_validator("for_each", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("for_each")
    @classmethod
    def _groups_once(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(fields)) != len(fields):
            raise ValueError("a field stands twice")
        return fields

    @field_validator("notify")
    @classmethod
    def _channels_alone(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if actions := [name for name in names if name.startswith(ACTION_PREFIX)]:
            raise ValueError(f"{actions[0]!r} is no channel's name: write `actions: [{action_of(actions[0])}]`")
        return names

    @field_validator("actions")
    @classmethod
    def _actions_once(cls, actions: tuple[RunAction, ...]) -> tuple[RunAction, ...]:
        if len({each.run for each in actions}) != len(actions):
            raise ValueError("an action stands twice")
        return actions

    @field_validator("when")
    @classmethod
    def _one_kind(cls, when: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if len(when) != 1:
            found = f"got {', '.join(when)}: write a rule for each" if when else "got none, such as failure_rate"
            raise ValueError(f"expected exactly one kind under `when`, {found}")
        return when


def told_lanes(rule: Rule, state: str) -> list[str]:
    """Return whom a transition into `state` is for: the channels, and the lanes of the actions that run in it."""
    return [*rule.notify, *(action_lane(each.run) for each in rule.actions if state in each.on)]


def as_written(written: Written) -> dict[str, str]:
    """Return every field by its path, such as `pairs[0].above`, and its value as people write it, defaults included."""
    return dict(_written_fields(written, ""))


def _written_fields(written: Written, before: str) -> Iterator[tuple[str, str]]:
    stand_for = written.defaults()
    for name, field in type(written).model_fields.items():
        value = stand_for.get(name, getattr(written, name))
        yield from _written_values(f"{before}{field.alias or name}", value, field)


def _written_values(path: str, value: object, field: FieldInfo) -> Iterator[tuple[str, str]]:
    """Yield each value in what stands at `path`: fields within it, items that have fields, and texts by name."""
    match value:
        case Written():
            yield from _written_fields(value, f"{path}.")
        case tuple() if any(isinstance(each, Written | dict) for each in cast("tuple[object, ...]", value)):
            for index, each in enumerate(cast("tuple[object, ...]", value)):
                yield from _written_values(f"{path}[{index}]", each, field)
        case dict() if value:
            for name, inner in cast("dict[str, object]", value).items():
                several = cast("tuple[object, ...]", inner if isinstance(inner, tuple) else (inner,))
                yield from _written_values(f"{path}.{name}", several[0] if len(several) == 1 else several, field)
        case _:
            yield path, _written_text(value, field)


def _written_text(value: object, field: FieldInfo) -> str:
    reads = {each.func for each in _validators(field) if isinstance(each, BeforeValidator)}
    text = str(value)
    match value:
        case None | "":
            text = "none"
        case bool():
            text = text.lower()
        case int() if reads & {_duration, _window}:
            text = format_duration(value)
        case int() if _moment in reads:
            text = rfc3339(value)
        case float():
            text = f"{value * 100:.12g}%" if _share in reads else f"{value:.12g}"
        case tuple():
            text = f"[{', '.join(map(str, cast('tuple[object, ...]', value)))}]"
        case _:
            pass
    return text


def _validators(field: FieldInfo) -> Iterator[object]:
    """Yield what reads a field: of one that may be left out, it stands with the type that is not None."""
    yield from field.metadata
    for each in get_args(field.annotation):
        yield from getattr(each, "__metadata__", ())
