"""A small world as plain data: its rule sets, its log, and what happens to the processes that read it.

    sets      1: {rule, rule}   2: {rule}            markers in the log put them in force
    log       partition 0: event pulse marker event …    each record with the time the broker stamped
    steps     read source 0 · apply partition 2 · read source 1, and die …      in the order of a virtual clock

Nothing is drawn after this: the same story makes the same run, and a story with something left out is a story. That is
what shrinking needs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

import msgspec
from tests.simulation.simulated_log import LOG_ID, START_MS, Source, true_clocks

from flowgauge.processors.ruleset import RuleSet, rules_from_sources
from flowgauge.schemas.control_records import Pulse, RulesMarker, encode_record
from flowgauge.schemas.event import Event, encode_event
from flowgauge.schemas.times import EPOCH
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.log import Record

PULSE_EVERY_MS = 5_000


class Ms(int):
    """A length of time, which rules write with its unit."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class DrawnRule:
    """A rule as it is drawn: what the oracle reads, and what `source` makes of it for production.

    Conditions of a compound are rules as well: with a name, those of the same set, else written in place.
    """

    name: str
    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    match: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    for_each: tuple[str, ...] = ()
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    no_data: str = "hold"
    lateness_ms: int = 10_000

    def ms(self, name: str) -> int:
        """Return a number of the kind's fields, 0 where it is not written."""
        return int(self.fields.get(name, 0))

    def source(self) -> dict[str, Any]:
        """Return the rule as people write it. A Prefect trigger says all about what it counts."""
        if self.kind == "prefect":
            return {"name": self.name, "when": {self.kind: _written(self.fields)}}
        own = {"for_each": list(self.for_each), "allowed_lateness": f"{self.lateness_ms}ms"}
        return {"name": self.name, **own, **self.condition()}

    def condition(self) -> dict[str, Any]:
        """Return what a compound rule says of it, where it is a condition that is written in place."""
        return {
            "match": _written(self.match),
            "when": {self.kind: _written(self.fields)},
            "for": f"{self.for_ms}ms",
            "keep_firing_for": f"{self.keep_firing_for_ms}ms",
            "no_data": self.no_data,
        }


def is_told_at_once(rule: DrawnRule) -> bool:
    """Tell whether each event is an incident of its own."""
    return rule.kind == "event" and not rule.fields


def naming_only(rule: DrawnRule, names: Collection[str]) -> DrawnRule:
    """Return a rule with its conditions written in place, but for those that are rules of such names."""
    if "conditions" not in rule.fields:
        return rule
    conditions = tuple(each if each.name in names else replace(each, name="") for each in rule.fields["conditions"])
    return replace(rule, fields={**rule.fields, "conditions": conditions})


def _written(value: Any) -> Any:
    match value:
        case Ms():
            return f"{value}ms"
        case DrawnRule():
            return value.name or value.condition()
        case Mapping():
            return {name: _written(each) for name, each in cast("Mapping[str, Any]", value).items()}
        case tuple():
            return [_written(each) for each in cast("tuple[object, ...]", value)]
        case _:
            return value


class Happened(NamedTuple):
    """An event; times in ms. `state` is "" for what tells of no state."""

    number: int
    occurred_ms: int
    tenant: str
    flow: str
    run: str
    kind: str
    event: str
    state: str
    scheduled_ms: int | None
    told_ms: int | None = None  # of the end of a run that came late and counts: when the log got it

    @property
    def heard_ms(self) -> int:
        """From when on it counts."""
        return self.occurred_ms if self.told_ms is None else self.told_ms

    @property
    def event_id(self) -> str:
        """Its id, in the order of the numbers."""
        return str(UUID(int=self.number + 1))

    def encoded(self) -> bytes:
        """Return it as it stands in the log."""
        fields = {
            "id": UUID(int=self.number + 1),
            "tenant": self.tenant,
            "occurred": EPOCH + timedelta(milliseconds=self.occurred_ms),
            "event": self.event,
            "kind": self.kind,
            "flow": self.flow,
            "run": self.run,
            "state": self.state or None,
            "resource": {"id": f"flow-run.{self.run}"},
        }
        if self.scheduled_ms is not None:
            fields["scheduled_for"] = EPOCH + timedelta(milliseconds=self.scheduled_ms)
        return encode_event(msgspec.convert(fields, Event))


