"""The rule set: rules read from files or from the rules topic, checked whole, compiled for matching.

A broken file gives every mistake with its place and never half a rule set.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from itertools import chain
from pathlib import Path as FilePath
from typing import Any, TypeVar, cast, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from flowgauge.processors.alert_state import Policy
from flowgauge.processors.compounds import CONDITION_FIELDS, GIVEN_FIELDS, ReadRule, ReadRules
from flowgauge.processors.kinds import KINDS, Compound, Kind
from flowgauge.processors.selector import Getter, Predicate, Test, plain_values, predicate, text_test
from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.event import KINDS as EVENT_KINDS
from flowgauge.schemas.event import NAME_MAX, STATES, Event
from flowgauge.schemas.ids import digest
from flowgauge.schemas.plain_yaml import Path
from flowgauge.schemas.rule import TOP_LEVEL, Rule
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.summary import check_template, rule_values, unknown_names, written_name
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.yaml_places import Document, problems_of, read_yaml
from flowgauge.transport.yaml_files import read_documents

RULES_MAX = 20_000
_GLANCE_FIELDS = ("event", "kind", "state")
# Fields that say how people are told, not what is detected: changing them keeps the window.
_TELLING_FIELDS = frozenset({"severity", "labels", "summary", "runbook", "notify", "actions"})
# What a required field is read as where it is wrong, so that the others can be checked.
_STAND_INS: Mapping[str, object] = {
    "name": "?",
    "when": {"event": {}},
    "above": "99%",
    "within": "1m",
    "after": "1m",
    "grace": "1m",
    "times": 1,
    "objective": "99.99%",
    "pairs": "ticket",
    "steps": [{"event": "?"}, {"event": "?"}],
    "posture": "Reactive",
}
_NAMED_FIELDS = re.compile(r"`(\w+)")

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to match and to evaluate. `uid` changes when its meaning does."""

    rule: Rule
    kind: Kind
    uid: str
    source: Mapping[str, Any]  # as written: what the rules topic keeps
    glance_tests: Mapping[str, Test]
    predicates: tuple[Predicate, ...]
    plain: Mapping[str, frozenset[str]]  # fields that only predicates look at and that must have one of some values
    group: tuple[Getter, ...]
    policy: Policy
    key_names: tuple[str, ...]  # what the parts of an incident's key are called, without the tenant
    name: str  # this and what follows: of the rule and its kind, at hand for the hot path
    window_ms: int
    pane_ms: int  # 0 for a rule that is told at once
    lateness_ms: int
    by_arrival: bool  # its samples are in panes by when the log got them
    in_place: Mapping[Path, "CompiledRule"] = field(default_factory=dict[Path, "CompiledRule"])  # by path in the rule

    def could_match(self, event: str | None, kind: str, state: str | None) -> bool:
        """Tell from a glance whether an event could match."""
        if self.kind.always_sees(kind, state):
            return True
        if self.kind.states is not None and state not in self.kind.states:
            return False
        values = {"event": event, "kind": kind, "state": state}
        for name, test in self.glance_tests.items():
            if name == "event" and event is None:
                continue
            value = values[name]
            if value is None or not test(value):
                return False
        return self.kind.could_be(event, kind, state)

    def could_look(self, kind: str, state: str | None) -> bool:
        """Tell whether an event of this kind and state could match under some name."""
        return self.could_match(None, kind, state)

    def key_of(self, event: Event) -> tuple[str, ...] | None:
        """Return the group key, the tenant first; None where the event lacks a field and the rule skips it."""
        key = [event.tenant]
        for get in self.group:
            value = get(event)
            if value is None or len(value) > NAME_MAX:  # a label may be longer than the state's records carry
                if self.rule.missing_key == "skip":
                    return None
                value = ""
            key.append(value)
        return tuple(key)

    def key_object(self, key: Sequence[str]) -> dict[str, str]:
        """Return a key's values by field, without the tenant; an immediate event's id comes last."""
        return dict(zip(self.key_names, key[1:], strict=False))

    @property
    def tells_moments(self) -> bool:
        """Whether each of its firings is an incident of its own, which is told at once and never open."""
        return self.by_arrival or not self.pane_ms

    @property
    def group_names(self) -> tuple[str, ...]:
        """What the parts of a window's key are called, without the tenant: an incident's own may hold more."""
        return self.key_names[: len(self.group)]

    def moment_ms(self, sample: Sample) -> int:
        """Return the time that says which pane a sample is in."""
        if self.by_arrival or self.is_late(sample):
            return sample.append_ms
        return sample.occurred_us // 1000

    def is_late(self, sample: Sample) -> bool:
        """Tell by its own record whether a sample came too late for the pane in which it happened."""
        return sample.append_ms - sample.occurred_us // 1000 > self.lateness_ms

    def hears(self, sample: Sample) -> bool:
        """Tell whether a sample that is not too far ahead enters windows: in time, or late where that still matters."""
        return not self.is_late(sample) or self.kind.hears_late(sample.outcome)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules that apply together. `version` counts the sets that one log has had; 0 before the first.

    `joining` are the source partitions that the log gets with this set, usually none: see `source_set`.
    """

    rules: tuple[CompiledRule, ...] = ()
    version: int = 0
    joining: range = range(0)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    notes: tuple[Problem, ...] = field(default=(), compare=False)  # good to know, and nothing to mend
    lapses: tuple[tuple[int, Problem], ...] = field(default=(), compare=False)  # from when on a rule never fires

    def refuse_lapsed(self, now_ms: int) -> None:
        """Raise InvalidRules where rules look at times alone that are over: for people, a set in force goes on."""
        if lapsed := tuple(problem for until_ms, problem in self.lapses if until_ms < now_ms):
            raise InvalidRules(lapsed)

    def content_id(self) -> str:
        """Return an id of what the rules say, whatever their version."""
        return digest([msgspec.to_builtins(rule.source) for rule in self.rules])


def load_rules(paths: Iterable[FilePath]) -> RuleSet:
    """Return the rules of YAML files, or of the *.yaml and *.yml files in folders, sorted by name.

    Raises InvalidRules with every mistake in every file.
    """
    return rules_of(*read_documents(paths))


def parse_rules(file: str, text: str) -> RuleSet:
    """Return the rules in `text`, told of as `file`; raise InvalidRules with every mistake."""
    return rules_of([read_yaml(file, text)])


def detected_by(item: CompiledRule) -> str:
    """Return an id of what a rule looks for, the same whatever it is called and whose events it sees."""
    meaning = _meaning(item.rule, item.kind)
    return _digest({field: value for field, value in meaning.items() if field not in {"name", "tenant"}})


def absent_names(rule: Rule, kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield each name in the summary that the rule never has, with a remedy."""
    fields = tuple(name for name in kind.key_names(rule) if name != "event_id")
    known = rule_values(fields, rule.labels)
    for name in unknown_names(rule.summary, known):
        paths = (
            ([each] for each in known),
            (field.split(".") for field in fields),
            (["labels", each] for each in rule.labels),
        )
        written = {".".join(path): written_name(path) for path in sorted(chain(*paths))}
        near = get_close_matches(name, written, n=1)
        yield name, f"did you mean `{written[near[0]]}`?" if near else f"there are {', '.join(written.values())}"


