"""The replay of a file, as `flowgauge replay` runs it: the file is read twice, transitions out."""

import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.generator import RUN_EVERY_MS, made_events
from benchmarks.measure import Line, Steps
from benchmarks.rules import fifty_rules, ten_rules
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import RuleSet

WEEK_MS = 7 * 86_400_000
EVENTS_OF_A_RUN = 120


def bench_replay(events: int) -> Line:
    """Events as close together as they can come; ten rules."""
    return _replayed("replay", events, ten_rules(), RUN_EVERY_MS)


def bench_week(events: int) -> Line:
    """Events of a week, fifty rules; what the process took of memory at most is a note."""
    before_mb = _peak_mb()
    line = _replayed("week", events, fifty_rules(), WEEK_MS * EVENTS_OF_A_RUN // events)
    return line.noting(peak_mb=_peak_mb(), peak_mb_before=before_mb)


def _replayed(name: str, events: int, ruleset: RuleSet, run_every_ms: int) -> Line:
    """Lines in, transitions out. `first pass` finds the partitions."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        file = Path(folder) / "events.jsonl"
        with file.open("wb") as out:
            out.writelines(item.value + b"\n" for item in made_events(events, run_every_ms=run_every_ms))
        steps = Steps()
        with steps.step("first pass"):
            replay = Replay(lambda: _lines(file), ruleset)
        with steps.step("second pass"):
            transitions = sum(1 for _ in replay.transitions())
    assert replay.counts.lines == events
    line = steps.line(name, events)
    return line.noting(samples_per_event=replay.counts.samples / events, transitions=transitions)


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        yield from source


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
