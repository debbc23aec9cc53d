"""The fields of a rule: all that it says, as people write it, with every default. Pure.

    match.flow: orders-*     when.failure_rate.min_samples: 5     (judged): every 5s     allowed_lateness: 10s

A compound has those of its conditions too, also of a rule that it names: whoever changes that changes the compound.
"""

from collections.abc import Iterator

from flowgauge.processors.compounds import CONDITION_FIELDS
from flowgauge.processors.kinds import Compound
from flowgauge.processors.ruleset import CompiledRule, match_of
from flowgauge.schemas.rule import as_written
from flowgauge.schemas.times import format_duration

JUDGED = "(judged)"  # in no file: it follows from the window


def fields_of(item: CompiledRule) -> dict[str, str]:
    """Return each field by its path, such as `when.all_of.conditions[0].match.flow`, with its value as text."""
    judged = f"every {format_duration(item.pane_ms)}" if item.pane_ms else "at each event"
    rule = _rule_fields(item)
    match = {name: value for name, value in rule.items() if _top(name) == "match"}
    rest = {name: value for name, value in rule.items() if name not in match and name != "name"}
    return {**match, **dict(_when_fields(item)), JUDGED: judged, **rest}


def _rule_fields(item: CompiledRule) -> dict[str, str]:
    """Return the fields of the rule itself: `match` as it is meant, and nothing of `when`."""
    meant = item.rule.model_copy(update={"match": match_of(item.rule, item.kind)})
    fields = as_written(meant)
    return {name: value for name, value in fields.items() if _top(name) != "when" and value != "{}"}


def _when_fields(item: CompiledRule) -> Iterator[tuple[str, str]]:
    kind, before = item.kind, f"when.{item.kind.name}"
    fields = as_written(kind)
    if not fields:
        yield before, "{}"
    for name, value in fields.items():
        if not (isinstance(kind, Compound) and _top(name) == "conditions"):
            yield f"{before}.{name}", value
    if isinstance(kind, Compound):
        yield from _conditions(kind, f"{before}.conditions")


def _conditions(kind: Compound, before: str) -> Iterator[tuple[str, str]]:
    for index, (written, part) in enumerate(zip(kind.conditions, kind.parts, strict=True)):
        place, condition = f"{before}[{index}]", part.condition
        assert isinstance(condition, CompiledRule)  # noqa: S101  # what a rule set compiles
        yield place, f"the rule {written}" if isinstance(written, str) else "written in place"
        fields = [*_rule_fields(condition).items(), *_when_fields(condition)]
        yield from ((f"{place}.{name}", value) for name, value in fields if _top(name) in CONDITION_FIELDS)


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]
