"""Past events, as often as somebody must read them: the one place from which replay, backtest and explain read history.

A line that cannot be read is told and passed over, and then the exit code is 1: the answer lacks what it said. A file
in which no line can be read has no answer at all.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowgauge.console.history import is_capture
from flowgauge.processors.evaluation import Evaluation
from flowgauge.processors.replay import Replay, ReplayCounts
from flowgauge.processors.ruleset import RuleSet
from flowgauge.producers.event_file import read_lines, refuse_pipe
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadInput

UNREADABLE_SHOWN_MAX = 10  # enough to see what is wrong with a file; the rest is counted


@dataclass(frozen=True, slots=True)
class Span:
    """Of which time is told: what was firing from `since_ms` on, as it stands at `until_ms`; None: of all there is."""

    since_ms: int | None = None
    until_ms: int | None = None


class PastEvents:
    """The event lines of `file`. Raises BadInput for a pipe, and for a capture of a Prefect server with the remedy.

    `may_be_empty`: none of them is an answer too, as it is of what was asked of ClickHouse.
    """

    def __init__(self, file: Path, *, may_be_empty: bool = False) -> None:
        refuse_pipe(file)
        _refuse_capture(file)
        self._file = file
        self._may_be_empty = may_be_empty
        self._unreadable = _Unreadable()

    def lines(self) -> Iterator[bytes]:
        """Yield each line as it stands there."""
        return read_lines(self._file)

    def replay(
        self,
        ruleset: RuleSet,
        *,
        until_ms: int | None = None,
        observe: Callable[[Evaluation], None] | None = None,
    ) -> Replay:
        """Return a replay of them, whose evaluations `observe` is shown; `complaints` are of the last one."""
        self._unreadable = _Unreadable()
        return Replay(self.lines, ruleset, until_ms=until_ms, report=self._unreadable.note, observe=observe)

    def refuse_nothing(self, counts: ReplayCounts) -> None:
        """Raise BadInput where a replay that is over, with these counts, found no event."""
        if self._may_be_empty:
            return
        if not counts.lines:
            raise BadInput(f"{self._file}: no lines in it")
        if self._unreadable.count == counts.lines:
            line, problem = self._unreadable.first[0]
            raise BadInput(f"{self._file}: {counted(counts.lines, 'line')} and no event; line {line}: {problem}")

    def complaints(self) -> Sequence[str]:
        """Return what to tell of lines that could not be read; nothing where all could."""
        return self._unreadable.lines(self._file)


def said_of(counts: ReplayCounts) -> str:
    """Return what a replay counted, for people."""
    why = f" (the first: {counts.why_invalid})" if counts.invalid else ""
    return (
        f"{counted(counts.lines, 'line')}, {counts.skipped} skipped, {counted(counts.invalid, 'invalid event')}{why}, "
        f"{counted(counts.samples, 'sample')}, {counts.late} late, {counts.skewed} skewed, "
        f"{counted(counts.transitions, 'transition')}"
    )


@dataclass(slots=True)
class _Unreadable:
    """The lines that could not be read: the first ones, and how many."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def note(self, line: int, problem: str) -> None:
        """Take in one more."""
        self.count += 1
        if len(self.first) < UNREADABLE_SHOWN_MAX:
            self.first.append((line, problem))

    def lines(self, events: Path) -> list[str]:
        """Return what to tell of them."""
        told = [f"{events}:{line}: {problem}" for line, problem in self.first]
        more = self.count - len(self.first)
        return [*told, f"{events}: {counted(more, 'more line')} cannot be read"] if more else told


def _refuse_capture(events: Path) -> None:
    first = next((line for line in read_lines(events) if line.strip()), b"")
    if is_capture(first):
        convert = f"flowgauge prefect convert {shlex.quote(str(events))} > events.jsonl"
        raise BadInput(f"{events}: a capture of a Prefect server, not event lines: convert it first ({convert})")
