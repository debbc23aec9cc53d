"""The replay of a file, as `flowgauge replay` runs it: the file is read twice, ten rules, transitions out."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.generator import made_events
from benchmarks.measure import Line, Steps
from benchmarks.rules import ten_rules
from flowgauge.processors.replay import Replay


def bench_replay(events: int) -> Line:
    """Lines in, transitions out. `first pass` finds the partitions."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        file = Path(folder) / "events.jsonl"
        with file.open("wb") as out:
            out.writelines(item.value + b"\n" for item in made_events(events))
        ruleset, steps = ten_rules(), Steps()
        with steps.step("first pass"):
            replay = Replay(lambda: _lines(file), ruleset)
        with steps.step("second pass"):
            transitions = sum(1 for _ in replay.transitions())
    assert replay.counts.lines == events
    line = steps.line("replay", events)
    return line.noting(samples_per_event=replay.counts.samples / events, transitions=transitions)


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        yield from source