def rules_from_sources(sources: Sequence[Mapping[str, Any]], version: int) -> RuleSet:
    """Return the rule set that the rules topic keeps; it was checked when it was written."""
    document = Document(f"rule set {version}", {"rules": list(sources)}, {})
    return RuleSet(rules_of([document]).rules, version)


def rules_of(documents: Sequence[Document], unread: Sequence[Problem] = ()) -> RuleSet:
    """Return the rules of `documents`, in their order; raise InvalidRules with every mistake, the `unread` first."""
    problems = list(unread)
    read: list[ReadRule] = []
    names: dict[tuple[str, str], str] = {}  # where each stands
    for document in documents:
        for index, source in enumerate(_sources(document, problems)):
            item = _read(document, ("rules", index), source)
            problems += [*item.problems, *_second_of_its_name(item, names)]
            read.append(item)
    if len(read) > RULES_MAX:
        problems.append(Problem("rules", 0, 0, "", f"{len(read)} rules, at most {RULES_MAX} are carried"))
        raise InvalidRules(tuple(problems))
    named = ReadRules(read)
    problems += named.problems()
    if problems:
        raise InvalidRules(tuple(problems))
    return RuleSet(
        tuple(_compiled(item, named) for item in read),
        warnings=tuple(warning for item in read for warning in _warnings(item)),
        notes=tuple(note for item in read for note in _notes(item)),
        lapses=tuple(lapse for item in read for lapse in _lapses(item)),
    )


