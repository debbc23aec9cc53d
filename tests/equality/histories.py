"""The history that goes every way: the generated week, then captures of a Prefect server; and its rules."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from benchmarks.generator import HOUR_MS
from tests.equality.rules import RULE_FILES
from tests.equality.ways import History
from tests.equality.week import END_MS, LAST_RUN_MS, WEEK_H, begin_ms, week_lines

from flowgauge.console.history import Entry, entries
from flowgauge.console.loading import event_lines
from flowgauge.schemas.times import rfc3339

EXTRACTS = sorted((Path(__file__).parents[1] / "data").glob("*-extract.jsonl.gz"), reverse=True)  # by their time
QUIET_MS = 7 * HOUR_MS  # the longest look back of the rules that ever resolve by themselves is 6.5 h
DISTINCT_MS_MAX = 1_000  # by so much events of a capture may be moved on, each to an append time of its own
END = b'"tenant":"default","event":"history.ended","resource":{"id":"history"}'


def write_history(
    folder: Path, events: int, captures: Sequence[Path], *, hours: int = WEEK_H, only_runs: bool = False
) -> History:
    """Write `hours` with `events` events, the captures after them, and the rules.

    After each of the two nothing comes for so long that every window is empty and every timer has run out: from there
    on it is the same wherever a clock stands. Raises ValueError for captures of before they end.
    """
    rules, file = folder / "rules", folder / "history.jsonl"
    rules.mkdir()
    for name, text in RULE_FILES.items():
        (rules / name).write_text(text, encoding="utf-8")
    lines, last = 0, b""
    with file.open("wb") as out:
        for last in _lines(week_lines(events, hours=hours, only_runs=only_runs), captures):
            out.write(last)
            lines += 1
    return History(file, rules, lines, begin_ms(hours), append_ms_of(last))


def append_ms_of(line: bytes) -> int:
    """Return when a line of a history was appended."""
    return int(line.removeprefix(b'{"_append":').partition(b",")[0])


def _lines(week: Iterator[bytes], captures: Sequence[Path]) -> Iterator[bytes]:
    yield from week
    append_ms = END_MS + LAST_RUN_MS + QUIET_MS
    yield _end(1, append_ms)
    recorded = entries(chain.from_iterable(map(event_lines, captures)))
    for each in recorded:
        if not isinstance(each, Entry):
            raise TypeError(f"a capture holds what is no event: {each.detail}")
        if each.append_ms < append_ms - DISTINCT_MS_MAX:
            raise ValueError(
                "a capture begins before the days and their quiet hours have ended, or before another ends"
            )
        append_ms = max(append_ms + 1, each.append_ms)
        yield b'{"_append":%d,%b\n' % (append_ms, each.value[1:])
    yield _end(2, append_ms + QUIET_MS)


def _end(number: int, at_ms: int) -> bytes:
    """Return an event that no rule sees."""
    head = b'{"_append":%d,"id":"00000000-0000-7000-8000-%012d"' % (at_ms, number)
    return b'%b,"occurred":"%b",%b}\n' % (head, rfc3339(at_ms).encode(), END)
