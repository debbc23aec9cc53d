"""The panes of a counting window: per pane how many there were, how many of them count, and a few examples."""

from collections.abc import Sequence
from typing import Any

from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun


def example_of(sample: Sample) -> ExampleRun:
    """Return the run behind a sample."""
    return ExampleRun(sample.occurred_us, sample.event_id, sample.run, sample.flow)


class CountedPanes:
    """A queue of `[end, total, counted, examples]`, oldest first, with running sums."""

    __slots__ = ("_panes", "_window_ms", "counted", "total")

    def __init__(self, window_ms: int, dumped: Sequence[Any] = ()) -> None:
        self._window_ms = window_ms
        # A list, not a deque: there are at most 121 panes, and even an empty deque takes hundreds of bytes of each key.
        self._panes: list[tuple[int, int, int, list[ExampleRun]]] = []
        self.total = 0
        self.counted = 0
        for end_ms, total, counted, examples in dumped:
            self.add(end_ms, total, counted=counted, examples=[ExampleRun(*example) for example in examples])

    def add(self, end_ms: int, total: int, *, counted: int, examples: list[ExampleRun]) -> None:
        """Add to the pane that ends at `end_ms`, the newest; `examples` are in order of time and id."""
        if not total:
            return
        self.total += total
        self.counted += counted
        if self._panes and self._panes[-1][0] == end_ms:
            _, old_total, old_counted, old_examples = self._panes.pop()
            total, counted, examples = total + old_total, counted + old_counted, _smallest(old_examples + examples)
        self._panes.append((end_ms, total, counted, examples[:EXAMPLES_MAX]))

    def expire(self, end_ms: int) -> None:
        """Forget panes that lie before `[end_ms - window, end_ms)`."""
        while self._panes and self._panes[0][0] <= end_ms - self._window_ms:
            _, total, counted, _ = self._panes.pop(0)
            self.total -= total
            self.counted -= counted

    def next_expiry_ms(self) -> int | None:
        """Return the pane end at which the oldest pane has left the window."""
        return self._panes[0][0] + self._window_ms if self._panes else None

    def examples(self) -> list[ExampleRun]:
        """Return the smallest examples by time and id."""
        return _smallest([example for _, _, _, examples in self._panes for example in examples])

    def dump(self) -> list[Any]:
        """Return the panes in types that msgpack has."""
        return [list(pane) for pane in self._panes]


class CountedWindow:
    """What windows have in common that remember counted panes and nothing else."""

    __slots__ = ("_panes",)

    def __init__(self, panes: CountedPanes) -> None:
        self._panes = panes

    def examples(self) -> Sequence[ExampleRun]:
        """Return the runs that count."""
        return self._panes.examples()

    def next_change_ms(self) -> int | None:
        """Return when the oldest pane leaves."""
        return self._panes.next_expiry_ms()

    def is_lasting(self) -> bool:
        """Last no longer than the panes."""
        return False

    def take_refused(self) -> int:
        """Refuse none: panes are bounded by themselves."""
        return 0

    def dump(self) -> Any:
        """Return the panes."""
        return self._panes.dump()


def _smallest(examples: list[ExampleRun]) -> list[ExampleRun]:
    return sorted(examples, key=lambda run: (run.occurred_us, run.event_id))[:EXAMPLES_MAX]