class Entry(NamedTuple):
    """A record of one partition: an event, a rule-set marker (its `version`), or a pulse."""

    append_ms: int
    happened: Happened | None = None
    version: int = 0


Fate = Literal["", "dies", "dies before", "dies after", "freezes"]


class Step(NamedTuple):
    """One thing that a process does, or that befalls it.

    A matcher reads `source` up to the record `until`; where it dies, `sent` says for each samples partition whether
    its message is lost (-1), is there (0), or comes so many steps later. A detector takes `until` messages of samples
    partition `source`, and may die before or after its commit, or freeze in it; a step later it wakes.
    """

    at_ms: int
    role: Literal["match", "detect"]
    source: int
    until: int
    fate: Fate = ""
    sent: tuple[int, ...] = ()


@dataclass(frozen=True)
class Story:
    """One world. `sets[n]` is rule set n + 1; its rules have distinct names."""

    seed: int
    sets: tuple[tuple[DrawnRule, ...], ...]
    log: tuple[tuple[Entry, ...], ...]
    steps: tuple[Step, ...]
    samples_partitions: int
    processes: int

    @cached_property
    def rulesets(self) -> dict[int, RuleSet]:
        """The rule sets as production has them, by version."""
        return {
            version: rules_from_sources([rule.source() for rule in rules], version)
            for version, rules in enumerate(self.sets, 1)
        }

    @cached_property
    def sources(self) -> Sequence[Source]:
        """The events partitions with the clock after each record."""
        return [_source(entries) for entries in self.log]

    @property
    def events(self) -> int:
        """How many events stand in the log, those sent twice twice."""
        return sum(entry.happened is not None for entries in self.log for entry in entries)


def _source(entries: Sequence[Entry]) -> Source:
    records = [_record(offset, entry) for offset, entry in enumerate(entries)]
    return Source(records, [], true_clocks(records))


def _record(offset: int, entry: Entry) -> Record:
    if entry.happened is not None:
        return Record(offset, entry.append_ms, RecordKind.EVENT, "", entry.happened.encoded())
    if entry.version:
        return Record(offset, entry.append_ms, RecordKind.RULES, "", encode_record(RulesMarker(version=entry.version)))
    sent_ms = START_MS + (entry.append_ms - START_MS) // PULSE_EVERY_MS * PULSE_EVERY_MS
    return Record(offset, entry.append_ms, RecordKind.PULSE, "", encode_record(Pulse(sent_ms=sent_ms, log_id=LOG_ID)))


def told(story: Story) -> list[str]:
    """Return the story in lines, times in seconds after the start. Pulses are left out."""
    lines = [f"set {version}: {rule.source()}" for version, rules in enumerate(story.sets, 1) for rule in rules]
    for source, entries in enumerate(story.log):
        lines += [
            f"source {source} offset {offset}: {_entry(entry)}"
            for offset, entry in enumerate(entries)
            if entry.happened is not None or entry.version
        ]
    return lines + [_step(step) for step in story.steps]


def _entry(entry: Entry) -> str:
    at = f"{seconds(entry.append_ms)} s"
    if entry.happened is None:
        return f"{at} rule set {entry.version}"
    each = entry.happened
    due = "" if each.scheduled_ms is None else f", due {seconds(each.scheduled_ms)} s"
    what = f"event {each.number} of {each.tenant} {each.flow} {each.run}: {each.event}"
    return f"{at} {what} at {seconds(each.occurred_ms)} s{due}"


def _step(step: Step) -> str:
    what = (
        f"reads source {step.source} up to {step.until}"
        if step.role == "match"
        else (f"takes {step.until} messages of samples partition {step.source}")
    )
    fate = f", {step.fate} {step.sent or ''}" if step.fate else ""
    return f"{seconds(step.at_ms)} s {step.role} {what}{fate}"


def seconds(moment_ms: int) -> float:
    """Return a moment in seconds after the start."""
    return (moment_ms - START_MS) / 1000
