"""The detector: sample messages in, transitions out. Pure: no await, no clock, no I/O.

    source 0   ───────────●clock 107        L = allowed lateness 10
    source 1   ────────●clock 104           a pane [s, e) is final when every clock has passed e + L
    pane ends      …90   95   100
                    └ final: 90 + 10 <= 104      evaluated in the order (e + L, e, rule, key)

Samples wait in their pane until it is final and are applied in the order of their occurrence, so neither read
order, nor batch splits, nor re-sends can change a result. Keys are evaluated only at pane ends where something can
change: a pane with samples, the oldest pane leaving, a deadline or a timer. Read `key_state` and `alert_state` next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Unpack

import msgspec

from flowgauge.processors.alert_state import Change, close
from flowgauge.processors.detector_state import (
    POSITION,
    Kept,
    SourcePosition,
    encode,
    ids_name,
    read_chunks,
    read_ids,
    read_keys,
    read_position,
)
from flowgauge.processors.evaluation import Evaluation
from flowgauge.processors.held_keys import HeldKeys
from flowgauge.processors.key_state import Key, KeyState, restored
from flowgauge.processors.key_store import KeyStore, Place
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Firing, Reading, Verdict
from flowgauge.processors.rule_fate import REASONS, Fate, succession
from flowgauge.processors.rules_in_force import RulesInForce
from flowgauge.processors.ruleset import CompiledRule, RuleSet
from flowgauge.processors.source_set import admit, position_of
from flowgauge.processors.told_ids import ToldIds
from flowgauge.processors.transitions import Told, transition_of
from flowgauge.processors.wake_ups import WakeUps
from flowgauge.schemas.errors import LogMismatch, OffsetGap
from flowgauge.schemas.left_out import Cause, Count, Why, note
from flowgauge.schemas.sample import Sample, SampleMessage
from flowgauge.schemas.transition import ExampleRun, Transition

AHEAD_MAX_MS = 10_000  # an event further ahead of its append time is skewed: counted, not admitted


@dataclass(slots=True)
class DetectorCounts:
    """What one call counted."""

    samples: int = 0
    late: int = 0
    skewed: int = 0
    resent: int = 0
    keys_refused: int = 0
    slots_refused: int = 0
    left_out: dict[Cause, Count] = field(default_factory=dict[Cause, Count])


@dataclass(slots=True)
class Outcome:
    """What one call changed: commit state and transitions as one."""

    state: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    transitions: list[Transition] = field(default_factory=list[Transition])
    counts: DetectorCounts = field(default_factory=DetectorCounts)


class Detector:
    """The state of one samples partition. `rulesets` must know each version before its samples come.

    `sources` is how many partitions the events have now; what it began with is told by `source_set`.

    `stores=False` leaves keys and waiting samples out of `Outcome.state`: a replay never begins again from it.
    `observe` is shown each evaluation.
    """

    def __init__(
        self,
        *,
        log_id: str,
        sources: int,
        rulesets: Mapping[int, RuleSet],
        state: Mapping[str, bytes] | None = None,
        stores: bool = True,
        observe: Callable[[Evaluation], None] | None = None,
    ) -> None:
        self._rulesets = rulesets
        self._observe = observe
        self._position = position_of(log_id, sources, rulesets, read_position(state or {}))
        self._rules = RulesInForce(rulesets, self._position)
        self._newest_version = max(each.rules_version for each in self._position.sources)
        self._finished: set[int] = set()
        self._keys = HeldKeys()
        self._store = KeyStore() if stores else None
        self._wake_ups = WakeUps()
        self._aside: dict[int, list[tuple[int, Sample]]] = {}  # rules version → (source, sample), until in force
        self._told = ToldIds(read_ids(state or {}))
        self._out = Outcome()
        if state:
            self._restore(state)

    @property
    def clock_ms(self) -> int:
        """The slowest source's clock; -1 until every source has been heard of."""
        clocks = [
            position.clock_ms for source, position in enumerate(self._position.sources) if source not in self._finished
        ]
        return min(clocks) if clocks else max(position.clock_ms for position in self._position.sources)

    @property
    def source_clocks_ms(self) -> list[int]:
        """The clock of each source; -1 of one that was not heard of."""
        return [position.clock_ms for position in self._position.sources]

    @property
    def active_version(self) -> int:
        """The rule set in force."""
        return self._rules.active.version

    @property
    def keys(self) -> int:
        """How many (rule, key) are held."""
        return len(self._keys)

    def next_offset(self, source: int) -> int:
        """Return the offset from which `source` goes on."""
        return self._position.sources[source].next_offset

    def apply(self, messages: Sequence[SampleMessage]) -> Outcome:
        """Take messages, evaluate every pane that became final, and return what changed.

        Raises OffsetGap where samples are missing, LogMismatch for samples of another log.
        """
        for message in messages:
            self._take(message)
        return self._advance(self.clock_ms)

    def finish(self, source: int) -> Outcome:
        """Take `source` as over: it no longer holds the clock. For replays of files."""
        self._finished.add(source)
        return self._advance(self.clock_ms)

    def advance_to(self, clock_ms: int) -> Outcome:
        """Evaluate every pane that is final at `clock_ms`, past the sources' own clocks. For replays of files."""
        return self._advance(clock_ms)

    # ── taking samples ──

    def _take(self, message: SampleMessage) -> None:
        self._admit_sources(message.rules_version)
        position = self._position.sources[self._known_source(message)]
        if message.start > position.next_offset > 0:
            raise OffsetGap(
                f"source {message.source}: samples of offsets {position.next_offset} to {message.start - 1} are "
                f"missing; match again from offset {position.next_offset}"
            )
        if message.end <= position.next_offset:
            self._out.counts.resent += len(message.samples)
            return
        self._rules.note(message.source, position, message.rules_version, message.switched_ms)
        samples = self._new_samples(message, position)
        if samples:
            self._take_samples(Kept(message.source, message.rules_version, samples))
        position.next_offset = message.end
        position.clock_ms = max(position.clock_ms, message.clock_ms)

    def _admit_sources(self, version: int) -> None:
        """Wait for the sources that join with rule sets up to `version` too."""
        if version > self._newest_version:
            self._newest_version = version
            admit(self._position, self._rulesets, version, self.clock_ms)

    def _new_samples(self, message: SampleMessage, position: SourcePosition) -> Sequence[Sample]:
        """Return the samples that were not taken yet; none of them lies before this source's clock."""
        samples, clock_ms = message.samples, position.clock_ms
        if message.start < position.next_offset:
            samples = [sample for sample in samples if sample.offset >= position.next_offset]
            self._out.counts.resent += len(message.samples) - len(samples)
        if samples and samples[0].append_ms < clock_ms:  # the matcher began anew without this source's clock
            return [msgspec.structs.replace(sample, append_ms=max(sample.append_ms, clock_ms)) for sample in samples]
        return samples

    def _known_source(self, message: SampleMessage) -> int:
        if message.log_id != self._position.log_id:
            raise LogMismatch(
                f"samples of log {message.log_id} in a detector of log {self._position.log_id}: "
                "the events topic was recreated; reset the detector's state to start anew"
            )
        if message.source >= len(self._position.sources):
            raise LogMismatch(
                f"samples of source partition {message.source}, but the source set has "
                f"{len(self._position.sources)} partitions: more are added by flowgauge topics apply"
            )
        return message.source

    def _take_samples(self, kept: Kept) -> None:
        """Put samples where they wait, and store them if any does. The hot path: it stays flat."""
        source, version = kept.source, kept.rules_version
        rules, keys = self._rules.ruleset(version).rules, self._keys
        is_in_force = version == self._rules.active.version
        first_ms = last_ms = -1
        taken = 0
        refused: set[int] = set()
        for sample in kept.samples:
            rule, key, append_ms = rules[sample.rule], sample.key, sample.append_ms
            if not is_in_force and not self._rules.holds(rule.uid, key[0], version):
                self._aside.setdefault(version, []).append((source, sample))
                final_ms = append_ms
            else:
                taken += 1
                late_by_ms = append_ms - sample.occurred_us // 1000
                is_held = rule.pane_ms and -AHEAD_MAX_MS <= late_by_ms <= rule.lateness_ms
                is_held = is_held or rule.by_arrival
                if not is_held and not self._take_unheld(sample, rule, version, late_by_ms):
                    continue
                state = keys.get((rule.uid, key)) or self._new_key_state(rule, key)
                if state is None:
                    refused.add(id(sample))
                    self._refuse_key(rule, sample)
                    continue
                needed_ms = state.wait(sample, source) if is_held else state.wait_late(sample, source)
                if state.wake_ms is None or needed_ms < state.wake_ms:
                    self._wake_ups.add(state, needed_ms)
                final_ms = needed_ms + rule.lateness_ms
            if final_ms > last_ms:
                last_ms = final_ms
            if first_ms < 0:  # another sample of its key may be needed before it and take it along
                first_ms = append_ms
        self._out.counts.samples += taken
        if refused:  # what found no room finds none after a restart
            kept = Kept(source, version, [sample for sample in kept.samples if id(sample) not in refused])
        if self._store is not None and last_ms >= 0:
            self._store.keep(first_ms, last_ms, kept)

    def _take_unheld(self, sample: Sample, rule: CompiledRule, version: int, late_by_ms: int) -> bool:
        """Take a sample of a rule that is told at once, or skewed, or late; tell whether it waits even so."""
        if not rule.pane_ms:
            self._tell_at_once(sample, rule, version)
            return False
        if late_by_ms < -AHEAD_MAX_MS:
            self._out.counts.skewed += 1
            self._leave_out("skewed", rule, sample.key, sample.append_ms)
            return False
        state = self._keys.get((rule.uid, sample.key)) or self._new_key_state(rule, sample.key)
        if state is None:
            self._refuse_key(rule, sample)
            return False
        self._count_late(state, sample)
        return rule.kind.hears_late(sample.outcome)

    def _refuse_key(self, rule: CompiledRule, sample: Sample) -> None:
        self._out.counts.keys_refused += 1
        self._leave_out("keys_refused", rule, sample.key, sample.append_ms)

    def _leave_out(self, why: Why, rule: CompiledRule, key: Key, append_ms: int) -> None:
        note(self._out.counts.left_out, Cause(why, key[0], rule.name), append_ms)

    def _count_late(self, state: KeyState, sample: Sample) -> None:
        self._out.counts.late += 1
        self._leave_out("late", state.rule, sample.key, sample.append_ms)
        state.count_late(sample.append_ms)
        self._write_now((state.rule.uid, sample.key))
        if state.wake_ms is None:
            self._wake(state)

    def _new_key_state(self, rule: CompiledRule, key: Key) -> KeyState | None:
        if not self._keys.has_room(rule.uid, key):
            return None
        # Before its set is in force, a rule that only tells people otherwise still tells them as of now.
        rule = self._rules.active.by_uid.get(rule.uid, rule)
        # A firing that does not last has its event in the key: it is never that of a rule before.
        since_ms = 0 if rule.by_arrival else self._rules.began_ms(rule.uid, key[0])
        state = self._keys[rule.uid, key] = KeyState(rule, key, rule.kind.new_window(), since_ms=since_ms)
        return state

    # ── immediate events ──

    def _tell_at_once(self, sample: Sample, rule: CompiledRule, version: int) -> None:
        if not self._told.is_new(ids_name(rule.uid, sample.key), sample.event_id, sample.append_ms):
            return
        at_ms = sample.occurred_us // 1000
        change = Change("inactive", "firing", 0, at_ms, "")
        example = ExampleRun(sample.occurred_us, sample.event_id, sample.run, sample.flow)
        reading = Reading(Verdict.BREACH, "the event happened", samples=1)
        key = (*sample.key, sample.event_id)
        self._emit(rule, key, change, at_ms=at_ms, reading=reading, version=version, examples=[example])

    # ── evaluating ──

    def _advance(self, clock_ms: int) -> Outcome:
        while True:
            final_ms = self._wake_ups.next_final_ms
            switch = self._rules.next_switch(self._finished)
            if switch is not None and switch[0] <= clock_ms and (final_ms is None or switch[0] < final_ms):
                self._switch(*switch)
            elif final_ms is not None and final_ms <= clock_ms:
                self._evaluate_next()
            else:
                return self._finish_step(clock_ms)

    def _evaluate_next(self) -> None:
        final_ms, end_ms, states = self._wake_ups.pop()
        for state in states:
            self._evaluate(state, end_ms, final_ms)

    def _evaluate(self, state: KeyState, end_ms: int, final_ms: int) -> None:
        state.wake_ms = None
        evaluated = state.evaluate(end_ms)
        late_samples = state.late_samples(end_ms) if state.late else 0
        reading, change = evaluated or (None, None)
        if reading is not None and change is not None:
            self._emit(
                state.rule,
                state.key,
                change,
                at_ms=end_ms,
                reading=reading,
                version=self._rules.active.version,
                late_samples=late_samples,
                examples=state.window.examples(),
            )
        for firing in reading.firings if reading is not None else ():
            self._emit_firing(state, firing)
        self._out.counts.slots_refused += state.window.take_refused()
        next_ms = state.next_end_ms()
        if next_ms is not None:
            self._wake_ups.add(state, next_ms)
        if self._observe is not None and reading is not None:
            alert = msgspec.structs.replace(state.alert)
            self._observe(Evaluation(state.rule, state.key, end_ms, reading, change, alert, late_samples, next_ms))
        is_blank = next_ms is None and state.alert.state == "inactive" and not state.window.is_lasting()
        place = (state.rule.uid, state.key)
        if self._store is not None:
            self._store.evaluated(place, final_ms, has_changed=change is not None, is_blank=is_blank)
        elif is_blank:
            del self._keys[place]

    def _emit_firing(self, state: KeyState, firing: Firing) -> None:
        self._emit(
            state.rule,
            (*state.key, *firing.key),
            Change("inactive", "firing", 0, firing.at_ms, ""),
            at_ms=firing.at_ms,
            reading=Reading(Verdict.BREACH, firing.reason, firing.value, firing.threshold, round(firing.value)),
            version=self._rules.active.version,
            examples=firing.examples,
        )

    def _wake(self, state: KeyState) -> None:
        end_ms = state.next_end_ms()
        if end_ms is not None:
            self._wake_ups.add(state, end_ms)

    def _emit(self, rule: CompiledRule, key: Key, change: Change, **told: Unpack[Told]) -> None:
        self._out.transitions.append(transition_of(rule, key, change, **told))

    # ── rule sets ──

    def _switch(self, at_ms: int, version: int) -> None:
        """Put rule set `version` in force: the same for every split of the log, since `at_ms` stands in it."""
        self._rules.activate(version, at_ms)
        gone: list[tuple[str, Key, str]] = []
        for (uid, key), state in self._keys.items():
            fate, heir = succession(state.rule, key[0], self._rules.active)
            if fate is Fate.KEPT and heir is not None:
                state.rule = heir
            else:
                gone.append((state.rule.rule.name, key, uid))
        for _, key, uid in sorted(gone):
            self._retire((uid, key), at_ms)
        aside, self._aside = self._aside, {}
        for later in sorted(aside):  # those of sets to come stand aside again, unless their rule holds from now on
            rules = self._rules.ruleset(later).rules
            for source, sample in aside[later]:
                if self._rules.holds(rules[sample.rule].uid, sample.key[0], later):
                    self._take_samples(Kept(source, later, [sample]))
                else:  # it is stored already: once more, and a restored late sample would count twice
                    self._aside.setdefault(later, []).append((source, sample))
        if self._store is not None:
            self._store.write_all()

    def _retire(self, place: Place, at_ms: int) -> None:
        """End a key whose rule changed or went: a changed rule keeps the open incident, in a new window."""
        state = self._keys[place]
        del self._keys[place]
        state.wake_ms = None
        self._write_now(place)
        fate, heir = succession(state.rule, place[1][0], self._rules.active)
        is_open = state.alert.state not in {"inactive", "pending"}
        if is_open and fate is Fate.CARRIED_ON and heir is not None:
            kept = self._keys.get((heir.uid, place[1])) or self._new_key_state(heir, place[1])
            if kept is not None:
                kept.inherit(state.alert, at_ms)
                self._write_now((heir.uid, place[1]))
                self._wake(kept)
                return
        reason = REASONS[Fate.REMOVED if heir is None else Fate.ENDED]  # one that is pending never goes on
        change = close(state.alert, at_ms, reason)
        if change is not None:
            reading, version = Reading(Verdict.HELD, reason), self._rules.active.version
            self._emit(state.rule, place[1], change, at_ms=at_ms, reading=reading, version=version)

    # ── storing ──

    def _write_now(self, place: Place) -> None:
        if self._store is not None:
            self._store.write_now(place)

    def _finish_step(self, clock_ms: int) -> Outcome:
        out, self._out = self._out, Outcome()
        self._told.write(out.state, clock_ms)
        if self._store is not None:
            out.state.update(self._store.step(self._keys, clock_ms, keeps_all=bool(self._aside)))
            out.state[POSITION] = encode(self._position)
        return out

    def _restore(self, state: Mapping[str, bytes]) -> None:
        """Load what is stored, then evaluate again up to the clock what was evaluated since. Nothing is emitted."""
        rules = {item.uid: item for version in sorted(self._rulesets) for item in self._rulesets[version].rules}
        rules.update(self._rules.active.by_uid)
        parts: dict[Place, int] = {}
        for record, count in read_keys(state):
            if record.uid not in rules:
                raise LogMismatch(f"the detector's state holds a rule {record.uid} that no rule set of this log has")
            place = (record.uid, record.key)
            self._keys[place] = restored(record, rules[record.uid])
            parts[place] = count
        chunks = dict(read_chunks(state))
        if self._store is not None:
            spans = {
                number: (
                    min(sample.append_ms for kept in chunk for sample in kept.samples),
                    max(self._final_ms(kept.rules_version, sample) for kept in chunk for sample in kept.samples),
                )
                for number, chunk in chunks.items()
            }
            self._store.restore(parts, spans)
        for chunk in chunks.values():
            for kept in chunk:
                for sample in kept.samples:
                    self._restore_waiting(kept.source, kept.rules_version, sample)
        for place, key_state in sorted(self._keys.items(), key=lambda item: item[1].evaluated_ms):
            self._wake(key_state)
            if self._store is not None and key_state.is_blank:
                self._store.is_blank(place, key_state.evaluated_ms + key_state.rule.lateness_ms)
        clock_ms = self.clock_ms
        while (final_ms := self._wake_ups.next_final_ms) is not None and final_ms <= clock_ms:
            self._evaluate_next()
        self._out = Outcome()

    def _final_ms(self, version: int, sample: Sample) -> int:
        rule = self._rules.ruleset(version).rules[sample.rule]
        if not rule.pane_ms or not _is_admitted(sample, rule):
            return sample.append_ms
        end_ms = pane_end(rule.moment_ms(sample), rule.pane_ms)
        return rule.kind.needed_by(sample, end_ms) + rule.lateness_ms

    def _restore_waiting(self, source: int, version: int, sample: Sample) -> None:
        rule, tenant = self._rules.ruleset(version).rules[sample.rule], sample.key[0]
        if not self._rules.holds(rule.uid, tenant, version):
            self._aside.setdefault(version, []).append((source, sample))
            return
        since = min(version - 1, self._rules.active.version - 1)
        is_held = all(
            self._rules.view(each).sees(rule.uid, tenant)
            for each in self._rules.versions(since, self._rules.active.version)
        )
        if not is_held or not rule.pane_ms or not _is_admitted(sample, rule):
            return
        state = self._keys.get((rule.uid, sample.key)) or self._new_key_state(rule, sample.key)
        if state is not None and pane_end(rule.moment_ms(sample), rule.pane_ms) > state.evaluated_ms:
            wait = state.wait_late if rule.is_late(sample) and not rule.by_arrival else state.wait
            wait(sample, source)


def _is_admitted(sample: Sample, rule: CompiledRule) -> bool:
    """Tell whether `sample` enters windows by its own record; one that stood aside was not judged when stored."""
    late_by_ms = sample.append_ms - sample.occurred_us // 1000
    return rule.by_arrival or (late_by_ms >= -AHEAD_MAX_MS and rule.hears(sample))
