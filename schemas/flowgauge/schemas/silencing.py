"""What silences hide: which incident, by which silence, and until when. Pure.

    controls          silence s1 ──────────────► expire s1       silence s2, Saturdays 22:00-02:00
    hidden            ████████████████████████                              ████          ████
                      starts_ms      the earlier of ends_ms and the expiry  each window, never outside the silence

Invariant: an answer follows from the set of controls, the transition and the time alone. Silences hide, they never
alter: what an incident is stays as it was. `hours` knows when recurring windows begin and end.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from flowgauge.schemas.control import Matcher, Silence, Silenced, SilenceExpired
from flowgauge.schemas.hours import Hours, Span, hours_of
from flowgauge.schemas.safe_pattern import full_match
from flowgauge.schemas.settings import ANY_TENANT

SILENCES_MAX = 5_000  # of all tenants
Key = tuple[str, str]  # tenant and silence

_AddedOrExpired = TypeVar("_AddedOrExpired", Silenced, SilenceExpired)
_Test = Callable[["Hidable"], bool]


class Hidable(Protocol):
    """What a silence looks at: a transition, or an incident as it is stored."""

    @property
    def tenant(self) -> str: ...  # noqa: D102
    @property
    def rule(self) -> str: ...  # noqa: D102
    @property
    def severity(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> dict[str, str]: ...  # noqa: D102
    @property
    def labels(self) -> dict[str, str]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class SilenceInForce:
    """A silence with who said so and for whose incidents, and who ended it before its time."""

    added: Silenced
    expired: SilenceExpired | None = None

    @property
    def silence(self) -> Silence:
        """What it hides and when."""
        return self.added.silence

    @property
    def ends_ms(self) -> int:
        """When it ends, or was ended."""
        ends_ms = self.silence.ends_ms
        return min(ends_ms, self.expired.at_ms) if self.expired else ends_ms


class Silences:
    """All silences that were read; `take` each control about one, in any order."""

    def __init__(self) -> None:
        self.dropped = 0  # silences that went at SILENCES_MAX: those that end first
        self._controls: dict[Key, tuple[Silenced | None, SilenceExpired | None]] = {}
        self._keys: dict[str, set[Key]] = {}  # by the id of a control about them
        self._ends: list[tuple[int, Key]] = []  # a heap; an entry holds while its silence ends then
        self._indexes: dict[str, _Index] = {}  # by tenant

    def take(self, control: Silenced | SilenceExpired) -> bool:
        """Take in a control; tell whether something stands otherwise now.

        Of two about one silence the newer by (at_ms, control_id) counts, so what was read already changes nothing.
        """
        silence_id = control.silence.silence_id if isinstance(control, Silenced) else control.silence_id
        key = (control.tenant, silence_id)
        before = added, expired = self._controls.get(key, (None, None))
        if isinstance(control, Silenced):
            added = _newer(added, control)
        else:
            expired = _newer(expired, control)
        self._put(key, added, expired)
        if len(self._controls) > SILENCES_MAX:
            self._put(self._first_to_end(), None, None)
            self.dropped += 1
        return self._controls.get(key, (None, None)) != before

    def forget(self, control_id: str) -> None:
        """Take a control out again: it was erased from the log."""
        for key in [*self._keys.get(control_id, ())]:
            added, expired = self._controls[key]
            self._put(
                key,
                added if added and added.control_id != control_id else None,
                expired if expired and expired.control_id != control_id else None,
            )

    def of(self, tenant: str) -> list[SilenceInForce]:
        """Return all silences for `tenant` that are known, its own and everybody's, over ones too, by their ends."""
        found = [each.said for index in self._of(tenant) for each in index.entries.values()]
        return sorted(found, key=lambda each: (each.ends_ms, each.silence.silence_id))

    def silenced_until_ms(self, item: Hidable, now_ms: int) -> tuple[int, str] | None:
        """Return until when `item` is surely hidden from `now_ms` on, and by which silence; None where it is told.

        Of several that hide it now, the one that goes on for the longest. At that time another may hide it: ask again.
        """
        best: tuple[int, str] | None = None
        for index in self._of(item.tenant):
            for entry in index.candidates(item):
                until_ms = entry.until_ms(now_ms)
                if until_ms and (best is None or (until_ms, entry.silence_id) > best) and entry.matches(item):
                    best = (until_ms, entry.silence_id)
        return best

    def __len__(self) -> int:
        """Return how many silences are kept."""
        return len(self._controls)

    def _of(self, tenant: str) -> "Iterator[_Index]":
        for whose in dict.fromkeys((tenant, ANY_TENANT)):
            if whose in self._indexes:
                yield self._indexes[whose]

    def _ends_ms(self, key: Key) -> int:
        said = _said(*self._controls[key])
        return said.ends_ms if said else 0

    def _first_to_end(self) -> Key:
        while True:
            ends_ms, key = heapq.heappop(self._ends)
            if key in self._controls and self._ends_ms(key) == ends_ms:
                return key

    def _note_ids(self, key: Key, added: Silenced | None, expired: SilenceExpired | None) -> None:
        for each in self._controls.get(key, ()):
            if each and each.control_id in self._keys:
                self._keys[each.control_id].discard(key)
                if not self._keys[each.control_id]:
                    del self._keys[each.control_id]
        for each in (added, expired):
            if each:
                self._keys.setdefault(each.control_id, set()).add(key)

    def _put(self, key: Key, added: Silenced | None, expired: SilenceExpired | None) -> None:
        tenant, silence_id = key
        self._note_ids(key, added, expired)
        before = self._ends_ms(key) if key in self._controls else None
        index = self._indexes.setdefault(tenant, _Index())
        index.take_out(silence_id)
        if added is None and expired is None:
            del self._controls[key]
        else:
            self._controls[key] = (added, expired)
            if self._ends_ms(key) != before:
                heapq.heappush(self._ends, (self._ends_ms(key), key))
        if said := _said(added, expired):
            index.put(_Entry(said))
        if not index.entries:
            del self._indexes[tenant]


