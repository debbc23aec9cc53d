"""What the detector holds for one (rule, key): its window, its alert, samples that wait for their pane."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from flowgauge.processors.alert_state import Alert, Change, next_timer_ms, step
from flowgauge.processors.kinds import Window
from flowgauge.processors.panes import pane_end, pane_end_at_or_after
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.sample import Sample

LATE_SHOWN_MS = 3_600_000  # how far back a rule without a window tells of late samples

Key = tuple[str, ...]
# (occurred µs, event id, source, offset: the order of application; pane end by which it is needed; the sample).
# In the order of the log: the append time in µs, and no event id.
Waiting = tuple[int, str, int, int, int, Sample]


class KeyRecord(msgspec.Struct, array_like=True, gc=False):
    """A key's state as stored."""

    uid: str
    key: Key
    window: Any
    alert: Alert
    late: list[tuple[int, int]]
    evaluated_ms: int
    since_ms: int = 0
    full_ms: int | None = None


@dataclass(slots=True, eq=False)
class KeyState:
    """One (rule, key). `needed_ms` is the pane end by which some sample that waits must be in the window, if any.

    `wake_ms` is the pane end at which it is evaluated next, if any.
    """

    rule: CompiledRule
    key: Key
    window: Window
    alert: Alert = field(default_factory=Alert)
    waiting: list[Waiting] = field(default_factory=list[Waiting])
    needed_ms: int | None = None
    late: dict[int, int] = field(default_factory=dict[int, int])  # pane end of the append time → how many
    evaluated_ms: int = 0
    since_ms: int = 0  # when its rule came into force: panes that end by then fill the window and move nothing
    full_ms: int | None = None  # when the new window of a changed rule is full, and what is empty in it is no data
    wake_ms: int | None = None
    stored_name: str = ""  # under which it is stored, once it has been

    def inherit(self, alert: Alert, at_ms: int) -> None:
        """Carry on `alert` of the rule that this one replaces from `at_ms`."""
        self.alert = alert
        self.since_ms = at_ms
        self.full_ms = at_ms + self.rule.window_ms if self.rule.window_ms else None

    def wait(self, sample: Sample, source: int) -> int:
        """Keep `sample` until its pane is final; return the pane end by which it must be evaluated."""
        occurred_us, rule = sample.occurred_us, self.rule
        if rule.by_arrival:
            return self._wait_in_order(sample, source)
        pane_ms = rule.pane_ms
        needed_ms = rule.kind.needed_by(sample, (occurred_us // 1000 // pane_ms + 1) * pane_ms)
        self.waiting.append((occurred_us, sample.event_id, source, sample.offset, needed_ms, sample))
        if self.needed_ms is None or needed_ms < self.needed_ms:
            self.needed_ms = needed_ms
        return needed_ms

    def _wait_in_order(self, sample: Sample, source: int) -> int:
        """Keep `sample` in the pane in which the log got it, in the order of the log: nothing else of it counts."""
        return self._wait_from_append(sample, source, "", pane_end(sample.append_ms, self.rule.pane_ms))

    def wait_late(self, sample: Sample, source: int) -> int:
        """Keep a sample that came too late until the pane of its append time is final; return that pane's end."""
        end_ms = pane_end(sample.append_ms, self.rule.pane_ms)
        return self._wait_from_append(sample, source, sample.event_id, self.rule.kind.needed_by(sample, end_ms))

    def _wait_from_append(self, sample: Sample, source: int, event_id: str, needed_ms: int) -> int:
        self.waiting.append((sample.append_ms * 1000, event_id, source, sample.offset, needed_ms, sample))
        if self.needed_ms is None or needed_ms < self.needed_ms:
            self.needed_ms = needed_ms
        return needed_ms

    def count_late(self, append_ms: int) -> int:
        """Count a late sample on the pane that holds its append time; return that pane's end."""
        end_ms = pane_end(append_ms, self.rule.pane_ms)
        self.late[end_ms] = self.late.get(end_ms, 0) + 1
        return end_ms

    def late_samples(self, end_ms: int) -> int:
        """Return how many late samples the window `[end_ms - within, end_ms)` saw arrive; forget older ones.

        Where the rule has no window, those of the last LATE_SHOWN_MS.
        """
        from_ms = end_ms - (self.rule.window_ms or LATE_SHOWN_MS)
        self.late = {end: count for end, count in self.late.items() if end > from_ms}
        return sum(count for end, count in self.late.items() if end <= end_ms)

    def evaluate(self, end_ms: int) -> tuple[Reading, Change | None] | None:
        """Apply the final panes up to `end_ms`, read the window and move the alert.

        None where nothing is due at `end_ms`, when only late counts were to be forgotten, and where it lies before the
        time of the alert. What is due follows from samples that wait here alone: a late one causes an evaluation only
        where the kind hears it.
        """
        if not self._is_due(end_ms):
            return None
        if self.waiting:
            self._add_final(end_ms)
        reading = self.window.read(end_ms)
        self.evaluated_ms = end_ms
        if end_ms <= self.since_ms:
            return None
        verdict = reading.verdict
        if self.full_ms is not None:
            if self.full_ms <= end_ms:
                self.full_ms = None
            elif verdict is Verdict.EMPTY:
                verdict = Verdict.HELD
        return reading, step(self.alert, verdict, end_ms, self.rule.policy)

    def _add_final(self, end_ms: int) -> None:
        """Add the panes up to `end_ms` to the window, in their order."""
        waiting = self.waiting
        waiting.sort()
        final = bisect_left(waiting, (end_ms * 1000,))
        self.waiting = waiting[final:]
        self.needed_ms = min([place[4] for place in self.waiting]) if self.waiting else None
        are_distinct = len({place[1] for place in waiting[:final]}) == final  # never in the order of the log
        start = 0
        while start < final:
            pane_ms = pane_end(waiting[start][0] // 1000, self.rule.pane_ms)
            stop, pane_us = start + 1, pane_ms * 1000
            while stop < final and waiting[stop][0] < pane_us:
                stop += 1
            samples = [place[5] for place in waiting[start:stop]]
            self.window.add(pane_ms, samples if are_distinct else _distinct(samples))
            start = stop

    def _is_due(self, end_ms: int) -> bool:
        if self.needed_ms is not None and self.needed_ms <= end_ms:
            return True
        moment_ms = self._next_moment_ms()
        return moment_ms is not None and moment_ms <= end_ms

    def next_end_ms(self) -> int | None:
        """Return the next pane end at which something can change without new samples."""
        moment_ms = self._next_moment_ms()
        next_ms = None if moment_ms is None else pane_end_at_or_after(moment_ms, self.rule.pane_ms)
        if self.needed_ms is not None:
            return self.needed_ms if next_ms is None or self.needed_ms < next_ms else next_ms
        if next_ms is None and self.late:
            return max(self.late) + (self.rule.window_ms or LATE_SHOWN_MS)  # then there is nothing left to show
        return next_ms

    def _next_moment_ms(self) -> int | None:
        """Return when the window next changes by itself or a timer of the alert runs out."""
        next_ms: int | None = None
        timer_ms = next_timer_ms(self.alert, self.rule.policy)
        if timer_ms is not None and timer_ms <= self.since_ms:
            timer_ms = self.since_ms + 1
        # What filled a new rule's window is read once the rule is in force; an alert that was inherited waits for more.
        is_unread = 0 < self.evaluated_ms <= self.since_ms and self.alert.state == "inactive"
        first_ms = self.since_ms + 1 if is_unread else None
        for moment_ms in (self.window.next_change_ms(), timer_ms, self.full_ms, first_ms):
            if moment_ms is None or moment_ms <= self.evaluated_ms:
                continue
            if next_ms is None or moment_ms < next_ms:
                next_ms = moment_ms
        return next_ms

    @property
    def is_blank(self) -> bool:
        """Nothing is open, nothing is held: a new key would behave the same."""
        return self.alert.state == "inactive" and self.next_end_ms() is None and not self.window.is_lasting()

    def record(self) -> KeyRecord:
        """Return what is stored. Samples are stored apart, with the step that brought them."""
        return KeyRecord(
            self.rule.uid,
            self.key,
            self.window.dump(),
            self.alert,
            list(self.late.items()),
            self.evaluated_ms,
            self.since_ms,
            self.full_ms,
        )


def restored(record: KeyRecord, rule: CompiledRule) -> KeyState:
    """Return the key state that `record` holds."""
    return KeyState(
        rule,
        record.key,
        rule.kind.load_window(record.window),
        record.alert,
        late=dict(record.late),
        evaluated_ms=record.evaluated_ms,
        since_ms=record.since_ms,
        full_ms=record.full_ms,
    )


def _distinct(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples of a pane, in their order; of equal ids the first counts."""
    found: dict[str, Sample] = {}
    for sample in samples:
        found.setdefault(sample.event_id, sample)
    return list(found.values())
