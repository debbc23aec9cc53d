"""How a notice is said to people: plain text in parts of bounded number; chats and mail dress it, each in its way.

    worded(notice)    one incident:     🔴 Firing: RULE · summary · facts · runs · details · its page
    gathered(notice)  several of them:  🔴 1,234 incidents: 1,200 firing, 34 resolved · by rule · first lines · the list

Nothing here is markup, and what rules and events say is on one line each, without control characters. How long a text
may be is the channel's to say: `cut` keeps it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from flowgauge.schemas.counted import counted
from flowgauge.schemas.summary import duration, percent, seconds, summarize
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.message import incident_link, incidents_link
from flowgauge.sinks.webhooks.telling import is_immediate

LINES_MAX = 20  # of a message about many incidents: what people read on one screen; the list has the others
RULES_MAX = 10  # whose counts are told in it
HAPPENED = "happened"  # one event, told once: it was never open
NAMELESS = "a rule without a name"  # such as one of spaces: no service takes an empty text
SENT_AGAIN = "This was sent again: somebody asked for it."
UNITS: Mapping[str, Literal["share", "seconds"]] = {  # of a rule's value; the other kinds count, or differ by rule
    "absence": "seconds",
    "burn_rate": "share",
    "duration": "seconds",
    "failure_rate": "share",
    "missed": "seconds",
}
_MARKS = {"firing": "🔴", "no_data": "⚪", "resolved": "✅", HAPPENED: "⚡"}
_WORDS = {"no_data": "no data"}
_SHOWN_MAX = 1e15  # no length of time and no count is larger


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to know about an incident; `is_quoted` where the text is a name that people chose."""

    name: str
    text: str
    is_quoted: bool = False


@dataclass(frozen=True, slots=True)
class Worded:
    """One incident as people are told of it."""

    mark: str  # an emoji
    state: str
    rule: str
    summary: str
    facts: tuple[Fact, ...]
    runs: tuple[str, ...]
    details: tuple[str, ...]
    link: str | None

    @property
    def headline(self) -> str:
        """What happened, without the numbers."""
        return f"{self.mark} {self.state}: {self.rule}"

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.mark} {self.state}: {self.summary}"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many incidents of a rule are in which state."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """Many incidents as people are told of them in one message."""

    headline: str
    rules: tuple[Counts, ...]
    more_rules: int
    lines: tuple[Worded, ...]
    more: int
    details: tuple[str, ...]
    link: str | None  # the list of incidents


def is_group(notice: Notice) -> bool:
    """Tell whether a notice is of more than one incident."""
    return len({transition.incident_id for transition in notice.transitions}) > 1


def worded(notice: Notice) -> Worded:
    """Return the words for the one incident of `notice`, in its newest state."""
    return _worded(notice.transition, notice, _details(notice))


def gathered(notice: Notice, *, lines_max: int = LINES_MAX) -> Gathered:
    """Return the words for all incidents of `notice`, each in its newest state, those that fire first."""
    newest = sorted(
        {transition.incident_id: transition for transition in notice.transitions}.values(),
        key=lambda transition: _rank(state_of(transition)),
    )
    states = Counter(state_of(transition) for transition in newest)
    rules: dict[str, Counter[str]] = {}
    for transition in newest:
        rules.setdefault(transition.rule, Counter())[state_of(transition)] += 1
    worst = next((mark for state, mark in _MARKS.items() if states[state]), "⚪")
    most = sorted(rules.items(), key=lambda of: -of[1].total())[:RULES_MAX]
    return Gathered(
        headline=f"{worst} {counted(len(newest), 'incident')}: {_counts(states)}",
        rules=tuple(Counts(plain(rule) or NAMELESS, _counts(counts)) for rule, counts in most),
        more_rules=len(rules) - len(most),
        lines=tuple(_worded(transition, notice, ()) for transition in newest[:lines_max]),
        more=max(0, len(newest) - lines_max),
        details=_details(notice),
        link=incidents_link(notice.public_url),
    )