def _sources(document: Document, problems: list[Problem]) -> list[Mapping[str, Any]]:
    data = document.data
    if not isinstance(data, dict):
        problems.append(
            document.problem((), "expected `rules:` or `channels:` at the top", "write rules: and a list below it")
        )
        return []
    top = cast("dict[str, Any]", data)
    known = f"known fields: {', '.join(TOP_LEVEL)}"
    problems += [document.problem((name,), "unknown field", known) for name in top if name not in TOP_LEVEL]
    rules: object = [] if top.get("rules") is None else top["rules"]
    if not isinstance(rules, list):
        problems.append(document.problem(("rules",), "expected a list", "begin each rule with `- name:`"))
        return []
    return cast("list[Mapping[str, Any]]", rules)


def _read(document: Document, path: Path, source: Mapping[str, Any]) -> ReadRule:
    """Read a rule and its kind each for itself, so that a mistake in one hides none in the other."""
    rule, wrong, problems = _read_fields(Rule, source, document, path)
    kind: Kind | None = None
    kind_wrong: AbstractSet[str] = frozenset()
    when: object = source.get("when") if isinstance(source, dict) else None
    if isinstance(when, dict) and len(cast("dict[str, object]", when)) == 1:
        ((name, fields),) = cast("dict[str, Any]", when).items()
        if name not in KINDS:
            known = f"kinds of this version: {', '.join(sorted(KINDS))}"
            problems.append(document.problem((*path, "when", name), "unknown kind of rule", known))
        elif isinstance(fields, dict):
            written = cast("dict[str, Any]", fields)
            stand_ins = {**_STAND_INS, **KINDS[name].stand_ins}
            kind, kind_wrong, found = _read_fields(
                KINDS[name], written, document, (*path, "when", name), stand_ins=stand_ins
            )
            problems += found
    if rule:
        problems += _value_problems(document, path, rule)
    if rule and kind:
        problems += _contradictions(document, path, rule, kind, wrong=kind_wrong)
    item = ReadRule(document, path, source, rule, kind, wrong, problems)
    for index, (unknown, condition) in _inline(item).items():
        problems += [*unknown, *condition.problems]
        item.inline[index] = condition
    return item


def _inline(item: ReadRule) -> dict[int, tuple[list[Problem], ReadRule]]:
    """Read the conditions of a compound that are written in place, each as a rule, with what it has too much."""
    if item.rule is None or not isinstance(item.kind, Compound):
        return {}
    found: dict[int, tuple[list[Problem], ReadRule]] = {}
    given = {name: item.source[name] for name in GIVEN_FIELDS if name in item.source and name not in item.wrong}
    for index, condition in enumerate(item.kind.conditions):
        if isinstance(condition, dict):
            written = cast("dict[str, Any]", condition)
            path = (*item.path, "when", item.kind.name, "conditions", index)
            remedy = f"known fields: {', '.join(CONDITION_FIELDS)}"
            unknown = [
                item.document.problem((*path, name), "a condition has no such field", remedy)
                for name in written
                if name not in CONDITION_FIELDS
            ]
            own = {name: value for name, value in written.items() if name in CONDITION_FIELDS}
            found[index] = unknown, _read(item.document, path, {"name": f"condition {index + 1}", **given, **own})
    return found


