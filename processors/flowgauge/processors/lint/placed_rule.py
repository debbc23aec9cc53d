"""A rule with the place where it is written, and what a check finds there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowgauge.processors.kinds import Kind
from flowgauge.processors.ruleset import CompiledRule, RuleSet
from flowgauge.processors.selector import text_test
from flowgauge.schemas.errors import Problem
from flowgauge.schemas.event import KINDS as EVENT_KINDS
from flowgauge.schemas.event import STATES
from flowgauge.schemas.rule import Rule
from flowgauge.schemas.yaml_places import Document, Path

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
    """A rule without mistakes, and its place in the document that it was read from."""

    document: Document
    path: Path
    compiled: CompiledRule

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
        test = self.compiled.glance_tests.get("kind")
        return frozenset(kind for kind in EVENT_KINDS if test is None or test(kind))

    @property
    def states(self) -> frozenset[str]:
        """The states that `match` lets through: all of them where it names none."""
        test = text_test(self.rule.match.get("state", ("*",)))
        return frozenset(state for state in STATES if test(state))

    def finding(self, check: str, complaint: Complaint) -> Finding:
        """Return what `check` complains of as a finding at its place."""
        path, message, remedy = complaint
        return Finding(check, self.rule.name, self.document.problem((*self.path, *path), message, remedy))


def placed(documents: Sequence[Document], ruleset: RuleSet) -> Iterator[PlacedRule]:
    """Yield each rule of `ruleset`, which was read from `documents`, with its place."""
    places = (
        (document, ("rules", index)) for document in documents for index in range(len(document.data.get("rules") or ()))
    )
    for (document, path), compiled in zip(places, ruleset.rules, strict=True):
        yield PlacedRule(document, path, compiled)
