"""The oracle of small worlds: every transition of a story, from its log alone, by the definitions in docs and design.

    rule "r"     set 1: A    set 2: A    set 3: B    set 4: –     a life: sets in a row in which a name means the same
    lives             [ A ………………………… ][ B ……… ]                 samples: events whose partition had announced
                      T1               T3         T4               one of its sets; in force from T to the next T

Each life of each key is judged at every pane end over all its events. It knows nothing of batches, crashes, messages or
states kept, and shares no code with the detector. What it does not judge, it says: `Chain.is_whole`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from tests.oracles.told import EMPTY, HELD, ROUNDED, Told, pane_end
from tests.simulation import judged_triggers
from tests.simulation.drawing import END_MS
from tests.simulation.judged_alert import JudgedAlert
from tests.simulation.readings import ORACLES, PANE_MS, conditions, first_read_ms, hears, hears_late, pane_ms, window_ms
from tests.simulation.story import DrawnRule, Happened, Story, is_told_at_once

from flowgauge.schemas.ids import incident_id, transition_id
from flowgauge.schemas.transition import Transition

AHEAD_MAX_MS = 10_000
NEVER_MS = END_MS + 1  # past the last pane
LATE_SHOWN_MS = 3_600_000
DEFERRED = {"late", "duration"}  # when an inherited alert of these moves hangs on how long samples may wait

Key = tuple[str, ...]
ChainName = tuple[str, Key]  # of a rule and a key: the tenant, then the values of `for_each`


class Row(NamedTuple):
    """A transition as it has to be."""

    transition_id: str
    incident_id: str
    from_state: str
    to_state: str
    at_ms: int
    rules_version: int
    told: Told
    late_samples: int


@dataclass(slots=True)
class Chain:
    """What one rule name tells of one key, in order; where it is not whole, more may follow that is not judged."""

    rows: list[Row] = field(default_factory=list[Row])
    is_whole: bool = True


class _Sample(NamedTuple):
    """A record that a life's rule hears: the clock of its partition there, and the rule set it was matched by."""

    happened: Happened
    append_ms: int
    version: int


@dataclass(frozen=True, slots=True)
class _Life:
    rule: DrawnRule
    versions: range
    begin_ms: int
    end_ms: int  # when the next set is in force that has another meaning, else the end of the log


def chains(story: Story) -> dict[ChainName, Chain]:
    """Return all that the rules of a story have to tell."""
    times = _times(story)
    samples = list(_samples(story))
    found: dict[ChainName, Chain] = {}
    for name in sorted({rule.name for rules in story.sets for rule in rules}):
        lives = _lives(story, name, times)
        heard = [_by_key(life, samples) for life in lives]
        for key in sorted({key for each in heard for key in each}):
            found |= _Judge(name, key, times).judged(
                [(life, each.get(key, [])) for life, each in zip(lives, heard, strict=True)]
            )
    return {name: chain for name, chain in found.items() if chain.rows or not chain.is_whole}


def _times(story: Story) -> list[int]:
    """Return when each rule set is in force: when the last partition announces it, or a later one instead."""
    times: list[int] = []
    for version in range(1, len(story.sets) + 1):
        reached = [
            next(clock_ms for entry, clock_ms in zip(entries, source.clocks, strict=True) if entry.version >= version)
            for entries, source in zip(story.log, story.sources, strict=True)
        ]
        times.append(max(reached))
    return times


def _samples(story: Story) -> Iterator[_Sample]:
    for entries, source in zip(story.log, story.sources, strict=True):
        version = 0
        for entry, clock_ms in zip(entries, source.clocks, strict=True):
            version = max(version, entry.version)
            if entry.happened is not None and version:
                yield _Sample(entry.happened, clock_ms, version)


def _lives(story: Story, name: str, times: Sequence[int]) -> list[_Life]:
    """Return the lives of a rule name in order; the gaps between them are lives of no rule."""
    meant = [next((rule for rule in rules if rule.name == name), None) for rules in story.sets]
    lives: list[_Life] = []
    for version, rule in enumerate(meant, 1):
        if rule is None:
            continue
        last = lives[-1] if lives else None
        end_ms = times[version] if version < len(times) else END_MS
        if last is not None and last.rule == rule and last.versions.stop == version:
            lives[-1] = _Life(rule, range(last.versions.start, version + 1), last.begin_ms, end_ms)
        else:
            lives.append(_Life(rule, range(version, version + 1), times[version - 1], end_ms))
    return lives


def _by_key(life: _Life, samples: Sequence[_Sample]) -> dict[Key, list[_Sample]]:
    found: dict[Key, list[_Sample]] = {}
    for sample in samples:
        if sample.version in life.versions and hears(life.rule, sample.happened):
            found.setdefault(_key(life.rule, sample.happened), []).append(sample)
    return found


def _key(rule: DrawnRule, each: Happened) -> Key:
    if rule.kind == "prefect":
        return each.tenant, *judged_triggers.group(rule, each)
    values = {"flow": each.flow, "run": each.run}
    return each.tenant, *(values[name] for name in rule.for_each)


