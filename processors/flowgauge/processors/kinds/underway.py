"""What kinds have in common that look at how long runs take: what begins a run, what ends it, which are underway.

    running ──────────────────────────────► completed, failed, crashed, cancelled        took: from the first `running`
       └── running (an attempt more): goes on        └── running: it begins anew

A run whose start nobody told is not underway, and its end says nothing. Of equal times the end comes last.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

from pydantic import AfterValidator

from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.ends_of_runs import FINISHED
from flowgauge.processors.kinds.kind import Contradiction
from flowgauge.processors.selector import text_test
from flowgauge.schemas.event import TERMINAL_STATES, Event, State
from flowgauge.schemas.rule import DURATION_MAX_MS, Rule
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import ExampleRun

RUNS_MAX = 20_000  # runs of one key that are underway; past it new ones are not watched: counted
GIVEN_UP_MS = DURATION_MAX_MS  # how long an end is waited for beyond a limit: it may never be told

AGAIN_MAX = 16  # times that a run was told to run since its start: one may begin it anew; past it the oldest go

STARTED = "started"
ENDED = "ended"  # it is over and does not count as finished

_BEGINS = "running"


def _can_finish(finished: tuple[State, ...]) -> tuple[State, ...]:
    if _BEGINS in finished:
        raise ValueError(f"`{_BEGINS}` begins a run and cannot finish it: remove it")
    return finished


FinishedStates = Annotated[tuple[State, ...], AfterValidator(_can_finish)]


def told_of(event: Event, finished: Iterable[str]) -> str | None:
    """Return what an event says of how long its run takes; FINISHED for an end in one of the states `finished`."""
    if not event.run or event.state is None:
        return None
    if event.state == _BEGINS:
        return STARTED
    if event.state in finished:
        return FINISHED
    return ENDED if event.state in TERMINAL_STATES else None


def states_told_of(finished: Iterable[str]) -> frozenset[str | None]:
    """Return the states of which `told_of` tells something."""
    return frozenset({_BEGINS, *TERMINAL_STATES, *finished})


def place(sample: Sample) -> tuple[int, bool]:
    """Return what samples are ordered by: their time, and of equal ones the start first."""
    return sample.occurred_us, sample.outcome != STARTED


def unpaired(rule: Rule) -> Iterator[Contradiction]:
    """Yield what keeps `rule` from seeing the start of each run with its end."""
    if "state" in rule.match:
        message = "starts and ends of runs must both be seen"
        yield ("match", "state"), message, "remove `state`"
    if "task" not in rule.for_each and "kind" in rule.match and text_test(rule.match["kind"])("task-run"):
        message = "the tasks of a run would be taken for the run itself"
        yield ("match", "kind"), message, "group by task, or match flow-run"


class Underway:
    """Runs of one key that have started and not ended, in the order of their starts."""

    __slots__ = ("_refused", "_runs")

    def __init__(self, runs: Iterable[ExampleRun] = ()) -> None:
        self._runs = OrderedDict((run.run, run) for run in runs)
        self._refused = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._runs)

    def __contains__(self, run: str) -> bool:
        """Tell whether `run` is one of them."""
        return run in self._runs

    def begin(self, run: ExampleRun) -> None:
        """Add a run that starts: the newest, or one that begins where an end was told late."""
        newest = next(reversed(self._runs.values()), run)
        self._runs[run.run] = run
        if newest.occurred_us > run.occurred_us:
            later = [each.run for each in self._runs.values() if each.occurred_us > run.occurred_us]
            for each in later:
                self._runs.move_to_end(each)

    def begin_of(self, sample: Sample, room: int = RUNS_MAX) -> None:
        """Add the run that starts unless it is underway; where there are `room` runs already it is refused."""
        if sample.run in self._runs:
            return
        if len(self._runs) >= room:
            self._refused += 1
        else:
            self._runs[sample.run] = example_of(sample)

    def finished(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, int]]:
        """Begin and end the runs of a pane; yield the end of each that finishes, and how many µs it took."""
        for sample in sorted(samples, key=place):
            if sample.outcome == STARTED:
                self.begin_of(sample)
                continue
            start = self.end(sample.run)
            if start is not None and sample.outcome == FINISHED:
                yield sample, sample.occurred_us - start.occurred_us

    def take_refused(self) -> int:
        """Return how many runs there was no room for since this was asked last."""
        refused, self._refused = self._refused, 0
        return refused

    def end(self, run: str) -> ExampleRun | None:
        """Remove a run that ends; return its start, None where that is not known."""
        return self._runs.pop(run, None)

    def oldest(self) -> ExampleRun | None:
        """Return the start of the run that has run longest."""
        return next(iter(self._runs.values()), None)

    def first(self, count: int) -> list[ExampleRun]:
        """Return up to `count` starts, the oldest first."""
        return list(islice(self._runs.values(), count))

    def leave(self, before_us: int) -> list[ExampleRun]:
        """Remove the runs that started before `before_us` and return their starts."""
        left: list[ExampleRun] = []
        while (run := self.oldest()) is not None and run.occurred_us < before_us:
            left.append(run)
            del self._runs[run.run]
        return left

    def dump(self) -> list[ExampleRun]:
        """Return the starts in their order."""
        return list(self._runs.values())
