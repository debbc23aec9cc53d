"""`flowgauge replay`: a file of events in, transitions out, by the pure replay of the processors.

A line that cannot be read is told and passed over, and then the exit code is 1: the answer lacks what it said. A file
in which no line can be read has no answer at all.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from flowgauge.console.history import is_capture
from flowgauge.console.text_table import text_table
from flowgauge.processors.replay import Replay, ReplayCounts, transition_row
from flowgauge.processors.ruleset import load_rules
from flowgauge.producers.event_file import read_lines, refuse_pipe
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import parse_time_ms
from flowgauge.transport.yaml_files import refuse_no_files

TABLE_FIELDS = ("at", "rule", "key", "from", "to", "value", "samples", "reason")
UNREADABLE_SHOWN_MAX = 10  # enough to see what is wrong with a file; the rest is counted

Say = Callable[[str], None]


def replay_file(
    events: Path, rule_files: Sequence[Path], *, form: str, until: str | None, say: Say, complain: Say
) -> int:
    """Say each transition, and complain of lines that cannot be read and of what was counted; return the exit code.

    Raises BadInput for a pipe and for a file without any event; for a capture of a Prefect server with the remedy.
    """
    refuse_no_files(rule_files)
    ruleset, until_ms, unreadable = load_rules(rule_files), _until_ms(until), _Unreadable()
    refuse_pipe(events)
    _refuse_capture(events)
    replay = Replay(lambda: read_lines(events), ruleset, until_ms=until_ms, report=unreadable.note)
    rows = (transition_row(transition) for transition in replay.transitions())
    if form == "jsonl":
        for row in rows:
            say(msgspec.json.encode(row).decode())
    table = [[row[name] for name in TABLE_FIELDS] for row in rows]  # none are left of what was said by lines
    _refuse_nothing(events, replay.counts, unreadable)
    if form == "table":
        say(text_table(TABLE_FIELDS, table))
    for line in unreadable.lines(events):
        complain(line)
    complain(_counted(replay.counts))
    return 1 if unreadable.count else 0


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


def _until_ms(until: str | None) -> int | None:
    try:
        return parse_time_ms(until) if until else None
    except ValueError as error:
        raise BadInput(f"--until: {error}") from None


def _refuse_capture(events: Path) -> None:
    first = next((line for line in read_lines(events) if line.strip()), b"")
    if is_capture(first):
        convert = f"flowgauge prefect convert {shlex.quote(str(events))} > events.jsonl"
        raise BadInput(f"{events}: a capture of a Prefect server, not event lines: convert it first ({convert})")


def _refuse_nothing(events: Path, counts: ReplayCounts, unreadable: _Unreadable) -> None:
    if not counts.lines:
        raise BadInput(f"{events}: no lines in it")
    if unreadable.count == counts.lines:
        line, problem = unreadable.first[0]
        raise BadInput(f"{events}: {counted(counts.lines, 'line')} and no event; line {line}: {problem}")


def _counted(counts: ReplayCounts) -> str:
    return (
        f"{counted(counts.lines, 'line')}, {counts.skipped} skipped, {counted(counts.invalid, 'invalid event')}, "
        f"{counted(counts.samples, 'sample')}, {counts.late} late, {counts.skewed} skewed, "
        f"{counted(counts.transitions, 'transition')}"
    )