def state_of(transition: Transition) -> str:
    """Return the state that people are told, which for an incident of one moment is that it happened."""
    return HAPPENED if is_immediate(transition) else transition.to_state


def plain(text: str) -> str:
    """Return `text` on one line, without what could reorder or hide it."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


def units(text: str) -> int:
    """Return how many UTF-16 units `text` has: no service counts a character as more."""
    return len(text) + sum(char > "\uffff" for char in text)


def cut(text: str, units_max: int, written: Callable[[str], str] = str) -> str:
    """Return `text`, each character as it is `written`, in at most `units_max` UTF-16 units; … tells of what went."""
    taken: list[str] = []
    used, kept = 0, 0  # `kept` characters leave room for the …
    for char in text:
        piece = written(char)
        used += units(piece)
        if used > units_max:
            return "".join(taken[:kept]) + "…"
        taken.append(piece)
        kept += used < units_max
    return "".join(taken)


def moment(at_ms: int) -> str:
    """Return a time for people, in UTC: nobody knows where they are."""
    return f"{rfc3339(at_ms)[:19].replace('T', ' ')} UTC"


def _worded(transition: Transition, notice: Notice, details: tuple[str, ...]) -> Worded:
    state = state_of(transition)
    return Worded(
        mark=_MARKS.get(state, "⚪"),
        state=_word(state).capitalize(),
        rule=plain(transition.rule) or NAMELESS,
        summary=summarize(transition),
        facts=tuple(_facts(transition)),
        runs=tuple(_run(example) for example in transition.examples),
        details=details,
        link=incident_link(transition.incident_id, notice.public_url),
    )


def _details(notice: Notice) -> tuple[str, ...]:
    return (*((SENT_AGAIN,) if notice.is_replay else ()), *map(plain, notice.details))


def _facts(transition: Transition) -> list[Fact]:
    """Return at most ten, in the order of how much they help."""
    samples = counted(transition.samples, "sample")
    late = f", {counted(transition.late_samples, 'late one', 'late ones')} left out" if transition.late_samples else ""
    facts = [
        Fact("Severity", plain(transition.severity)),
        Fact("Why", plain(transition.reason)),
        Fact("Value", _shown(transition.value, transition.rule_kind)),
        Fact("Threshold", _shown(transition.threshold, transition.rule_kind)),
        Fact("Measured on", samples + late if transition.samples or late else ""),
        Fact("Window", duration(transition.window_ms) if transition.window_ms else ""),
        Fact("For", _pairs(transition.key), is_quoted=True),
        Fact("When", _when(transition)),
        Fact("Labels", _pairs(transition.labels), is_quoted=True),
        Fact("Tenant", plain(transition.tenant), is_quoted=True),
    ]
    return [fact for fact in facts if fact.text]


def _when(transition: Transition) -> str:
    since_ms = transition.at_ms - transition.opened_at_ms
    is_later = transition.to_state != "firing" and since_ms > 0
    return moment(transition.at_ms) + (f", {duration(since_ms)} after it opened" if is_later else "")


def _shown(value: float | None, rule_kind: str) -> str:
    """Return a value in its rule's unit: a rate in percent, seconds as a length of time, counts whole."""
    if value is None:
        return ""
    if not isfinite(value) or abs(value) > _SHOWN_MAX:
        return f"{value:g}"
    match UNITS.get(rule_kind):
        case "share":
            return percent(value)
        case "seconds":
            return seconds(value) or f"{value:g}s"
        case _:
            return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def _run(example: ExampleRun) -> str:
    of = f" of {plain(example.flow)}" if example.flow else ""
    return f"{plain(example.run or example.event_id)}{of}, {moment(example.occurred_us // 1000)}"


def _pairs(mapping: Mapping[str, str]) -> str:
    return ", ".join(f"{plain(name)}={plain(text)}" for name, text in mapping.items())


def _counts(states: Counter[str]) -> str:
    return ", ".join(f"{states[state]:,} {_word(state)}" for state in sorted(states, key=_rank))


def _rank(state: str) -> int:
    return [*_MARKS, state].index(state)


def _word(state: str) -> str:
    return _WORDS.get(state, state)
