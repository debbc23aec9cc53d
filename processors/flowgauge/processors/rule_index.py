"""The rule index: which rules could match an event, found without a look at all the others.

    glance (event, tenant, kind, state)  ─► Candidates, remembered: usually none
    Candidates, event                    ─► the rules that must be tried: those without a plain value under `match`,
                                            and of those with one, whose value the event has

A rule is looked up by that of its plain fields whose values the fewest rules share: a flow says more than `env: prod`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter

from flowgauge.processors.rule_view import ANY_TENANT, RuleView
from flowgauge.processors.ruleset import CompiledRule, RuleSet
from flowgauge.processors.selector import Values, values_of
from flowgauge.schemas.event import Event, Glance

MEMO_MAX = 100_000  # distinct glances: bounded names of a healthy system stay far below

Item = tuple[int, CompiledRule]  # its place in the rule set, by which samples name it
Look = tuple[str, str, str | None]  # event, kind and state
_place = itemgetter(0)


class Candidates:
    """Rules that an event which looks so could match; false where there is none."""

    __slots__ = ("_always", "_lookups", "_size")

    def __init__(self, items: Sequence[Item], fields: Mapping[str, str]) -> None:
        """Hold `items`; `fields` names, by uid, the field by which a rule is looked up."""
        by_field: dict[str, dict[str, list[Item]]] = {}
        for item in items:
            if field := fields.get(item[1].uid):
                by_value = by_field.setdefault(field, {})
                for value in item[1].plain[field]:
                    by_value.setdefault(value, []).append(item)
        self._size = len(items)
        self._always = tuple(item for item in items if item[1].uid not in fields)
        self._lookups: tuple[tuple[Values, Mapping[str, Sequence[Item]]], ...] = tuple(
            (values_of(field), by_value) for field, by_value in by_field.items()
        )

    def __len__(self) -> int:
        """Return how many rules there are, whatever else the event says."""
        return self._size

    def of(self, event: Event) -> Sequence[Item]:
        """Return the rules that `event` has to be tried with, each once, in the order of the rule set."""
        if not self._lookups:
            return self._always
        found = list(self._always)
        for values, by_value in self._lookups:
            for value in values(event):
                if items := by_value.get(value):
                    found += items
        return found if len(found) == len(self._always) else sorted(dict(found).items(), key=_place)


class RuleIndex:
    """The index of one rule set."""

    def __init__(self, ruleset: RuleSet) -> None:
        self._view = RuleView(ruleset)
        self._fields = _fields(ruleset.rules)
        self._of: dict[str, list[Item]] = {ANY_TENANT: []}
        for item in enumerate(ruleset.rules):
            self._of.setdefault(item[1].rule.tenant, []).append(item)
        self._seen_by = cache(self._items)
        self._held = cache(self._candidates)
        self.memo: dict[Glance, Candidates] = {}

    def candidates(self, glance: Glance) -> Candidates:
        """Return the rules that an event which looks so could match, usually none."""
        found = self.memo.get(glance)
        if found is None:
            if len(self.memo) >= MEMO_MAX:
                self.memo.clear()  # rebuilt from what comes; a bound, not a cache policy
                self._held.cache_clear()
            # Tenants without a rule of their own see the same: they share what is held.
            tenant = glance.tenant if glance.tenant in self._of else ANY_TENANT
            found = self.memo[glance] = self._held(tenant, (glance.event, glance.kind, glance.state))
        return found

    def _candidates(self, tenant: str, look: Look) -> Candidates:
        return Candidates([item for item in self._seen_by(tenant) if item[1].could_match(*look)], self._fields)

    def _items(self, tenant: str) -> Sequence[Item]:
        shared = self._of[ANY_TENANT]
        if tenant == ANY_TENANT:
            return shared
        return sorted(
            [*self._of[tenant], *(item for item in shared if self._view.sees(item[1].uid, tenant))], key=_place
        )


def _fields(rules: Iterable[CompiledRule]) -> Mapping[str, str]:
    """Return by uid the field by which a rule is looked up, of those that have one."""
    shared = Counter((field, value) for rule in rules for field, values in rule.plain.items() for value in values)

    def sharing(rule: CompiledRule, field: str) -> int:
        return sum(shared[field, value] for value in rule.plain[field])

    return {rule.uid: min(rule.plain, key=lambda field: sharing(rule, field)) for rule in rules if rule.plain}
