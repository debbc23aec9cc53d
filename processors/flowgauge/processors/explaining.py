"""`rules explain`: each evaluation of one rule and key around a time, and why it did not fire.

    evaluations   · · · · · ·│· · ·        `before` of them up to the time that is asked about, `after` of them past it
                             at
    none at all   then it is counted by what each event was refused: kind, flow, a field of `for_each`, another key

Pure. Read `evaluation` for the words.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import islice

import msgspec

from flowgauge.processors.evaluation import Evaluation
from flowgauge.processors.panes import pane_end
from flowgauge.processors.rule_view import RuleView
from flowgauge.processors.ruleset import CompiledRule, RuleSet, match_of
from flowgauge.processors.selector import predicate
from flowgauge.schemas.canonical import with_tenant
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadInput, InvalidEvent
from flowgauge.schemas.event import Event, decode_event
from flowgauge.schemas.recorded import tenant_of
from flowgauge.schemas.times import format_duration, millis, rfc3339
from flowgauge.schemas.transition import Transition

KEYS_NOTED_MAX = 1_000  # of a rule: enough to find the one that was meant
KEYS_SHOWN_MAX = 5
_GLANCE_FIELDS = ("event", "kind", "state")


class _Tenant(msgspec.Struct, gc=False):
    tenant: str | None = None


_decode_tenant = msgspec.json.Decoder(_Tenant).decode


def rule_named(ruleset: RuleSet, name: str, tenant: str) -> CompiledRule:
    """Return the rule that `tenant` sees under `name`; raise BadInput with those that there are."""
    found = RuleView(ruleset).named(name, tenant)
    if found is None:
        known = sorted({item.name for item in ruleset.rules})
        shown = ", ".join(known[:KEYS_SHOWN_MAX]) + (", …" if len(known) > KEYS_SHOWN_MAX else "")
        raise BadInput(f"tenant {tenant} has no rule {name!r}; there are {shown or 'none'}")
    return found


def key_of(item: CompiledRule, tenant: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return the key that `values`, each FIELD=VALUE, name; raise BadInput unless they are what its windows go by."""
    named: dict[str, str] = {}
    for each in values:
        name, equals, value = each.partition("=")
        if not equals or name in named:
            raise BadInput(f"KEY: expected FIELD=VALUE, once for each field, got {each!r}")
        named[name] = value
    wanted = item.group_names
    if set(named) != set(wanted):
        raise BadInput(f"KEY: the rule {item.name!r} takes {_fields_words(item)}")
    return (tenant, *(named[name] for name in wanted))


def _fields_words(item: CompiledRule) -> str:
    if item.group_names:
        return " ".join(f"{name}=…" for name in item.group_names)
    has_keys = any(name != "event_id" for name in item.key_names)
    return f"no key: {'one window is of all its keys' if has_keys else 'it has no `for_each`'}"


@dataclass(slots=True)
class Watch:
    """Keeps the evaluations of one rule and key around `at_ms`; None: the last ones."""

    rule: CompiledRule
    key: tuple[str, ...]
    at_ms: int | None
    rows: int
    count: int = 0
    before: deque[Evaluation] = field(init=False)
    after: list[Evaluation] = field(default_factory=list[Evaluation])
    fired: int = 0  # how often, of a rule whose firings do not last
    told: deque[Transition] = field(init=False)  # the last of these
    keys: dict[tuple[str, ...], None] = field(default_factory=dict[tuple[str, ...], None])

    def __post_init__(self) -> None:
        """Begin with none."""
        self.before = deque(maxlen=self.rows)
        self.told = deque(maxlen=self.rows)

    def see(self, each: Evaluation) -> None:
        """Take an evaluation, of any key."""
        if each.key != self.key:
            if len(self.keys) < KEYS_NOTED_MAX:
                self.keys[each.key] = None
            return
        self.count += 1
        if self.at_ms is None or each.end_ms <= self.at_ms:
            self.before.append(each)
        elif len(self.after) < self.rows:
            self.after.append(each)

    def take(self, transitions: Iterable[Transition]) -> None:
        """Take all transitions; keep the last of this key where each is an incident of its own."""
        wanted = self.rule.key_object(self.key)
        for item in transitions:
            is_ours = item.tenant == self.key[0] and wanted.items() <= item.key.items()
            if self.rule.tells_moments and is_ours and (self.at_ms is None or item.at_ms <= self.at_ms):
                self.fired += 1
                self.told.append(item)

    @property
    def last(self) -> Evaluation | None:
        """The evaluation that says how it stood at the time."""
        return self.before[-1] if self.before else None


