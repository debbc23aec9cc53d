"""The plan: what a change of rules would do, rule by rule, before it is applied.

    before   a  b  c  d          after   a  b'  c'  e
    plan     a unchanged · b changed, windows begin anew · c retold, windows go on · d removed · e added

What becomes of windows and incidents is said by `rule_fate`, as the detector does it. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from flowgauge.processors.rule_fate import Fate, succession
from flowgauge.processors.rule_view import ANY_TENANT, RuleView
from flowgauge.processors.ruleset import CompiledRule, RuleSet, match_of
from flowgauge.schemas.rule import as_written
from flowgauge.schemas.times import format_duration

What = Literal["added", "changed", "retold", "unchanged", "removed"]
NOBODY = ""  # no tenant is called that: what a `*` rule is for those whom no rule of its name names
_MEANING = {
    Fate.CARRIED_ON: "windows begin anew; open incidents go on under their ids, pending ones lapse",
    Fate.ENDED: "windows begin anew; open incidents are resolved (the rule was changed), pending ones lapse",
    Fate.REMOVED: "open incidents are resolved (the rule was removed), pending ones lapse",
}


class FieldChange(NamedTuple):
    """One field that reads otherwise; None where it is not there."""

    field: str
    before: str | None
    after: str | None


class Planned(NamedTuple):
    """What becomes of one rule for the tenants that it is for; `*` are all that have no rule of its name.

    `fate` is None for one that is added: there was nothing before.
    """

    what: What
    rule: str
    tenant: str
    fate: Fate | None
    fields: tuple[FieldChange, ...]  # of one that is added: all of its fields
    effect: str


def plan(before: RuleSet, after: RuleSet) -> list[Planned]:
    """Return what becomes of each rule of both sets, those of `after` first, in their order."""
    scopes = dict.fromkeys((item.name, item.rule.tenant) for item in (*after.rules, *before.rules))
    old, new = RuleView(before), RuleView(after)
    return [_planned(name, tenant, old, new) for name, tenant in scopes]


def fields_of(item: CompiledRule) -> dict[str, str]:
    """Return all that a rule says, as people write it, with its defaults and the size of its panes."""
    fields = as_written(item.rule)
    kind = as_written(item.kind)
    for name in ("name", "match", "when"):
        del fields[name]
    match = {f"match.{name}": _patterns(value) for name, value in match_of(item.rule, item.kind).items()}
    when = {f"when.{item.kind.name}.{name}": value for name, value in kind.items()} or {f"when.{item.kind.name}": "{}"}
    panes = {"(pane)": format_duration(item.pane_ms) if item.pane_ms else "told at once"}
    return {**match, **when, **panes, **fields}


def _planned(name: str, scope: str, old: RuleView, new: RuleView) -> Planned:
    tenant = NOBODY if scope == ANY_TENANT else scope
    was, becomes = old.named(name, tenant), new.named(name, tenant)
    if was is None:
        assert becomes is not None  # noqa: S101  # the name stands in one of the sets
        fields = tuple(FieldChange(field, None, value) for field, value in fields_of(becomes).items())
        return Planned("added", name, scope, None, fields, _of_new(becomes))
    fate, heir = succession(was, tenant, new)
    fields = tuple(_field_changes(fields_of(was), fields_of(heir))) if heir else ()
    return Planned(_what(fate, fields), name, scope, fate, fields, _effect(fate, was, heir, fields))


def _what(fate: Fate, fields: tuple[FieldChange, ...]) -> What:
    if fate is Fate.KEPT:
        return "retold" if fields else "unchanged"
    return "removed" if fate is Fate.REMOVED else "changed"


def _effect(fate: Fate, was: CompiledRule, heir: CompiledRule | None, fields: tuple[FieldChange, ...]) -> str:
    if fate is Fate.KEPT:
        return "windows and incidents go on" + (", and are told otherwise from then on" if fields else "")
    if not was.pane_ms:  # each event was an incident of its own, and over
        return "nothing is open" if heir is None else f"nothing is open; {_of_new(heir)}"
    return _MEANING[fate]


def _of_new(item: CompiledRule) -> str:
    return "its windows begin empty" if item.pane_ms else "events are told from then on"


def _field_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FieldChange]:
    for field in dict.fromkeys((*after, *before)):
        if before.get(field) != after.get(field):
            yield FieldChange(field, before.get(field), after.get(field))


def _patterns(patterns: tuple[str, ...]) -> str:
    return patterns[0] if len(patterns) == 1 else f"[{', '.join(patterns)}]"
