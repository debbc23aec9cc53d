"""Prefect's automations as rules: each event trigger word for word, and a note on all that is not. Pure.

Input is what `prefect automation inspect --json`, `--yaml` or the API gives: one automation or a list of them. Output
is the data of a rule file. What has no counterpart is never left out in silence: it comes back as a note.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

from flowgauge.processors.kinds.prefect import PROACTIVE_MIN_MS
from flowgauge.processors.ruleset import rules_of
from flowgauge.schemas.errors import BadInput, InvalidRules
from flowgauge.schemas.rule import DURATION_MAX_MS, RULE_NAME_MAX
from flowgauge.schemas.times import format_duration
from flowgauge.schemas.yaml_places import Document, read_yaml

Json = Mapping[str, Any]

AUTOMATIONS_MAX = 20_000  # as many as a rule set carries

_FIELDS = ("type", "id", "match", "match_related", "after", "expect", "for_each", "posture", "threshold", "within")
_ISO_DURATION = re.compile(r"P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_ISO_UNITS_S = (86_400, 3_600, 60, 1)
_WIDTH = 120
_SHOWN_CHARS_MAX = 60
_COUNTED_CHARS = RULE_NAME_MAX - len(f" ({AUTOMATIONS_MAX})")  # of a name, whatever its number
_ACTION_LISTS = (("actions", ""), ("actions_on_trigger", " on trigger"), ("actions_on_resolve", " on resolve"))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An automation that is no rule now, and why."""

    automation: str
    reason: str

    def __str__(self) -> str:
        return _line(f"left out: {self.automation}: {self.reason}")


@dataclass(frozen=True, slots=True)
class ImportedRule:
    """A rule as its file has it, and what the automation's owner should know of it."""

    rule: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """The rules and what was left out, each in the order of the automations."""

    rules: list[ImportedRule]
    left_out: list[LeftOut]

    @property
    def text(self) -> str:
        """The rule file, each rule below its notes."""
        lines = ["rules:" if self.rules else "rules: []"]
        for each in self.rules:
            lines += [f"  # {_line(note)}" for note in each.notes]
            written = yaml.safe_dump([each.rule], sort_keys=False, allow_unicode=True, width=_WIDTH)
            lines += [f"  {line}" if line else "" for line in written.splitlines()]
        return "\n".join([*lines, ""])


class NoCounterpartError(ValueError):
    """The trigger cannot be a rule; the message says why."""


def imported_file(file: str, text: str) -> Imported:
    """Return the rules of the automations in a JSON or YAML file; raise BadInput where it holds none."""
    return imported_from(file, read_yaml(file, text).data)


def imported_from(place: str, data: object) -> Imported:
    """Return the rules of the automations in `data`, which is from `place`; raise BadInput where it holds none."""
    try:
        return imported(data)
    except ValueError as error:
        raise BadInput(f"{place}: {error}") from None


def imported(data: object) -> Imported:
    """Return the rules of one automation or a list of them; raise ValueError where `data` is neither."""
    items = cast("list[object]", data) if isinstance(data, list) else [data]
    if len(items) > AUTOMATIONS_MAX:
        raise ValueError(f"{len(items)} automations, at most {AUTOMATIONS_MAX} are read")
    automations = [_automation(item) for item in items]
    names = _Names(automation["name"] for automation in automations)
    found = Imported([], [])
    for automation in automations:
        try:
            found.rules.append(_imported_rule(automation, names.free(automation["name"])))
        except NoCounterpartError as reason:
            found.left_out.append(LeftOut(automation["name"], str(reason)))
        else:
            names.take(found.rules[-1].rule["name"])
    return found


class _Names:
    """The names of rules: an automation's own where it is free, which none but an automation of that name takes.

    Others count until they are free: `a`, `a`, `a (2)` become `a`, `a (3)`, `a (2)`.
    """

    def __init__(self, given: Iterable[str]) -> None:
        self._given = frozenset(given)
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}  # where to go on, or thousands of one name count from 2 each

    def free(self, name: str) -> str:
        """Return what the rule of the automation `name` is called if it comes next."""
        own = name[:RULE_NAME_MAX]
        if own not in self._taken and (own == name or own not in self._given):
            return own
        counted = name[:_COUNTED_CHARS]
        count = self._counts.get(counted, 2)
        while (found := _numbered(name, count)) in self._taken or found in self._given:
            count += 1
        self._counts[counted] = count
        return found

    def take(self, name: str) -> None:
        """Give `name` to nobody else."""
        self._taken.add(name)


def _numbered(name: str, count: int) -> str:
    suffix = f" ({count})"
    return name[: RULE_NAME_MAX - len(suffix)] + suffix


def _automation(item: object) -> dict[str, Any]:
    shown = _clipped(repr(item))  # before the types of what it holds are asked for
    if isinstance(item, dict):
        automation = cast("dict[str, Any]", item)
        if "trigger" in automation and automation.get("name") and isinstance(automation["name"], str):
            return automation
    raise ValueError(f"expected automations, each with a name and a trigger, got {shown}")


def _imported_rule(automation: Json, rule_name: str) -> ImportedRule:
    if automation.get("enabled") is False:
        raise NoCounterpartError("it is disabled in Prefect")
    trigger = trigger_of(automation["trigger"])
    rule = _rule(automation, rule_name, trigger)
    return ImportedRule(rule, tuple(_notes(automation, trigger, rule_name)))


