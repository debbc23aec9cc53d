"""The checks of lint by their names, and how they run over rules that are written without mistakes.

    documents ──rules_of──► rule set ──► each rule at its place ──► findings, in the order of the files

Adding a check: one small pure function, its line here, and its line in docs/lint.md.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import TypeAlias

from flowgauge.processors.lint.firing import (
    cannot_fire,
    duplicate,
    never_without_data,
    one_run_a_key,
    only_failures,
    rounded_wait,
    single_failure,
    wavering,
)
from flowgauge.processors.lint.placed_rule import Complaint, Finding, PlacedRule, placed
from flowgauge.processors.lint.seeing import (
    every_event,
    never_matches,
    no_time_to_arrive,
    regular_expression,
    tasks_too,
    unbounded_key,
)
from flowgauge.processors.lint.telling import absent_name, key_not_told, nobody_told, own_events, wrong_unit
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.yaml_places import Document

_Check: TypeAlias = Callable[[PlacedRule], Iterator[Complaint]]
# Of a rule by itself, and of each condition that is written in it.
_OF_A_CONDITION_TOO: Mapping[str, _Check] = {
    "cannot-fire": cannot_fire,
    "one-run-a-key": one_run_a_key,
    "never-matches": never_matches,
    "regular-expression": regular_expression,
    "only-failures": only_failures,
    "single-failure": single_failure,
    "wavering": wavering,
    "rounded-wait": rounded_wait,
    "never-without-data": never_without_data,
    "tasks-too": tasks_too,
}
# Of a rule by itself: what only a rule has, or what its conditions have from it.
_OF_A_RULE: Mapping[str, _Check] = {
    "no-time-to-arrive": no_time_to_arrive,
    "unbounded-key": unbounded_key,
    "every-event": every_event,
    "own-events": own_events,
    "absent-name": absent_name,
    "wrong-unit": wrong_unit,
    "key-not-told": key_not_told,
}
# Of all rules beside each other.
_OF_ALL: Mapping[str, Callable[[Sequence[PlacedRule]], Iterator[Finding]]] = {
    "nobody-told": nobody_told,
    "duplicate": duplicate,
}
CHECKS = (*_OF_A_CONDITION_TOO, *_OF_A_RULE, *_OF_ALL)


def lint(documents: Sequence[Document], ruleset: RuleSet, *, skipped: Container[str] = ()) -> list[Finding]:
    """Return what the checks, those `skipped` aside, find in `ruleset`, which was read from `documents`.

    In the order of the files, each from top to bottom.
    """
    items = list(placed(documents, ruleset))
    everywhere = [each for item in items for each in (item, *item.in_place())]
    found: list[Finding] = []
    for checks, looked_at in ((_OF_A_CONDITION_TOO, everywhere), (_OF_A_RULE, items)):
        for name, check in checks.items():
            if name not in skipped:
                found += [item.finding(name, complaint) for item in looked_at for complaint in check(item)]
    for name, check_all in _OF_ALL.items():
        found += check_all(items) if name not in skipped else ()
    files = {document.file: index for index, document in enumerate(documents)}
    return sorted(found, key=lambda each: (files[each.problem.file], each.problem.line, each.problem.column))
