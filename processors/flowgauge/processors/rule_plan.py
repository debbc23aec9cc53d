"""The plan: what a change of rules would do, rule by rule, before it is applied.

    before   a  b  c  d          after   a  b'  c'  e
    plan     a unchanged · b changed, new windows · c changed, told otherwise · d removed · e new

What becomes of windows and incidents is said by `rule_fate`, as the detector does it. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from flowgauge.processors.rule_fate import Fate, succession
from flowgauge.processors.rule_fields import fields_of
from flowgauge.processors.rule_view import ANY_TENANT, RuleView
from flowgauge.processors.ruleset import CompiledRule, RuleSet
from flowgauge.schemas.counted import counted

What = Literal["new", "changed", "unchanged", "removed"]
OpenIncidents: TypeAlias = Mapping[tuple[str, str], int]  # by rule and tenant
NOBODY = ""  # no tenant is called that: what a `*` rule is for those whom no rule of its name names


class FieldChange(NamedTuple):
    """One field that reads otherwise; None where it is not there."""

    field: str
    before: str | None
    after: str | None


class Planned(NamedTuple):
    """What becomes of one rule for the tenants that it is for; `*` are all that have no rule of its name.

    `fate` is None for one that is new: there was nothing before. `open_incidents` is None where nobody knows.
    """

    what: What
    rule: str
    tenant: str
    fate: Fate | None
    fields: tuple[FieldChange, ...]  # of one that is new: all of its fields
    open_incidents: int | None
    effect: str


def plan(before: RuleSet, after: RuleSet, open_incidents: OpenIncidents | None = None) -> list[Planned]:
    """Return what becomes of each rule of both sets, those of `after` first, in their order."""
    scopes = dict.fromkeys((item.name, item.rule.tenant) for item in (*after.rules, *before.rules))
    old, new = RuleView(before), RuleView(after)
    counts = None if open_incidents is None else _by_scope(open_incidents, scopes)
    return [_planned(scope, (old, new), None if counts is None else counts.get(scope, 0)) for scope in scopes]


def _by_scope(open_incidents: OpenIncidents, scopes: Mapping[tuple[str, str], None]) -> dict[tuple[str, str], int]:
    """Return how many are open of each rule for whom it is: those of a tenant without a rule of the name are of `*`."""
    found: dict[tuple[str, str], int] = {}
    for (name, tenant), count in open_incidents.items():
        scope = (name, tenant) if (name, tenant) in scopes else (name, ANY_TENANT)
        found[scope] = found.get(scope, 0) + count
    return found


def _planned(scope: tuple[str, str], views: tuple[RuleView, RuleView], open_incidents: int | None) -> Planned:
    name, whose = scope
    old, new = views
    tenant = NOBODY if whose == ANY_TENANT else whose
    was, becomes = old.named(name, tenant), new.named(name, tenant)
    if was is None:
        assert becomes is not None  # noqa: S101  # the name stands in one of the sets
        fields = tuple(FieldChange(field, None, value) for field, value in fields_of(becomes).items())
        return Planned("new", name, whose, None, fields, open_incidents, _of_new(becomes))
    fate, heir = succession(was, tenant, new)
    fields = tuple(_field_changes(fields_of(was), fields_of(heir))) if heir else ()
    is_same = fate is Fate.KEPT and not fields
    what: What = "removed" if heir is None else "unchanged" if is_same else "changed"
    return Planned(what, name, whose, fate, fields, open_incidents, _effect(fate, was, heir, (what, open_incidents)))


def _effect(fate: Fate, was: CompiledRule, heir: CompiledRule | None, known: tuple[What, int | None]) -> str:
    what, open_incidents = known
    if fate is Fate.KEPT:
        told = "; an open incident is told so from its next transition on" if what == "changed" else ""
        return f"keeps its state{told}"
    begins = f"{_of_new(heir)}; " if heir else ""
    if was.tells_moments:  # each firing was an incident of its own, and over
        return f"{begins}nothing is open"
    resolves, goes_on = fate is not Fate.CARRIED_ON, "goes on" if open_incidents == 1 else "go on"
    waits = "; what waits for its `for` lapses" if was.rule.for_ else ""
    if open_incidents == 0:
        return f"{begins}nothing is open{waits}"
    which = "open incidents" if open_incidents is None else counted(open_incidents, "open incident")
    return f"{begins}{f'resolves {which}' if resolves else f'{which} {goes_on} under the same id'}{waits}"


def _of_new(item: CompiledRule) -> str:
    return "its windows begin empty" if item.pane_ms else "events are told from then on"


def _field_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FieldChange]:
    for field in dict.fromkeys((*after, *before)):
        if before.get(field) != after.get(field):
            yield FieldChange(field, before.get(field), after.get(field))