def trigger_of(trigger: object) -> dict[str, Any]:
    """Return a Prefect event trigger as the fields of `prefect`; raise NoCounterpartError where there is none."""
    if not isinstance(trigger, dict):
        raise NoCounterpartError("its trigger is no object")
    fields = cast("dict[object, Any]", trigger)
    _refuse_others(fields)
    posture, threshold = fields["posture"], fields.get("threshold", 1)
    found: dict[str, Any] = {"posture": posture}
    for name in ("match", "match_related"):
        if fields.get(name) not in (None, {}, []):
            found[name] = _specification(fields[name])
    for name in ("after", "expect", "for_each"):
        if texts := _texts(name, fields.get(name)):
            found[name] = sorted(texts)
    if threshold != 1:
        found["threshold"] = threshold
    within_ms = _within_ms(fields.get("within"))
    if posture == "Proactive" and not within_ms:
        within_ms = PROACTIVE_MIN_MS
    if within_ms:
        found["within"] = format_duration(within_ms)
    return found


def _refuse_others(fields: Mapping[object, Any]) -> None:
    kind, posture, threshold = fields.get("type", "event"), fields.get("posture"), fields.get("threshold", 1)
    if kind != "event":
        raise NoCounterpartError(f"a {_shown(kind)} trigger has no counterpart")
    if unknown := [_shown(field) for field in fields if field not in _FIELDS]:  # left unread, it would fire at anything
        raise NoCounterpartError(f"an event trigger of Prefect has no field {_clipped(', '.join(unknown))}")
    if posture is None:
        raise NoCounterpartError("its trigger has no posture: Reactive, or Proactive")
    if posture not in ("Reactive", "Proactive"):  # a set refuses lists
        raise NoCounterpartError(f"a trigger of posture {_shown(posture)} has no counterpart")
    if not isinstance(threshold, int) or isinstance(threshold, bool) or threshold < 1:
        raise NoCounterpartError(f"a threshold of {_shown(threshold)} has no counterpart: it is at least 1")


def _specification(value: object) -> object:
    if isinstance(value, list):
        return [_specification(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        raise NoCounterpartError("`match` and `match_related` are labels with what they must be")
    labels = cast("dict[str, object]", value)
    for label, patterns in labels.items():
        if patterns == []:
            raise NoCounterpartError(f"an empty list for {label} matches nothing: it never fires")
    return dict(labels)


def _texts(field: str, value: object) -> list[str]:
    shown = _shown(value)
    texts = [] if value is None else cast("list[object]", value) if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in texts):
        raise NoCounterpartError(f"`{field}` is {shown}, expected texts")
    return cast("list[str]", texts)


def _within_ms(value: object) -> int:
    seconds = 0.0 if value is None else _seconds(value)
    if seconds > DURATION_MAX_MS / 1000:  # before it is rounded: the endless cannot be
        raise NoCounterpartError(f"`within` is {_shown(value)}, longer than 31d")
    within_ms = round(seconds * 1000)
    if abs(seconds * 1000 - within_ms) > 1e-6:
        raise NoCounterpartError(f"`within` is {seconds} s: parts of a millisecond have no counterpart")
    return within_ms


def _seconds(value: object) -> float:
    if isinstance(value, str) and (parts := _ISO_DURATION.fullmatch(value)):
        return sum(float(part or 0) * unit for part, unit in zip(parts.groups(), _ISO_UNITS_S, strict=True))
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return value
    raise NoCounterpartError(f"`within` is {_shown(value)}, expected seconds")


def _rule(automation: Json, name: str, trigger: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"name": name, "when": {"prefect": trigger}}
    description = " ".join(str(automation.get("description") or "").split())
    if description:
        rule["labels"] = {"description": description}
    try:
        rules_of([Document("", {"rules": [rule]}, {})])
    except InvalidRules as mistakes:
        raise NoCounterpartError("; ".join(problem.message for problem in mistakes.problems)) from None
    return rule


def _notes(automation: Json, trigger: Json, rule_name: str) -> Iterator[str]:
    if rule_name != automation["name"]:
        yield f"its rule is called {rule_name}: a name is unique, and at most {RULE_NAME_MAX} characters"
    for field, when in _ACTION_LISTS:
        actions = automation.get(field)
        shown = _shown(actions)
        if not isinstance(actions, list | None):
            raise NoCounterpartError(f"`{field}` is {shown}, expected a list")
        for action in cast("list[object]", actions or []):
            kind = cast("dict[str, object]", action).get("type", "?") if isinstance(action, dict) else "?"
            yield f"its action {_shown(kind)}{when} is not carried out: name a channel under `notify`"
    if trigger["posture"] == "Proactive":
        yield "silence counts from the first event that matches, not from the start of a server"
        yield "a backlog or a stop delays what it tells, and loses none of it"
    yield "events count in the order of the log: one that `follows` another does not wait for it"


def _shown(value: object) -> str:
    return _clipped(value if isinstance(value, str) else repr(value))


def _clipped(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[: _SHOWN_CHARS_MAX - 1]}…"


def _line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
