"""What a real Prefect server told, as the event lines that flowgauge reads."""

import gzip
from functools import cache
from pathlib import Path

from flowgauge.producers.prefect.capture import Problem, convert

DATA = Path(__file__).parent / "data"


@cache
def captured(name: str) -> tuple[bytes, ...]:
    """Return the event lines of an extract of `tests/data`, such as `outage`."""
    with gzip.open(DATA / f"prefect-{name}-extract.jsonl.gz") as lines:
        return tuple(line for line in convert(lines) if not isinstance(line, Problem))