class _Judge:
    """Judges the lives of one name and key, one after the other."""

    def __init__(self, name: str, key: Key, times: Sequence[int]) -> None:
        self._name = name
        self._key = key
        self._times = times
        self._chain = Chain()
        self._momentary: dict[ChainName, Chain] = {}
        self._alert: JudgedAlert | None = None  # what the life before left open

    def judged(self, lives: Sequence[tuple[_Life, Sequence[_Sample]]]) -> dict[ChainName, Chain]:
        """Return the chain; of a rule whose firings do not last there is one for each event."""
        told: dict[str, set[int]] = {}  # of rules told at once, by what they mean
        for number, (life, samples) in enumerate(lives):
            if is_told_at_once(life.rule):
                self._tell_at_once(samples, told.setdefault(str(life.rule), set()))
                continue
            if life.rule.kind == "prefect":
                self._tell_firings(life, samples)
                continue
            self._live(life, samples)
            if life.versions.stop <= len(self._times):
                self._end(life, lives[number + 1][0] if number + 1 < len(lives) else None)
        return {(self._name, self._key): self._chain, **self._momentary}

    def _tell_at_once(self, samples: Sequence[_Sample], told: set[int]) -> None:
        for sample in samples:
            each = sample.happened
            if each.number not in told:
                told.add(each.number)
                key = (*self._key, each.event_id)
                chain = self._momentary.setdefault((self._name, key), Chain())
                change = ("inactive", "firing", 0, each.occurred_ms)
                reading = Told("", None, 1)
                chain.rows.append(self._row(key, change, at_ms=each.occurred_ms, version=sample.version, told=reading))

    def _tell_firings(self, life: _Life, samples: Sequence[_Sample]) -> None:
        """Tell what a Prefect trigger does, which counts in the order of the log and in panes only says how soon."""
        final = [sample for sample in samples if pane_end(sample.append_ms, PANE_MS) <= life.end_ms]
        arrived = sorted(((sample.append_ms, sample.happened) for sample in final), key=itemgetter(0))
        for fired in judged_triggers.firings(life.rule, arrived, life.end_ms):
            key = (*self._key, *fired.key, fired.event_id)
            chain = self._momentary.setdefault((self._name, key), Chain())
            change = ("inactive", "firing", 0, fired.at_ms)
            read_ms = fired.at_ms if fired.is_of_silence else pane_end(fired.at_ms, PANE_MS)
            version = self._version(life, read_ms)
            told = Told("", fired.events, fired.events)
            chain.rows.append(self._row(key, change, at_ms=fired.at_ms, version=version, told=told))

    def _live(self, life: _Life, samples: Sequence[_Sample]) -> None:
        """Judge every pane of a life that is final by its end."""
        heard = _admitted(life.rule, samples)
        inherited, pane = self._alert, pane_ms(life.rule)
        if inherited is None and not heard:
            return
        first_ms = first_read_ms(life.rule, heard) or NEVER_MS
        if inherited and (_is_deferred(life.rule) or first_ms <= life.begin_ms):
            self._chain.is_whole = False
        if not self._chain.is_whole:
            return
        moves = _Moves(life, first_ms, inherited)
        alert = self._alert = moves.alert
        first_ms = min(first_ms, pane_end(life.begin_ms, pane)) if inherited else first_ms
        begun_ms = life.begin_ms if life.versions.start > 1 else 0  # what ended by then was for the set before to tell
        ends = range(first_ms, life.end_ms - life.rule.lateness_ms + 1, pane)
        for end_ms, told in zip(ends, ORACLES[life.rule.kind](life.rule, heard, ends), strict=True):
            if end_ms <= begun_ms:
                continue
            change = alert.read(moves.verdict(told, end_ms), end_ms)
            if change is not None:
                late = _late_samples(life.rule, samples, end_ms)
                version = self._version(life, end_ms)
                row = self._row(self._key, change, at_ms=end_ms, version=version, told=told, late_samples=late)
                self._chain.rows.append(row)

    def _end(self, life: _Life, follower: _Life | None) -> None:
        """End what is open, unless the rule only changed: then what people were told of goes on."""
        alert = self._alert
        if alert is None or not self._chain.is_whole:
            return
        if alert.is_open and follower is not None and _carries_on(life, follower):
            return
        self._alert = None
        if alert.state != "inactive":
            change = alert.go("inactive" if alert.state == "pending" else "resolved", life.end_ms)
            row = self._row(self._key, change, at_ms=life.end_ms, version=life.versions.stop, told=Told(HELD))
            self._chain.rows.append(row)

    def _version(self, life: _Life, end_ms: int) -> int:
        """Return the rule set in force when a pane is final."""
        final_ms = end_ms + life.rule.lateness_ms
        return max(life.versions.start, sum(in_force_ms < final_ms for in_force_ms in self._times))

    def _row(
        self,
        key: Key,
        change: tuple[str, str, int, int],
        *,
        at_ms: int,
        version: int,
        told: Told,
        late_samples: int = 0,
    ) -> Row:
        from_state, to_state, seq, opened_at_ms = change
        incident = incident_id(key[0], self._name, key[1:], opened_at_ms)
        identity = transition_id(incident, seq, to_state)
        return Row(identity, incident, from_state, to_state, at_ms, version, told, late_samples)


