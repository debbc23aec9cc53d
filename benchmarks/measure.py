"""What a benchmark says: one JSON object a line. CPU is user + system time of the processes that do the work."""

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

T = TypeVar("T")


class LeftOut(Exception):  # nothing failed
    """This machine cannot run a path: why, and what to do about it."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One printed result. `steps` names parts of the work with their µs CPU per event; `notes` what else to know."""

    name: str
    events: int
    cpu_seconds: float
    per_cpu_second: int
    us_per_event: float
    steps: dict[str, float]
    notes: dict[str, float] = {}

    def noting(self, **notes: float) -> "Line":
        """Return the line with `notes` added, rounded."""
        return msgspec.structs.replace(self, notes=self.notes | {name: round(note, 4) for name, note in notes.items()})


@dataclass(slots=True)
class Steps:
    """CPU seconds by step. `seconds` reads the clock: this process's, all threads of it, unless told otherwise."""

    seconds: Callable[[], float] = time.process_time
    spent: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Count what is done inside to `name`."""
        began = self.seconds()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + self.seconds() - began

    def line(self, name: str, events: int, *, cpu_seconds: float | None = None) -> Line:
        """Return the result: the sum of the steps unless the whole was measured apart."""
        return line_of(name, events, sum(self.spent.values()) if cpu_seconds is None else cpu_seconds, self.spent)


def line_of(name: str, events: int, cpu_seconds: float, steps: dict[str, float] | None = None) -> Line:
    """Return a result line; `steps` are CPU seconds."""
    cpu_seconds = max(cpu_seconds, 1e-6)
    return Line(
        name,
        events,
        round(cpu_seconds, 3),
        round(events / cpu_seconds),
        round(cpu_seconds / events * 1e6, 3),
        {step: round(seconds / events * 1e6, 3) for step, seconds in (steps or {}).items()},
    )


def best_of(passes: int, work: Callable[[], T]) -> tuple[float, T]:
    """Return the least CPU seconds of some passes, and what the last one returned: neighbours only ever add.

    What stood in memory before is left out of garbage collection: a part in service has one batch there, not all.
    """
    found: list[float] = []
    gc.collect()
    gc.freeze()
    while True:
        began = time.process_time()
        result = work()
        found.append(time.process_time() - began)
        if len(found) == passes:
            return min(found), result
