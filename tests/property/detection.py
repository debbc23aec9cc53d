"""What the detection laws share: random runs of flows, and ways to push them through matcher and detector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.event import Event, encode_event
from flowgauge.schemas.sample import SampleMessage
from flowgauge.schemas.times import EPOCH
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record

START_MS = 1_790_000_000_000
LATENESS_MS = 10_000
LOG_ID = "log"

RULES = """
rules:
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 60s, min_samples: 2, clear_below: 10%}}
    for: 5s
    keep_firing_for: 10s
    no_data: resolve
  - name: failing at all
    when: {failure_rate: {above: 50%, within: 20s, min_samples: 1}}
    no_data: fire
    allowed_lateness: 3s
  - name: failing for sure
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 60s, min_samples: 1, guard: wilson}}
    keep_firing_for: 10s
  - name: often
    match: {state: failed}
    for_each: [flow]
    when: {event: {times: 3, within: 30s}}
  - name: late
    for_each: [flow]
    when: {late: {after: 20s, at_least: 2, within: 60s}}
  - name: in a row
    for_each: [flow]
    when: {consecutive_failures: {times: 2}}
    for: 2s
    keep_firing_for: 10s
  - name: in a row lately
    when: {consecutive_failures: {times: 3, within: 40s}}
    no_data: fire
    allowed_lateness: 5s
  - name: silent
    match: {state: completed}
    for_each: [flow]
    when: {absence: {after: 30s}}
    for: 5s
  - name: run silent
    match: {state: [running, late]}
    for_each: [run]
    when: {absence: {after: 20s}}
    keep_firing_for: 30s
  - name: run too long
    for_each: [run]
    when: {duration: {above: 20s}}
    keep_firing_for: 5s
  - name: flow too long
    for_each: [flow]
    when: {duration: {above: 45s}}
    for: 5s
    allowed_lateness: 4s
  - name: slow
    when: {duration: {above: 30s, quantile: 50%, within: 2m, min_samples: 1, clear_below: 20s}}
    no_data: fire
  - name: more failures
    when: {change: {of: failures, within: 20s, trailing: 80s, min_samples: 1, sigma: 0.5}}
    keep_firing_for: 10s
  - name: burning
    for_each: [flow]
    when:
      burn_rate:
        objective: 90%
        pairs: [{above: 4, within: 60s, short: 20s}, {above: 2, within: 4m, short: 30s}]
        min_samples: 2
    for: 2s
    keep_firing_for: 10s
    no_data: resolve
  - name: missed
    for_each: [flow]
    when: {missed: {every: 40s, grace: 15s, completes_within: 55s}}
    for: 5s
    keep_firing_for: 20s
  - name: in order
    for_each: [flow]
    when:
      sequence:
        steps: [{state: running}, {state: [completed, running]}, {state: [failed, crashed]}]
        within: 60s
    for: 2s
    keep_firing_for: 10s
  - name: not ended
    for_each: [run]
    when: {sequence: {steps: [{state: running}, {state: [completed, failed]}], within: 30s, fires_when: incomplete}}
    keep_firing_for: 10s
  - name: failing and late
    for_each: [flow]
    when: {all_of: {within: 45s, conditions: [failing, late]}}
    keep_firing_for: 4s
  - name: two of these
    for_each: [flow]
    for: 3s
    when:
      any_of:
        at_least: 2
        conditions:
          - often
          - failing and late
          - {match: {state: completed}, when: {absence: {after: 15s}}, for: 7s}
          - {when: {failure_rate: {above: 40%, within: 7s, min_samples: 1}}, no_data: fire, keep_firing_for: 5s}
  - name: crash of what is late
    for_each: [run]
    allowed_lateness: 5s
    when:
      all_of:
        within: 50s
        conditions:
          - {match: {state: crashed}, when: {event: {}}}
          - {match: {state: [running, late]}, when: {absence: {after: 10s}}}
          - {when: {late: {after: 1s}}}
  - name: each crash
    match: {state: crashed}
    for_each: [flow]
    when: {event: {}}