class _Moves:
    """Which readings move the alert of a life. An inherited one waits until its new window has heard something.

    Until then only its own timer moves it, and that the new window is full: before that, empty is not yet no data.
    """

    def __init__(self, life: _Life, first_ms: int, inherited: JudgedAlert | None) -> None:
        rule = life.rule
        self.alert = JudgedAlert(rule.for_ms, rule.keep_firing_for_ms, rule.no_data)
        self._since_ms = self._full_ms = 0
        self._first_ms = first_ms
        self._has_moved = inherited is None
        if inherited is not None:
            self._since_ms = life.begin_ms
            self._full_ms = life.begin_ms + window_ms(rule) if window_ms(rule) else 0
            self.alert.state, self.alert.clear_since_ms = inherited.state, inherited.clear_since_ms
            self.alert.opened_at_ms, self.alert.seq = inherited.opened_at_ms, inherited.seq

    def verdict(self, told: Told, end_ms: int) -> str:
        """Return what a reading means to the alert."""
        if not self._has_moved:
            timer_ms = self.alert.timer_ms() if self.alert.state == "recovering" else None
            is_over = timer_ms is not None and max(timer_ms, self._since_ms + 1) <= end_ms
            is_full = 0 < self._full_ms <= end_ms
            if not (is_over or is_full or self._first_ms <= end_ms):
                return HELD
            self._has_moved = True
        return HELD if told.verdict == EMPTY and end_ms < self._full_ms else told.verdict


def _carries_on(life: _Life, follower: _Life) -> bool:
    """Tell whether the rule only changed, to one that has the same keys."""
    is_changed = follower.versions.start == life.versions.stop
    return is_changed and follower.rule.for_each == life.rule.for_each and not _is_momentary(follower.rule)


def _is_momentary(rule: DrawnRule) -> bool:
    return is_told_at_once(rule) or rule.kind == "prefect"


def _admitted(rule: DrawnRule, samples: Sequence[_Sample]) -> list[Happened]:
    """Return the events that enter windows, each once, in their order; an end that comes late is one more."""
    admitted: dict[tuple[int, int | None], Happened] = {}
    for sample in samples:
        each, late_by_ms = sample.happened, sample.append_ms - sample.happened.occurred_ms
        if -AHEAD_MAX_MS <= late_by_ms <= rule.lateness_ms:
            admitted[each.number, None] = each
        elif late_by_ms > 0 and hears_late(rule, each):
            admitted[each.number, sample.append_ms] = each._replace(told_ms=sample.append_ms)
    return sorted(admitted.values(), key=lambda each: (each.occurred_ms, each.number))


def _late_samples(rule: DrawnRule, samples: Sequence[_Sample], end_ms: int) -> int:
    """Return how many came too late in the window, by when they came."""
    from_ms = end_ms - (window_ms(rule) or LATE_SHOWN_MS)
    return sum(
        from_ms <= sample.append_ms < end_ms and sample.append_ms - sample.happened.occurred_ms > rule.lateness_ms
        for sample in samples
    )


def _is_deferred(rule: DrawnRule) -> bool:
    """Tell whether samples may wait for others, to be taken with them."""
    is_of_times = rule.kind == "change" and rule.fields["of"] == "duration"
    return rule.kind in DEFERRED or is_of_times or any(map(_is_deferred, conditions(rule)))


def difference(expected: Mapping[ChainName, Chain], found: Sequence[Transition]) -> str | None:
    """Return the first difference between what has to be told and what was, in words; None where there is none."""
    by_chain: dict[ChainName, list[Transition]] = {}
    for item in found:
        by_chain.setdefault((item.rule, (item.tenant, *item.key.values())), []).append(item)
    for name in sorted({*expected, *by_chain}):
        chain, told = expected.get(name, Chain()), by_chain.get(name, [])
        if not chain.is_whole:
            told = told[: len(chain.rows)]
        for row, item in zip(chain.rows, told, strict=False):
            if not _is_told(row, item):
                return f"{name}: expected {row}, told {item}"
        if len(chain.rows) > len(told):
            return f"{name}: missing {chain.rows[len(told)]}"
        if len(told) > len(chain.rows):
            return f"{name}: not expected {told[len(chain.rows)]}"
    return None


def _is_told(row: Row, item: Transition) -> bool:
    said = (item.transition_id, item.incident_id, item.from_state, item.to_state, item.at_ms, item.rules_version)
    if row[:6] != said or (row.told.samples, row.late_samples) != (item.samples, item.late_samples):
        return False
    if row.told.value is None or item.value is None:
        return row.told.value is item.value
    most = row.told.value * (1 + (ROUNDED if row.told.is_rounded else 0))
    return row.told.value - 1e-9 <= item.value <= most + 1e-9
