"""What the conditions of compound rules mean: rules by their names, or conditions written in place. Pure.

    orders down: all_of [orders failing, {when: …}]      a rule by its name is looked up in the same set, where the
         └─► orders failing: any_of [a, b]               tenant's own hides that of all tenants, as everywhere
                  └─► a, b

A condition is evaluated inside its compound, for the compound's key and with its lateness. So a rule whose key or
lateness is another is refused: it would hold here where it does not fire by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from flowgauge.processors.kinds import Compound, Kind
from flowgauge.schemas.errors import Problem
from flowgauge.schemas.plain_yaml import Path
from flowgauge.schemas.rule import Rule
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import format_duration
from flowgauge.schemas.yaml_places import Document

NESTING_MAX = 3  # compounds in each other: more is hard to explain at night
LEAVES_MAX = 32  # conditions of a compound that are none themselves: each is tested for an event and kept for a key
GUESSES_MAX = 20  # names that are nobody's and may be meant as another: each is compared with all
CONDITION_FIELDS = ("match", "when", "for", "keep_firing_for", "no_data")
GIVEN_FIELDS = ("tenant", "for_each", "missing_key", "allowed_lateness")  # what a condition has from its rule


@dataclass(frozen=True, slots=True, eq=False)
class ReadRule:
    """As much of a written rule, or of a condition, as can be read, with every mistake in it.

    Its `wrong` fields are as if not written. `inline` are the conditions written in place, by their index.
    """

    document: Document
    path: Path
    source: Mapping[str, Any]
    rule: Rule | None
    kind: Kind | None
    wrong: AbstractSet[str]
    problems: Sequence[Problem]
    inline: dict[int, "ReadRule"] = field(default_factory=dict[int, "ReadRule"])


class ReadRules:
    """All that was read of a rule set, by name."""

    def __init__(self, read: Sequence[ReadRule]) -> None:
        self._read = read
        self._named: dict[tuple[str, str], ReadRule] = {}
        self._tenants: dict[str, list[str]] = {}  # by name: who has a rule that is called so
        self._guesses = GUESSES_MAX
        for item in read:
            if item.rule is not None and "name" not in item.wrong:
                self._named.setdefault((item.rule.tenant, item.rule.name), item)
        for tenant, name in sorted(self._named):
            self._tenants.setdefault(name, []).append(tenant)

    def conditions(self, item: ReadRule) -> Iterator[tuple[int, ReadRule | None]]:
        """Yield the conditions of a compound, by index; None for a name that no rule has. Others have none."""
        if item.rule is None or not isinstance(item.kind, Compound):
            return
        for index, condition in enumerate(item.kind.conditions):
            if isinstance(condition, str):
                yield index, self._seen_by(item.rule.tenant, condition)
            elif index in item.inline:
                yield index, item.inline[index]

    def problems(self) -> Iterator[Problem]:
        """Yield each condition that no rule fits, and each compound that leads to itself or too far."""
        for item in self._read:
            if item.rule is not None:
                yield from self._unfit(item, item.rule.name)
                yield from self._nesting(item)

    def _seen_by(self, tenant: str, name: str) -> ReadRule | None:
        return self._named.get((tenant, name)) or self._named.get((ANY_TENANT, name))

    # ── conditions that do not fit ──

    def _unfit(self, item: ReadRule, root: str) -> Iterator[Problem]:
        for index, target in self.conditions(item):
            path = _path(item, index)
            if target is None:
                yield self._unknown(item, index)
            elif index in item.inline:
                yield from self._unfit(target, root)
            else:
                yield from self._hidden(item, target, path, root)
                for message, remedy in _differences(item, target):
                    yield item.document.problem(path, message, remedy)
            if target is not None and target.kind is not None and target.kind.by_arrival:
                message = "each firing of it is an incident of its own and lasts for no time: it would never hold here"
                yield item.document.problem(path, message, "write another kind, such as `event` or `sequence`")
            if target is not None and _is_momentary(target) and not _lasts(item):
                message = "each event is an incident of its own there and lasts for no time"
                yield item.document.problem(path, message, "add `within` to the compound: how long after it counts")

    def _unknown(self, item: ReadRule, index: int) -> Problem:
        assert item.rule is not None and isinstance(item.kind, Compound)  # noqa: S101, PT018  # the caller looked
        name = str(item.kind.conditions[index])
        if others := self._tenants.get(name):
            message = f"the rule {name!r} is not for every tenant, only for {', '.join(others)}"
            return item.document.problem(_path(item, index), message, f"write `tenant: {others[0]}` here too")
        near: Sequence[str] = ()
        if self._guesses:
            self._guesses -= 1
            seen = {ANY_TENANT, item.rule.tenant}
            names = [known for known, tenants in self._tenants.items() if not seen.isdisjoint(tenants)]
            near = get_close_matches(name, names, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "name a rule of this set, or write the condition in place"
        return item.document.problem(_path(item, index), f"no rule is called {name!r}", remedy)

    def _hidden(self, item: ReadRule, target: ReadRule, path: Path, root: str) -> Iterator[Problem]:
        """Find tenants for whom a name means a rule of their own, though they have the compound of all tenants."""
        assert item.rule is not None and target.rule is not None  # noqa: S101, PT018  # the caller looked
        if item.rule.tenant != ANY_TENANT:
            return
        name = target.rule.name
        for tenant in self._tenants.get(name, ()):
            if tenant != ANY_TENANT and (tenant, root) not in self._named:
                message = f"tenant {tenant!r} has a rule {name!r} of its own, which this one would not look at"
                remedy = f"write this rule for it too, with `tenant: {tenant}`"
                yield item.document.problem(path, message, remedy)

    # ── what leads too far ──

    def _nesting(self, root: ReadRule) -> Iterator[Problem]:
        leaves = 0
        for index, target in self.conditions(root):
            told: set[tuple[str, str]] = set()
            for path in self._paths((root, target)) if target is not None else ():
                last = path[-1]
                if last is root:
                    needs = " needs ".join(repr(item.rule.name) for item in path if item.rule is not None)
                    told.add((f"the rule leads back to itself: {needs}", "take one of these names out"))
                elif last not in path[:-1] and isinstance(last.kind, Compound):
                    message = f"more than {NESTING_MAX} compounds in each other"
                    told.add((message, "write the conditions at the end of it here"))
                else:
                    leaves += 1
            for message, remedy in sorted(told):
                yield root.document.problem(_path(root, index), message, remedy)
        if leaves > LEAVES_MAX:
            message = f"{leaves} conditions in all, at most {LEAVES_MAX} are carried"
            yield root.document.problem(_path(root), message, "make it several rules")

    def _paths(self, path: tuple[ReadRule, ...]) -> Iterator[tuple[ReadRule, ...]]:
        """Yield the ways from a compound down to what is none, to what stands above, or to where it is too deep."""
        last = path[-1]
        if not isinstance(last.kind, Compound) or last in path[:-1] or len(path) > NESTING_MAX:
            yield path
            return
        for _, target in self.conditions(last):
            if target is not None:
                yield from self._paths((*path, target))


def _path(item: ReadRule, *index: int) -> Path:
    name = item.kind.name if item.kind else ""
    return (*item.path, "when", name, "conditions", *index)


def _differences(item: ReadRule, target: ReadRule) -> Iterator[tuple[str, str]]:
    """Yield in what a rule is another by itself than it would be as a condition here."""
    own, other = item.rule, target.rule
    assert own is not None and other is not None  # noqa: S101, PT018  # the caller looked
    unsure = item.wrong | target.wrong
    if "for_each" not in unsure and set(own.for_each) != set(other.for_each):
        message = f"{other.name!r} has {_key(other)} and this rule {_key(own)}: they never have the same key"
        yield message, "give both the same `for_each`, or write the condition in place"
    elif "missing_key" not in unsure and own.for_each and own.missing_key != other.missing_key:
        yield f"{other.name!r} has `missing_key: {other.missing_key}`", "give both the same `missing_key`"
    if "allowed_lateness" not in unsure and own.allowed_lateness != other.allowed_lateness:
        waits = format_duration(other.allowed_lateness)
        remedy = f"write `allowed_lateness: {waits}` here too, or write the condition in place"
        yield f"{other.name!r} waits {waits} for late events, this rule {format_duration(own.allowed_lateness)}", remedy


def _key(rule: Rule) -> str:
    return f"`for_each: [{', '.join(rule.for_each)}]`"


def _is_momentary(item: ReadRule) -> bool:
    return item.kind is not None and not isinstance(item.kind, Compound) and not item.kind.pane_ms


def _lasts(item: ReadRule) -> bool:
    return isinstance(item.kind, Compound) and item.kind.within is not None