def _read_fields(
    model: type[_M],
    source: Mapping[str, Any],
    document: Document,
    path: Path,
    *,
    stand_ins: Mapping[str, object] = _STAND_INS,
) -> tuple[_M | None, AbstractSet[str], list[Problem]]:
    """Read what can be read of `source`; return it, the fields that were left out as wrong, and every problem.

    What a model says of its fields together is only said once each of them is right, and one such thing at a time. So
    wrong fields are left out, and it is asked again until nothing new is said. None where nothing can be read.
    """
    wrong: set[str] = set()
    problems: list[Problem] = []
    left = source
    while True:
        try:
            return model.model_validate(left), wrong, problems
        except ValidationError as error:
            named = _named(error)
            says_more = not wrong & named.keys()  # what follows from a mistake that is told already is none
            if says_more:
                problems += problems_of(error, document, path, partial(_fields_at, model, len(path)))
            known, wrong = wrong, wrong | {name for name, is_first in named.items() if is_first or not says_more}
        if wrong == known:
            return None, wrong, problems
        needed = {name: stand_ins[name] for name in wrong if name in stand_ins and _is_required(model, name)}
        left = {name: value for name, value in source.items() if name not in wrong} | needed


def _named(error: ValidationError) -> dict[str, bool]:
    """Return the fields that the complaints are about; of one about several fields, only the first is the culprit."""
    named: dict[str, bool] = {}
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        if detail["loc"]:
            named[str(detail["loc"][0])] = True
        else:
            for index, name in enumerate(_NAMED_FIELDS.findall(detail["msg"])):
                named.setdefault(name, index == 0)
    return named


def _fields_at(model: type[BaseModel], depth: int, path: Path) -> tuple[str, ...]:
    """Return the fields that stand beside that at `path`, whose first `depth` steps lead to `model`."""
    for step in path[depth:-1]:
        if isinstance(step, str) and step in model.model_fields:
            inner = _models_in(model.model_fields[step].annotation)
            if not inner:
                return ()
            model = inner[0]
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _is_required(model: type[BaseModel], name: str) -> bool:
    return name in model.model_fields and model.model_fields[name].is_required()


def _second_of_its_name(item: ReadRule, names: dict[tuple[str, str], str]) -> Iterator[Problem]:
    """Find a name that stands before; note in `names` where each stands."""
    if item.rule is None or item.wrong & {"name", "tenant"}:
        return
    document, path = item.document, (*item.path, "name")
    place = f"{document.file}:{document.place(path)[0]}"
    first = names.setdefault((item.rule.tenant, item.rule.name), place)
    if first is not place:
        message = f"a second rule {item.rule.name!r}, the first is at {first}"
        yield document.problem(path, message, "rename one: a name is the identity of its incidents")


def _compiled(item: ReadRule, named: ReadRules) -> CompiledRule:
    """Return a rule that was read without a mistake, over its conditions where it has such."""
    assert item.rule is not None and item.kind is not None  # noqa: S101, PT018  # else there is a mistake
    kind, in_place = item.kind, dict[Path, CompiledRule]()
    if isinstance(kind, Compound):
        conditions = {index: _compiled(target, named) for index, target in named.conditions(item) if target is not None}
        in_place = {("when", kind.name, "conditions", index): conditions[index] for index in item.inline}
        kind = kind.of([*conditions.values()])
    return _compile(item.rule, kind, item.source, in_place)


def _compile(rule: Rule, kind: Kind, source: Mapping[str, Any], in_place: Mapping[Path, CompiledRule]) -> CompiledRule:
    kind = kind.grouped_by(rule.for_each)
    match = match_of(rule, kind)
    return CompiledRule(
        rule=rule,
        kind=kind,
        uid=_digest(_meaning(rule, kind)),
        source=source,
        glance_tests={
            **{name: text_test(match[name]) for name in _GLANCE_FIELDS if name in match},
            **kind.glance_tests(),
        },
        predicates=(
            *(predicate(name, match[name]) for name in match if name not in _GLANCE_FIELDS),
            *kind.predicates(),
        ),
        plain={name: values for name in match if name not in _GLANCE_FIELDS and (values := plain_values(match[name]))},
        group=kind.getters(rule),
        policy=Policy(rule.for_, rule.keep_firing_for, rule.no_data),
        key_names=kind.key_names(rule),
        name=rule.name,
        window_ms=kind.window_ms,
        pane_ms=kind.pane_ms,
        lateness_ms=0 if kind.by_arrival else rule.allowed_lateness,
        by_arrival=kind.by_arrival,
        in_place=in_place,
    )


