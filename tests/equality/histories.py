"""The history that goes every way: the generated day, then captures of a Prefect server; and its rules."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from benchmarks.generator import HOUR_MS, START_MS
from benchmarks.rules import fifty_rules_text
from tests.equality.day import DAY_MS, day_lines
from tests.equality.ways import History
from tests.integration.up_process import RULES

from flowgauge.console.history import Entry, entries
from flowgauge.console.loading import event_lines
from flowgauge.schemas.times import rfc3339

EXTRACTS = sorted((Path(__file__).parents[1] / "data").glob("*-extract.jsonl.gz"), reverse=True)  # by their time
RULE_FILES = {"day.yaml": fifty_rules_text(), "captures.yaml": RULES}


QUIET_MS = 7 * HOUR_MS  # the longest window of the rules is 6 h
END = b'"tenant":"default","event":"history.ended","resource":{"id":"history"}'


def write_history(folder: Path, events: int, captures: Sequence[Path], *, only_runs: bool = False) -> History:
    """Write the day of `events` events, the captures after it, and the rules.

    After each of the two nothing comes for so long that every window is empty and every timer has run out: from there
    on it is the same wherever a clock stands. Raises ValueError for captures of before the day.
    """
    rules, file = folder / "rules", folder / "history.jsonl"
    rules.mkdir()
    for name, text in RULE_FILES.items():
        (rules / name).write_text(text, encoding="utf-8")
    lines = 0
    with file.open("wb") as out:
        for line in _lines(events, captures, only_runs=only_runs):
            out.write(line)
            lines += 1
    return History(file, rules, lines)


def _lines(events: int, captures: Sequence[Path], *, only_runs: bool) -> Iterator[bytes]:
    yield from day_lines(events, only_runs=only_runs)
    append_ms = START_MS + DAY_MS + QUIET_MS
    yield _end(1, append_ms)
    recorded = entries(chain.from_iterable(map(event_lines, captures)))
    for each in recorded:
        if not isinstance(each, Entry):
            raise TypeError(f"a capture holds what is no event: {each.detail}")
        if each.append_ms < append_ms:
            raise ValueError("a capture begins before the day and its quiet hours have ended, or before another ends")
        append_ms = each.append_ms
        yield b'{"_append":%d,%b\n' % (append_ms, each.value[1:])
    yield _end(2, append_ms + QUIET_MS)


def _end(number: int, at_ms: int) -> bytes:
    """Return an event that no rule sees."""
    head = b'{"_append":%d,"id":"00000000-0000-7000-8000-%012d"' % (at_ms, number)
    return b'%b,"occurred":"%b",%b}\n' % (head, rfc3339(at_ms).encode(), END)
