"""The runs and events that made a rule breach, in the words of its kind: failing runs, late runs, events. Pure.

scheduled for ─────────── started          late by what lies between
called late ───────────── now              not started yet: late so far; where no scheduled time was emitted,
                                           it counts from when the orchestrator called the run late
"""

from collections.abc import Iterator
from dataclasses import dataclass

from flowgauge.console.web.words import kind_of
from flowgauge.processors.kinds.kind import Shows
from flowgauge.schemas.times import parse_time_ms
from flowgauge.sinks.clickhouse.incidents import Example, Incident, IncidentView, RunView


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


def counted(incident: Incident) -> int:
    """Return how many runs or events made the rule breach: more than the examples that were kept of them."""
    if kind_of(incident.rule_kind).unit == "share":
        return round((incident.value or 0) * incident.samples)
    return incident.samples


def shown_examples(view: IncidentView, now_ms: int) -> Iterator[Shown]:
    """Yield the incident's examples, oldest first: each event where events count, else each run once."""
    runs = {run.run: run for run in view.runs}
    shows = kind_of(view.incident.rule_kind).examples_as.shows
    seen: set[str] = set()
    for example in view.incident.examples:
        name = example.event_id if shows == "events" else example.run or example.event_id
        if name not in seen:
            seen.add(name)
            yield _shown(example, runs.get(example.run), shows, now_ms)


def _shown(example: Example, run: RunView | None, shows: Shows, now_ms: int) -> Shown:
    scheduled_ms = parse_time_ms(run.scheduled_for) if run and run.scheduled_for else None
    started_ms = parse_time_ms(run.started) if run and run.started else None
    late_by_ms = None
    if shows == "starts" and (started_ms is not None or run is None or run.ended is None):
        due_ms = example.occurred_us // 1000 if scheduled_ms is None else scheduled_ms
        late_by_ms = max(0, (now_ms if started_ms is None else started_ms) - due_ms)
    return Shown(example, run, scheduled_ms, started_ms, late_by_ms)