def match_of(rule: Rule, kind: Kind) -> Mapping[str, tuple[str, ...]]:
    """Return `match` as it is meant, with the kinds of events that this kind of rule looks at by itself."""
    return ({} if kind.default_event_kinds is None else {"kind": kind.default_event_kinds}) | rule.match


def _digest(meaning: Mapping[str, Any]) -> str:
    return digest(msgspec.json.encode(meaning, order="sorted"))


def _meaning(rule: Rule, kind: Kind) -> dict[str, Any]:
    """Return what the rule means: the same for `20%` and `0.2`, and with a default written out."""
    meaning = rule.model_dump(mode="json", exclude={*_TELLING_FIELDS, "match", "when"}, exclude_defaults=True)
    meaning["match"] = match_of(rule, kind)
    meaning["when"] = {kind.name: kind.meaning()}
    return meaning


def _value_problems(document: Document, path: Path, rule: Rule) -> Iterator[Problem]:
    """Find patterns that can match nothing there is, and a summary that cannot be rendered."""
    for field_name, known in (("kind", EVENT_KINDS), ("state", STATES)):
        for pattern in rule.match.get(field_name, ()):
            test = text_test([pattern.removeprefix("!")])
            if not any(test(value) for value in known):
                message = f"{pattern!r} matches no {field_name}"
                yield document.problem((*path, "match", field_name), message, f"known: {', '.join(known)}")
    if rule.summary and (complaint := check_template(rule.summary)):
        yield document.problem((*path, "summary"), complaint)


def _contradictions(
    document: Document, path: Path, rule: Rule, kind: Kind, *, wrong: AbstractSet[str]
) -> Iterator[Problem]:
    """Find fields of rule and kind that exclude each other, as far as they do not hang on the kind's `wrong` fields."""
    if kind.name == "late" and "state" in rule.match:
        message = "a late rule must see every state of a run: it looks for starts that do not come"
        yield document.problem((*path, "match", "state"), message, "remove `state`")
    if not kind.pane_ms and not wrong and (rule.for_ or rule.keep_firing_for):
        place = "for" if rule.for_ else "keep_firing_for"
        message = "each event is an incident of its own here and holds for no time"
        yield document.problem((*path, place), message, f"remove `{place}`, or count with `times` and `within`")
    if not wrong:
        for field_path, message, remedy in kind.contradictions(rule):
            yield document.problem((*path, *field_path), message, remedy)
    if kind.states is not None and "finished" not in wrong and "state" in rule.match:
        test = text_test(rule.match["state"])
        if not any(state is not None and test(state) for state in kind.states):
            message = f"no {kind.name} rule looks at these states: it could never fire"
            yield document.problem((*path, "match", "state"), message, f"it looks at {_words(kind.states)}")


def _warnings(item: ReadRule) -> Iterator[Problem]:
    document, path, rule = item.document, item.path, item.rule
    assert rule is not None and item.kind is not None  # noqa: S101, PT018  # else there is a mistake
    for name, remedy in absent_names(rule, item.kind):
        yield document.problem((*path, "summary"), f"the name `{name}` is always empty here", remedy)


def _notes(item: ReadRule) -> Iterator[Problem]:
    assert item.kind is not None  # noqa: S101  # else there is a mistake
    for name, text in item.kind.notes().items():
        yield item.document.problem((*item.path, "when", item.kind.name, name), text)
    for condition in item.inline.values():
        yield from _notes(condition)


def _lapses(item: ReadRule) -> Iterator[tuple[int, Problem]]:
    assert item.kind is not None  # noqa: S101  # else there is a mistake
    if until := item.kind.until_ms():
        name, until_ms = until
        message = f"nothing comes after {rfc3339(until_ms)}: it never fires"
        path = (*item.path, "when", item.kind.name, name)
        yield until_ms, item.document.problem(path, message, "write years to come, or remove the rule")
    for condition in item.inline.values():
        yield from _lapses(condition)


def _words(states: Iterable[str | None]) -> str:
    return ", ".join(sorted(state for state in states if state is not None))