"""


@dataclass(frozen=True)
class Happening:
    """An event as drawn: when it happened and when the log stamped it, ms after START_MS."""

    occurred_ms: int
    append_ms: int
    event: Event

    @property
    def value(self) -> bytes:
        return encode_event(self.event)


def rules(text: str = RULES) -> RuleSet:
    """Return rule set 1 from YAML text."""
    return RuleSet(parse_rules("rules.yaml", text).rules, 1)


STATES = ("scheduled", "late", "running", "completed", "failed", "crashed", "cancelled")


@st.composite
def happenings(draw: st.DrawFn, *, size_max: int = 40, disorder_ms: int = LATENESS_MS) -> list[Happening]:
    """Draw events in append order, each appended up to `disorder_ms` after it happened, some with equal times."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, 240_000),  # occurred
                st.integers(0, disorder_ms),  # delay
                st.sampled_from(("a", "b")),  # flow
                st.integers(0, 7),  # run
                st.sampled_from(STATES),
                st.sampled_from((None, 0, 5_000, 30_000, 60_000)),  # scheduled_for
            ),
            max_size=size_max,
        )
    )
    found = [
        Happening(START_MS + occurred, START_MS + occurred + delay, made_event(number, occurred, *rest))
        for number, (occurred, delay, *rest) in enumerate(drawn)
    ]
    return sorted(found, key=lambda happening: happening.append_ms)


def event_at(event_id: UUID, occurred_ms: int, state: str, run: int = 0) -> Event:
    """Return an event of a run of flow `a`, `occurred_ms` after START_MS."""
    return made_event(event_id.int, occurred_ms, "a", run, state, None)


def made_event(number: int, occurred_ms: int, flow: str, run: int, state: str, scheduled: int | None) -> Event:  # noqa: PLR0917  # as drawn
    """Return event `number` of a run of `flow`; its times are ms after START_MS."""
    fields = {
        "id": UUID(int=number + 1),
        "tenant": "t",
        "occurred": EPOCH + timedelta(milliseconds=START_MS + occurred_ms),
        "event": f"flow-run.{state}",
        "kind": "flow-run",
        "flow": flow,
        "run": f"{flow}-{run}",
        "state": state,
        "scheduled_for": EPOCH + timedelta(milliseconds=START_MS + scheduled) if scheduled is not None else None,
        "resource": {"id": f"flow-run.{flow}-{run}"},
    }
    return msgspec.convert(fields, Event)


def records(happened: Sequence[Happening]) -> list[Record]:
    """Return happenings as the records of one partition, in the order given."""
    return [Record(offset, item.append_ms, RecordKind.EVENT, "", item.value) for offset, item in enumerate(happened)]


class Line:
    """Matcher and detector in a line, one matcher a source. The detector can be stopped and restored anywhere."""

    def __init__(self, ruleset: RuleSet, *, sources: int = 1) -> None:
        self._rulesets: Mapping[int, RuleSet] = {1: ruleset}
        self._sources = sources
        self._matchers = [
            Matcher(
                log_id=LOG_ID,
                source=source,
                samples_partitions=1,
                rulesets=self._rulesets,
                state=MatcherState(rules_version=1),
            )
            for source in range(sources)
        ]
        self._ends = [0] * sources
        self.state: dict[str, bytes] = {}
        self.transitions: list[Transition] = []
        self.detector = self._new_detector()

    def _new_detector(self) -> Detector:
        return Detector(log_id=LOG_ID, sources=self._sources, rulesets=self._rulesets, state=self.state)

    def messages(self, source: int, batch: Sequence[Record]) -> Sequence[SampleMessage]:
        """Match a batch."""
        if batch:
            self._ends[source] = batch[-1].offset + 1
        return self._matchers[source].match(batch).messages[0]

    def feed(self, source: int, batch: Sequence[Record]) -> None:
        """Match a batch, apply and commit it."""
        self.commit(self.detector.apply(self.messages(source, batch)))

    def commit(self, outcome: Outcome) -> None:
        """Make a step durable."""
        self.transitions += outcome.transitions
        for name, value in outcome.state.items():
            if value is None:
                self.state.pop(name, None)
            else:
                assert len(value) <= 262_144
                self.state[name] = value

    def crash(self) -> None:
        """Lose what is in memory and restore what was committed."""
        self.detector = self._new_detector()

    def end(self, clock_ms: int) -> list[Transition]:
        """Let every source's clock reach `clock_ms`; return all transitions in order."""
        for source, offset in enumerate(self._ends):
            self.feed(source, [Record(offset, clock_ms, RecordKind.LOADED, "", b"")])
        return in_order(self.transitions)


def in_order(transitions: Sequence[Transition]) -> list[Transition]:
    """Return transitions in an order that no split of the log can change."""
    return sorted(transitions, key=lambda item: (item.at_ms, item.rule, sorted(item.key.items()), item.seq))


def run_whole(ruleset: RuleSet, happened: Sequence[Happening], end_ms: int) -> list[Transition]:
    """Return the transitions of one partition read in one batch."""
    line = Line(ruleset)
    line.feed(0, records(happened))
    return line.end(end_ms)
