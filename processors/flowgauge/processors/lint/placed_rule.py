"""A rule, or a condition written in place, with where it stands, and what a check finds there.

rule  orders down: all_of          ──►  the rule, found at its fields
         └─ {when: {…}}            ──►  the condition, found at its fields; what it has from its rule, at itself
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowgauge.processors.compounds import GIVEN_FIELDS
from flowgauge.processors.kinds import Kind
from flowgauge.processors.ruleset import CompiledRule, RuleSet
from flowgauge.processors.selector import text_test
from flowgauge.schemas.errors import Problem
from flowgauge.schemas.event import KINDS as EVENT_KINDS
from flowgauge.schemas.event import STATES
from flowgauge.schemas.plain_yaml import Path
from flowgauge.schemas.rule import Rule
from flowgauge.schemas.yaml_places import Document

Complaint = tuple[Path, str, str]  # path in the rule, what is wrong, remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found in one rule; `problem` says where, what, and what to write instead."""

    check: str
    rule: str
    problem: Problem

    def __str__(self) -> str:
        """Return `file:line:column: rule: what (remedy) [check]`, the form that editors jump to."""
        at = self.problem
        return f"{at.file}:{at.line}:{at.column}: {self.rule}: {at.message} ({at.remedy}) [{self.check}]"


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """A rule without mistakes, and where it was read; a condition with the rule that holds it, its `outer` one."""

    document: Document
    path: Path
    compiled: CompiledRule
    outer: "PlacedRule | None" = None

    @property
    def rule(self) -> Rule:
        """The rule as it is written."""
        return self.compiled.rule

    @property
    def kind(self) -> Kind:
        """The kind under its `when`."""
        return self.compiled.kind

    @property
    def event_kinds(self) -> frozenset[str]:
        """The kinds of events that it can see."""
        looks = self.compiled.could_look
        return frozenset(kind for kind in EVENT_KINDS if any(looks(kind, state) for state in (None, *STATES)))

    @property
    def states(self) -> frozenset[str]:
        """The states that `match` lets through: all of them where it names none."""
        test = text_test(self.rule.match.get("state", ("*",)))
        return frozenset(state for state in STATES if test(state))

    @property
    def matches(self) -> Iterator[tuple[Path, Mapping[str, tuple[str, ...]]]]:
        """What is written of events: `match`, and what a kind has like it, such as steps."""
        yield ("match",), self.rule.match
        yield from self.kind.matches()

    @property
    def lingers(self) -> bool:
        """Whether it goes on for some time when its value is gone, or waits before, or what holds it does."""
        rule = self.rule
        return bool(rule.for_ or rule.keep_firing_for) or (
            self.outer is not None and (self.outer.lingers or self.outer.kind.window_ms > 0)
        )

    def in_place(self) -> Iterator["PlacedRule"]:
        """Yield the conditions that are written in it, and those in these."""
        for path, compiled in self.compiled.in_place.items():
            condition = PlacedRule(self.document, (*self.path, *path), compiled, self)
            yield condition
            yield from condition.in_place()

    def finding(self, check: str, complaint: Complaint) -> Finding:
        """Return what `check` complains of as a finding at its place."""
        path, message, remedy = complaint
        root = self
        while root.outer is not None:
            root = root.outer
        place = self.path if root is not self and path[0] in GIVEN_FIELDS else (*self.path, *path)
        return Finding(check, root.rule.name, self.document.problem(place, message, remedy))


def placed(documents: Sequence[Document], ruleset: RuleSet) -> Iterator[PlacedRule]:
    """Yield each rule of `ruleset`, which was read from `documents`, with its place."""
    places = (
        (document, ("rules", index)) for document in documents for index in range(len(document.data.get("rules") or ()))
    )
    for (document, path), compiled in zip(places, ruleset.rules, strict=True):
        yield PlacedRule(document, path, compiled)
