"""`late`: fires when at least N runs have not started `after` their scheduled time, within a window.

    scheduled_for      deadline = scheduled_for + after
         │────────────────│
         ├── running ──┤                 in time: the slot is closed
         ├─────────────────── running    late: counted once, at the deadline
    sighted ──────────────────►          late, and still not started

Rule: a slot is late if no start is seen with occurred <= deadline; breach if the window holds >= `at_least` late
slots, by their deadlines. A slot is (flow, scheduled_for) and is judged once. Where the orchestrator emits no
scheduled time (Prefect), its own `late` state is the sighting: the slot is the run and the deadline lies
max(0, after - 15 s) after the sighting, because Prefect waits 15 s before it calls a run late. A slot first
seen after its deadline is judged where it is first seen. A judged slot is remembered until its run has been over
for one window, so neither a start hours late nor the retry of a long run is judged a second time.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, cast

import msgspec
from pydantic import Field

from flowgauge.processors.kinds.counted_panes import CountedPanes, example_of
from flowgauge.processors.kinds.kind import Contradiction, Examples, FiredNumbers, Kind, Unit, Window, while_counted
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.event import Event
from flowgauge.schemas.rule import IN_DIGITS, DurationMs, WindowMs
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import ExampleRun

SIGHTED_LATE_AFTER_MS = 15_000  # Prefect's late_runs.after_seconds: what its `late` state has already waited
SLOTS_MAX = 20_000  # slots of one key; past it those only remembered go, then new ones are not watched: counted
STALE_MIN = 1_000  # entries of slots that changed since: up to as many as there are slots, and these, stay in a heap
REMEMBERED_MAX_MS = 24 * 3_600_000  # how long a judged slot waits for the end of its run, which may never be told

SCHEDULED = "scheduled"
LATE = "late"
STARTED = "started"
WENT_ON = "went on"  # it had started before, or will not: tells of no start, so past the deadline it opens no slot
ENDED = "ended"  # the same, and no more is to come
_NO_START = {WENT_ON, ENDED}
_CLOSING = {STARTED, WENT_ON, ENDED}
# Of one time these are in this order: clocks are coarse, and ids say nothing of what came first.
_STEPS = {SCHEDULED: 0, LATE: 0, STARTED: 1, WENT_ON: 1, ENDED: 2}

_OUTCOMES: dict[str, str] = {
    "scheduled": SCHEDULED,
    "pending": SCHEDULED,
    "late": LATE,
    "running": STARTED,
    "retrying": WENT_ON,
    "paused": WENT_ON,
    "cancelling": WENT_ON,
    "completed": ENDED,
    "failed": ENDED,
    "crashed": ENDED,  # even if we never saw it run: a failure rule's matter, not lateness
    "cancelled": ENDED,
}


class Late(Kind):
    """The fields of `late`."""

    name: ClassVar[str] = "late"
    unit: ClassVar[Unit | None] = "count"
    examples_as: ClassVar[Examples] = Examples(
        "Late runs", "the first that counted, and whether they have started since", "starts"
    )
    default_event_kinds: ClassVar[tuple[str, ...] | None] = ("flow-run",)
    happens_to_runs: ClassVar[str] = "starts"

    after: Annotated[DurationMs, Field(description="How long after its scheduled time a run must be running.")]
    at_least: Annotated[int, Field(ge=1, description="How many late runs."), IN_DIGITS] = 1
    within: Annotated[WindowMs, Field(description="In which window.")] = 15 * 60_000

    @classmethod
    def stays_open(cls, fired: FiredNumbers) -> str:
        """Say what clears it."""
        return while_counted("late run", fired)

    @property
    def window_ms(self) -> int:
        """The length of `within`."""
        return self.within

    @property
    def look_back_ms(self) -> int:
        """To where a slot may have been judged that is still remembered: what tells of it again does not count.

        It is remembered one `within` past the end of its run, which itself is waited for.
        """
        return self.after + max(REMEMBERED_MAX_MS, self.within) + 2 * self.within

    @property
    def states(self) -> frozenset[str | None] | None:
        """Every state says something about a slot."""
        return frozenset(_OUTCOMES)

    def needed_at_once(self, states: frozenset[str]) -> tuple[str, int]:  # noqa: ARG002  # it looks at starts by itself
        """Need as many late starts."""
        return "at_least", self.at_least

    def out_of_reach(self) -> Iterator[Contradiction]:
        """Find more slots asked for than are kept."""
        if self.at_least > SLOTS_MAX:
            message = f"a key holds at most {SLOTS_MAX:,} slots: it can never fire"
            yield ("when", self.name, "at_least"), message, "write fewer"

    def outcome(self, event: Event) -> str | None:
        """Return what the state says about the run's slot."""
        if event.state is None:
            return None
        outcome = _OUTCOMES[event.state]
        if outcome == SCHEDULED and event.scheduled_for is None:
            return None
        return outcome if event.run or event.scheduled_for else None

    def needed_by(self, sample: Sample, end_ms: int) -> int:
        """Return when the slot is due that a sample may open; what only closes one changes no count by itself."""
        outcome, scheduled_ms = sample.outcome, sample.scheduled_ms
        deferred_end_ms = end_ms + self.deferred_ms
        if outcome in _NO_START or (scheduled_ms is None and outcome == STARTED):
            return deferred_end_ms
        deadline_ms = self.deadline_ms(sample) if scheduled_ms is None else scheduled_ms + self.after
        if sample.occurred_us > deadline_ms * 1000:
            return end_ms
        if outcome == STARTED:
            return deferred_end_ms
        due_ms = pane_end(deadline_ms, self.pane_ms)
        return min(deferred_end_ms, due_ms)

    def deadline_ms(self, sample: Sample) -> int:
        """Return by when the run that `sample` tells of has to start."""
        if sample.scheduled_ms is None:
            return sample.occurred_us // 1000 + max(0, self.after - SIGHTED_LATE_AFTER_MS)
        return sample.scheduled_ms + self.after

    def new_window(self) -> Window:
        """Return an empty window."""
        return LateWindow(self, {}, CountedPanes(self.within))

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        slots, panes = cast("tuple[list[Any], list[Any]]", dumped)
        found = msgspec.convert(slots, list[_Slot])
        return LateWindow(self, {slot.name: slot for slot in found}, CountedPanes(self.within, panes))


