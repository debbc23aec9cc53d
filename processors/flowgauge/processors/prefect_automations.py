"""Prefect's automations as rules: each event trigger word for word, and a note on all that is not. Pure.

Input is what `prefect automation inspect --json`, `--yaml` or the API gives: one automation or a list of them. Output
is the data of a rule file. What has no counterpart is never left out in silence: it comes back as a note.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
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

_ISO_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_ISO_UNITS_S = (86_400, 3_600, 60, 1)
_WIDTH = 120
_ACTION_LISTS = (("actions", ""), ("actions_on_trigger", " on trigger"), ("actions_on_resolve", " on resolve"))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An automation that is no rule now, and why."""

    automation: str
    reason: str

    def __str__(self) -> str:
        return f"left out: {self.automation}: {self.reason}"


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
            lines += [f"  # {' '.join(note.split())}" for note in each.notes]
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
    found = Imported([], [])
    names = Counter[str]()
    for number, item in enumerate(items):
        automation = _automation(item)
        name = str(automation.get("name") or f"automation {number + 1}")
        try:
            trigger = _enabled_trigger(automation)
            rule = _rule(automation, _unique(name, names[name] + 1), trigger)
        except NoCounterpartError as reason:
            found.left_out.append(LeftOut(name, str(reason)))
            continue
        names[name] += 1
        found.rules.append(ImportedRule(rule, tuple(_notes(automation, trigger, name, rule["name"]))))
    return found


def _automation(item: object) -> dict[str, Any]:
    shown = repr(item)[:60]
    if isinstance(item, dict):
        automation = cast("dict[str, Any]", item)
        if "trigger" in automation:
            return automation
    raise ValueError(f"expected automations, each with a name and a trigger, got {shown}")


def _enabled_trigger(automation: Json) -> dict[str, Any]:
    if automation.get("enabled") is False:
        raise NoCounterpartError("it is disabled in Prefect")
    return trigger_of(automation["trigger"])


def trigger_of(trigger: object) -> dict[str, Any]:
    """Return a Prefect event trigger as the fields of `prefect`; raise NoCounterpartError where there is none."""
    if not isinstance(trigger, dict):
        raise NoCounterpartError("its trigger is no object")
    fields = cast("dict[str, Any]", trigger)
    posture, threshold = fields.get("posture", "Reactive"), fields.get("threshold", 1)
    _refuse_others(fields.get("type", "event"), posture, threshold)
    found: dict[str, Any] = {"posture": posture}
    for name in ("match", "match_related"):
        if fields.get(name):
            found[name] = _specification(fields[name])
    for name in ("after", "expect", "for_each"):
        if fields.get(name):
            found[name] = sorted(_texts(fields[name]))
    if threshold != 1:
        found["threshold"] = threshold
    within_ms = _within_ms(fields.get("within"))
    if posture == "Proactive" and not within_ms:
        within_ms = PROACTIVE_MIN_MS
    if within_ms:
        found["within"] = format_duration(within_ms)
    return found


def _refuse_others(kind: object, posture: object, threshold: object) -> None:
    if kind != "event":
        raise NoCounterpartError(f"a {kind} trigger has no counterpart")
    if posture not in {"Reactive", "Proactive"}:
        raise NoCounterpartError(f"a trigger of posture {posture} has no counterpart")
    if not isinstance(threshold, int) or threshold < 1:
        raise NoCounterpartError(f"a threshold of {threshold} has no counterpart: it is at least 1")


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


def _texts(value: object) -> list[str]:
    return [str(each) for each in cast("list[object]", value)] if isinstance(value, list | tuple) else [str(value)]


def _within_ms(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, str) and (parts := _ISO_DURATION.fullmatch(value)):
        seconds = sum(float(part or 0) * unit for part, unit in zip(parts.groups(), _ISO_UNITS_S, strict=True))
    elif isinstance(value, int | float):
        seconds = float(value)
    else:
        raise NoCounterpartError(f"`within` is {value!r}, expected seconds")
    within_ms = round(seconds * 1000)
    if within_ms > DURATION_MAX_MS:
        raise NoCounterpartError(f"`within` is {format_duration(within_ms)}, longer than 31d")
    if abs(seconds * 1000 - within_ms) > 1e-6:
        raise NoCounterpartError(f"`within` is {seconds} s: parts of a millisecond have no counterpart")
    return within_ms


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


def _unique(name: str, count: int) -> str:
    suffix = f" ({count})" if count > 1 else ""
    return name[: RULE_NAME_MAX - len(suffix)] + suffix


def _notes(automation: Json, trigger: Json, name: str, rule_name: str) -> Iterator[str]:
    if rule_name != name:
        yield f"its rule is called {rule_name}: a name is unique, and at most {RULE_NAME_MAX} characters"
    for field, when in _ACTION_LISTS:
        for action in cast("list[object]", automation.get(field) or []):
            kind = cast("dict[str, object]", action).get("type", "?") if isinstance(action, dict) else "?"
            yield f"its action {kind}{when} is not carried out: name a channel under `notify`"
    if trigger["posture"] == "Proactive":
        yield "silence counts from the first event that matches, not from the start of a server"
        yield "a backlog or a stop delays what it tells, and loses none of it"
    yield "events count in the order of the log: one that `follows` another does not wait for it"