def conclusion(watch: Watch, clock_ms: int) -> Iterator[str]:
    """Yield in words how the rule stood for that key, and why, where the log's clock ended at `clock_ms`."""
    at_ms = clock_ms if watch.at_ms is None else watch.at_ms
    if not watch.rule.pane_ms:
        yield from _of_single_events(watch)
        return
    judged_ms = clock_ms - watch.rule.lateness_ms
    last = watch.last
    if last is None:
        yield f"{rfc3339(at_ms)}: does not fire: nothing of this key had been in a window"
    elif watch.rule.by_arrival:
        yield from _of_firings(watch)
        yield f"{rfc3339(at_ms)}: as of the evaluation of {rfc3339(last.end_ms)}: {last.why()}"
        yield from _until_next(watch, last)
    else:
        state = "firing" if last.is_firing else last.alert.state
        yield f"{rfc3339(at_ms)}: {state} since the evaluation of {rfc3339(last.end_ms)}: {last.why()}"
        yield from _until_next(watch, last)
    if watch.at_ms is not None and at_ms > judged_ms:
        passed = "" if watch.rule.by_arrival else f" by `allowed_lateness: {format_duration(watch.rule.lateness_ms)}`"
        yield (
            f"what happened after {rfc3339(max(0, judged_ms))} is not judged yet: the clock stands at "
            f"{rfc3339(clock_ms)}, and a window is judged when it has passed its end{passed}"
        )


def _of_firings(watch: Watch) -> Iterator[str]:
    yield "each firing is an incident of its own, told at once: none stays open"
    if not watch.told:
        yield "it never fired until then"
    else:
        yield f"fired {counted(watch.fired, 'time')} until then, last at {rfc3339(watch.told[-1].at_ms)}"


def _until_next(watch: Watch, last: Evaluation) -> Iterator[str]:
    if watch.after:
        yield f"from then until {rfc3339(watch.after[0].end_ms)} nothing in its window changed"
    elif last.next_ms is None:
        yield "nothing in its window changes until the next event that matches"
    else:
        yield f"without another event that matches it is evaluated next at {rfc3339(last.next_ms)}"


def _of_single_events(watch: Watch) -> Iterator[str]:
    yield "each event that matches is an incident of its own, told at once: nothing is counted, nothing waits"
    if not watch.told:
        yield "does not fire: no event of this key matched"


def other_keys(watch: Watch) -> list[str]:
    """Return a few keys that the rule did evaluate, those like the one that is meant first."""
    wanted = " ".join(watch.key)
    near = sorted(watch.keys, key=lambda key: -SequenceMatcher(None, wanted, " ".join(key)).ratio())
    return [", ".join(f"{name}={value}" for name, value in watch.rule.key_object(key).items()) for key in near][
        :KEYS_SHOWN_MAX
    ]


def refusals(watch: Watch, lines: Iterable[bytes], clock_ms: int) -> Counter[str]:
    """Return why how many of `lines` came to nothing: the first that refuses each, or why one that matched did.

    `clock_ms` is where the log's clock ended.
    """
    rule, key = watch.rule, watch.key
    match = match_of(rule.rule, rule.kind)
    first = sorted(match, key=lambda name: (name not in _GLANCE_FIELDS, name != "kind"))
    tests = [(name, predicate(name, match[name])) for name in first]
    found: Counter[str] = Counter()
    for line in lines:
        event = _event_of(line.strip())
        if event is None:
            found["it is no event"] += 1
        elif event.tenant != key[0]:
            found["it is another tenant's"] += 1
        elif event.history:
            found["it is history, which no rule sees"] += 1
        elif rule.kind.always_sees(event.kind, event.state):
            found[_by_key(rule, key, event) or _unheard(watch, event, clock_ms)] += 1
        else:
            refused = next((f"`match.{name}`" for name, test in tests if not test(event)), "")
            found[refused or _by_key(rule, key, event) or _unheard(watch, event, clock_ms)] += 1
    return found


def _event_of(line: bytes) -> Event | None:
    try:
        return decode_event(with_tenant(line, tenant_of(_decode_tenant(line).tenant)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidEvent):
        return None


def _by_key(rule: CompiledRule, key: tuple[str, ...], event: Event) -> str:
    if (refusal := rule.kind.refusal(event)) is not None:
        return refusal
    found = rule.key_of(event)
    if found is None:
        missing = next(islice((n for n, get in zip(rule.group_names, rule.group, strict=True) if not get(event)), 1))
        return f"it has no `{missing}`, by which `for_each` groups"
    return "" if found == key else "its key is another"


def _unheard(watch: Watch, event: Event, clock_ms: int) -> str:
    """Return why an event that matched was in no evaluation."""
    occurred_ms, rule = millis(event.occurred), watch.rule
    if not rule.pane_ms:
        is_after = watch.at_ms is not None and watch.at_ms < occurred_ms
        return f"it matched, {'after the time that is asked about' if is_after else 'past the end of the clock'}"
    judged_ms = pane_end(occurred_ms, rule.pane_ms) + rule.lateness_ms
    if judged_ms > clock_ms:
        return "it matched, and the log's clock is not far enough to judge it"
    if judged_ms + rule.kind.deferred_ms > clock_ms:
        return "it matched, and waits for what could move the alert, or came too late to count"
    return "it matched, and came too late or too far ahead of its time to count"