class _Slot(msgspec.Struct, array_like=True, gc=False):
    """One expected start. `judged` once its deadline has passed, or it started or closed in time.

    `decided_ms` is the deadline, or where it was first seen after it. A judged slot has no `example` any more: most
    slots of a window are judged, and each is stored whenever its key is.
    """

    name: str
    run: str
    deadline_ms: int
    decided_ms: int
    due_ms: int  # the pane end at which it is judged, or once it is, forgotten
    example: ExampleRun | None
    judged: bool = False
    started: bool = False
    ended_ms: int | None = None


def _place(sample: Sample) -> tuple[int, int]:
    return sample.occurred_us, _STEPS[sample.outcome]


class LateWindow:
    """The slots of one key and the late ones of the last `within`.

    `_open` and `_judged` are heaps of (pane end, slot name): when an open slot is judged, and when a judged one is
    forgotten; one whose due has changed since stands there again. Time passes pane end by pane end, however rarely it
    is read.
    """

    __slots__ = ("_by_run", "_judged", "_late", "_open", "_refused", "_room_ms", "_rule", "_slots")

    def __init__(self, rule: Late, slots: dict[str, _Slot], late: CountedPanes) -> None:
        self._rule = rule
        self._slots = slots
        self._by_run: dict[str, list[_Slot]] = {}  # a run that is scheduled again has another slot, the last counts
        for slot in slots.values():
            if slot.run:
                self._by_run.setdefault(slot.run, []).append(slot)
        self._open = self._heap(judged=False)
        self._judged = self._heap(judged=True)
        self._room_ms = 0  # before this pane end no slot has left the window: to look for one is in vain
        self._late = late
        self._refused = 0

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Take a final pane: open and close slots in event order, then judge those that are due."""
        self._pass_time(end_ms - self._rule.pane_ms)
        slots, by_run = self._slots, self._by_run
        for sample in sorted(samples, key=_place):
            if sample.scheduled_ms is not None:
                name = f"{sample.flow}@{sample.scheduled_ms}"
                slot = slots.get(name)
            else:
                name = sample.run
                slot = by_run[name][-1] if name in by_run else None
            if slot is None:
                slot = self._new_slot(name, sample, end_ms)
            if slot is not None and sample.outcome in _CLOSING:
                self._close(slot, sample)
        self._pass_time(end_ms)

    def _close(self, slot: _Slot, sample: Sample) -> None:
        ended_ms = sample.occurred_us // 1000 if sample.outcome == ENDED else None  # it may be run again
        if slot.judged:
            if ended_ms != slot.ended_ms:
                slot.ended_ms = ended_ms
                self._remember(slot)
            return
        slot.ended_ms = ended_ms
        if not slot.started:
            slot.started = True
            if sample.occurred_us <= slot.deadline_ms * 1000:
                slot.judged, slot.example = True, None
                self._remember(slot)

    def _new_slot(self, name: str, sample: Sample, end_ms: int) -> _Slot | None:
        """Open the slot of a run that is heard of for the first time, if the sample tells of a start to come."""
        if sample.scheduled_ms is None and sample.outcome != LATE:
            return None
        if sample.outcome in _NO_START and sample.occurred_us > self._rule.deadline_ms(sample) * 1000:
            return None  # its slot was judged long ago: what goes on or ends is no late start
        if len(self._slots) >= SLOTS_MAX and not self._make_room(end_ms):
            self._refused += 1
            return None
        deadline_ms = self._rule.deadline_ms(sample)
        decided_ms = max(deadline_ms, sample.occurred_us // 1000)
        due_ms = pane_end(decided_ms, self._rule.pane_ms)
        slot = _Slot(name, sample.run, deadline_ms, decided_ms, due_ms, example_of(sample))
        self._slots[name] = slot
        if sample.run:
            self._by_run.setdefault(sample.run, []).append(slot)
        self._room_ms = min(self._room_ms, due_ms + self._rule.within)
        heapq.heappush(self._open, (due_ms, name))
        return slot

    def _pass_time(self, end_ms: int) -> None:
        opened = self._open
        while opened and opened[0][0] <= end_ms:
            due_ms, name = heapq.heappop(opened)
            slot = self._slots[name]
            if not slot.judged:
                slot.judged = True
                self._late.add(due_ms, 1, counted=1, examples=[slot.example] if slot.example else [])
                slot.example = None
                self._remember(slot)
        judged = self._judged  # to remember one may have made it anew
        while judged and judged[0][0] <= end_ms:
            due_ms, name = heapq.heappop(judged)
            remembered = self._slots.get(name)
            if remembered is not None and remembered.due_ms == due_ms:
                self._forget(remembered)

    def _remember(self, slot: _Slot) -> None:
        """Keep a judged slot one window past its run's end, while that is not told for as long as is remembered."""
        pane_ms, ended_ms = self._rule.pane_ms, slot.ended_ms
        if ended_ms is None:
            due_ms = pane_end(slot.decided_ms + max(REMEMBERED_MAX_MS, self._rule.within), pane_ms)
        else:
            due_ms = pane_end(max(slot.decided_ms, ended_ms), pane_ms) + self._rule.within
        if due_ms != slot.due_ms:
            slot.due_ms = due_ms
            heapq.heappush(self._judged, (due_ms, slot.name))
            if len(self._judged) > 2 * len(self._slots) + STALE_MIN:
                self._judged = self._heap(judged=True)

    def _make_room(self, end_ms: int) -> bool:
        """Forget judged slots that have left the window, all at once: rare, and it costs a look at each slot."""
        if end_ms < self._room_ms:
            return False
        gone: list[_Slot] = []
        self._room_ms = end_ms + self._rule.within
        for slot in self._slots.values():
            leaves_ms = pane_end(slot.decided_ms, self._rule.pane_ms) + self._rule.within
            if slot.judged and leaves_ms <= end_ms:
                gone.append(slot)
            else:
                self._room_ms = min(self._room_ms, max(leaves_ms, end_ms + 1))
        for slot in gone:
            self._forget(slot)
        self._refused += len(gone)
        return bool(gone)

    def _heap(self, *, judged: bool) -> list[tuple[int, str]]:
        found = [(slot.due_ms, slot.name) for slot in self._slots.values() if slot.judged == judged]
        heapq.heapify(found)
        return found

    def _forget(self, slot: _Slot) -> None:
        del self._slots[slot.name]
        same_run = self._by_run.get(slot.run, [])
        if slot in same_run:
            same_run.remove(slot)
            if not same_run:
                del self._by_run[slot.run]

    def read(self, end_ms: int) -> Reading:
        """Return how many slots of the window are late. None is a count of 0, not missing data."""
        self._pass_time(end_ms)
        self._late.expire(end_ms)
        count = self._late.total
        breached = count >= self._rule.at_least
        return Reading(
            Verdict.BREACH if breached else Verdict.CLEAR,
            "runs have not started in time" if breached else "fewer late runs than the threshold",
            float(count),
            threshold=float(self._rule.at_least),
            samples=count,
        )

    def examples(self) -> Sequence[ExampleRun]:
        """Return late runs."""
        return self._late.examples()

    def next_change_ms(self) -> int | None:
        """Return when the next slot is due or the oldest late one leaves; else when some may be forgotten at once."""
        while self._open and self._slots[self._open[0][1]].judged:  # it started in time
            heapq.heappop(self._open)
        due_ms = self._open[0][0] if self._open else None
        expiry_ms = self._late.next_expiry_ms()
        if due_ms is not None and expiry_ms is not None:
            return min(due_ms, expiry_ms)
        if due_ms is None and expiry_ms is None and self._slots:
            return self._next_forgotten_ms() + self._rule.within
        return due_ms if expiry_ms is None else expiry_ms

    def _next_forgotten_ms(self) -> int:
        while (slot := self._slots.get(self._judged[0][1])) is None or slot.due_ms != self._judged[0][0]:
            heapq.heappop(self._judged)  # it was heard of again, or forgotten
        return self._judged[0][0]

    def is_lasting(self) -> bool:
        """Last no longer than there are slots, each of which is forgotten at its time."""
        return False

    def take_refused(self) -> int:
        """Return how many slots were not watched, or forgotten early, for want of room since this was asked last."""
        refused, self._refused = self._refused, 0
        return refused

    def dump(self) -> Any:
        """Return slots and panes."""
        return [list(self._slots.values()), self._late.dump()]
