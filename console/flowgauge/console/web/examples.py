"""The runs and events that made a rule breach, in the words of its kind: failing runs, late runs, events. Pure.

scheduled for ─────────── started          late by what lies between
called late ───────────── now              not started yet: late so far; where no scheduled time was emitted,
                                           it counts from when the orchestrator called the run late
"""

from collections.abc import Iterator
from dataclasses import dataclass

from flowgauge.schemas.times import parse_time_ms
from flowgauge.sinks.clickhouse.incidents import Example, Incident, IncidentView, RunView

LATE, EVENT, ROW, ABSENCE = "late", "event", "consecutive_failures", "absence"
DURATION, MISSED, SEQUENCE = "duration", "missed", "sequence"
OF_EVENTS = frozenset({EVENT, SEQUENCE})  # their examples are events, which may be of one run
SHARE_KINDS = frozenset({"failure_rate", "burn_rate"})  # their values are shares of 1


@dataclass(frozen=True, slots=True)
class ExampleWords:
    """What examples of a rule's kind are called."""

    title: str
    note: str


WORDS = {
    "failure_rate": ExampleWords("Failing runs", "the first that counted, with their last error lines, UTC"),
    "burn_rate": ExampleWords("Failing runs", "the first that counted, with their last error lines, UTC"),
    ROW: ExampleWords("Failed runs", "the first in the row, with their last error lines, UTC"),
    ABSENCE: ExampleWords("Last seen", "the last event that matched, with the last error lines of its run, UTC"),
    DURATION: ExampleWords("Long runs", "the first that took too long, with their last error lines, UTC"),
    MISSED: ExampleWords("Last start", "the run that started last, with its last error lines, UTC"),
    LATE: ExampleWords("Late runs", "the first that counted, and whether they have started since"),
    SEQUENCE: ExampleWords(
        "Events", "those of the sequence in their order, with the last error lines of their runs, UTC"
    ),
    EVENT: ExampleWords("Events", "the first that counted, with the last error lines of their runs, UTC"),
}
OTHER_WORDS = ExampleWords("Runs", "the first that counted, with their last error lines, UTC")


@dataclass(frozen=True, slots=True)
class Shown:
    """One example with what is known of its run. Times are ms since 1970; None where nothing was heard."""

    example: Example
    run: RunView | None
    scheduled_ms: int | None
    started_ms: int | None
    late_by_ms: int | None  # of a late run: until it started, or until now

    @property
    def occurred_ms(self) -> int:
        """When the event happened that counted."""
        return self.example.occurred_us // 1000

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.example.flow or (self.run.flow if self.run else "")


def words_of(rule_kind: str) -> ExampleWords:
    """Return what the examples of a rule of this kind are called."""
    return WORDS.get(rule_kind, OTHER_WORDS)


def counted(incident: Incident) -> int:
    """Return how many runs or events made the rule breach: more than the examples that were kept of them."""
    if incident.rule_kind in SHARE_KINDS:
        return round((incident.value or 0) * incident.samples)
    return incident.samples


def shown_examples(view: IncidentView, now_ms: int) -> Iterator[Shown]:
    """Yield the incident's examples, oldest first: each event where events count, else each run once."""
    runs = {run.run: run for run in view.runs}
    seen: set[str] = set()
    for example in view.incident.examples:
        name = example.event_id if view.incident.rule_kind in OF_EVENTS else example.run or example.event_id
        if name not in seen:
            seen.add(name)
            yield _shown(example, runs.get(example.run), view.incident.rule_kind, now_ms)


def _shown(example: Example, run: RunView | None, rule_kind: str, now_ms: int) -> Shown:
    scheduled_ms = parse_time_ms(run.scheduled_for) if run and run.scheduled_for else None
    started_ms = parse_time_ms(run.started) if run and run.started else None
    late_by_ms = None
    if rule_kind == LATE and (started_ms is not None or run is None or run.ended is None):
        due_ms = example.occurred_us // 1000 if scheduled_ms is None else scheduled_ms
        late_by_ms = max(0, (now_ms if started_ms is None else started_ms) - due_ms)
    return Shown(example, run, scheduled_ms, started_ms, late_by_ms)