class _Index:
    """The silences of one tenant, by a value that an incident must have: so most are never looked at."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self._by_field: dict[str, dict[str, dict[str, _Entry]]] = {}  # by field, value and silence
        self._rest: dict[str, _Entry] = {}

    def candidates(self, item: Hidable) -> "Iterator[_Entry]":
        for name, by_value in self._by_field.items():
            yield from by_value.get(value_of(item, name), {}).values()
        yield from self._rest.values()

    def put(self, entry: "_Entry") -> None:
        self.entries[entry.silence_id] = entry
        exact = entry.exact
        if exact is None:
            self._rest[entry.silence_id] = entry
        else:
            by_value = self._by_field.setdefault(exact.field, {})
            by_value.setdefault(exact.value, {})[entry.silence_id] = entry

    def take_out(self, silence_id: str) -> None:
        entry = self.entries.pop(silence_id, None)
        if entry is None:
            return
        exact = entry.exact
        if exact is None:
            del self._rest[silence_id]
            return
        by_value = self._by_field[exact.field]
        del by_value[exact.value][silence_id]
        if not by_value[exact.value]:
            del by_value[exact.value]
        if not by_value:
            del self._by_field[exact.field]


class _Entry:
    """One silence, with its matchers compiled when first needed and the span of its hours that was asked last."""

    __slots__ = ("_ends_ms", "_hours", "_span", "_starts_ms", "_tests", "said", "silence_id")

    def __init__(self, said: SilenceInForce) -> None:
        self.said = said
        self.silence_id = said.silence.silence_id
        self._starts_ms = said.silence.starts_ms
        self._ends_ms = said.ends_ms
        self._tests: list[_Test] | None = None
        self._hours: Hours | None = None
        self._span = Span(0, 0, is_within=False)

    @property
    def exact(self) -> Matcher | None:
        return next((each for each in self.said.silence.matchers if each.op == "="), None)

    def until_ms(self, now_ms: int) -> int:
        """Return until when it goes on; 0 where it hides nothing now."""
        if not self._starts_ms <= now_ms < self._ends_ms:
            return 0
        recurrence = self.said.silence.recurrence
        if recurrence is None:
            return self._ends_ms
        if not self._span.from_ms <= now_ms < self._span.to_ms:
            try:
                self._hours = self._hours or hours_of(recurrence)
            except ValueError:  # a zone that only the writer's machine knows: better told than hidden
                return 0
            self._span = self._hours.span(now_ms, self._ends_ms)
        return self._span.to_ms if self._span.is_within else 0

    def matches(self, item: Hidable) -> bool:
        """Tell whether all matchers hold; never where one cannot be read: better told than hidden."""
        if self._tests is None:
            self._tests = matcher_tests(self.said.silence.matchers)
        return all(test(item) for test in self._tests)


def value_of(item: Hidable, name: str) -> str:
    """Return what `item` has in a field of a matcher: "" where it has none. Its key goes before its labels."""
    if name == "rule":
        return item.rule
    if name == "severity":
        return item.severity
    value = item.key.get(name)
    return item.labels.get(name, "") if value is None else value


def matcher_tests(matchers: Iterable[Matcher]) -> list[_Test]:
    """Return the test of each matcher; a single one that never holds where a pattern is none."""
    try:
        return [_test(each) for each in matchers]
    except ValueError:
        return [lambda _item: False]


def _test(matcher: Matcher) -> _Test:
    name, holds = matcher.field, text_test(matcher)
    return lambda item: holds(value_of(item, name))


def text_test(matcher: Matcher) -> Callable[[str], bool]:
    """Return the test whether a matcher holds for a value; raise ValueError where its pattern is none."""
    if matcher.op in {"=", "!="}:
        wanted, is_same = matcher.value, matcher.op == "="
        return lambda value: (value == wanted) is is_same
    matches, is_like = full_match(matcher.value), matcher.op == "=~"
    return lambda value: matches(value) is is_like


def order(control: Silenced | SilenceExpired) -> tuple[int, str]:
    """Return where a control stands among all about one silence."""
    return (control.at_ms, control.control_id)


def _said(added: Silenced | None, expired: SilenceExpired | None) -> SilenceInForce | None:
    if added is None:
        return None
    is_expired = expired is not None and order(expired) > order(added)
    return SilenceInForce(added, expired if is_expired else None)


def _newer(before: _AddedOrExpired | None, now: _AddedOrExpired) -> _AddedOrExpired:
    return now if before is None or order(now) > order(before) else before
