"""Runs as they are now, straight from their states: those columns of the view runs_final that a question reads. Pure.

The engine plans every column of a view before it leaves out what nobody reads: of this one longer than it then reads.
"""

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Final

from flowgauge.schemas.errors import InvariantBroken
from flowgauge.sinks.clickhouse.migrations import definition_of
from flowgauge.sinks.clickhouse.schema import schema_files

VIEW: Final = "runs_final"
_PARTS: Final = re.compile(
    r" AS\nWITH (.*)\nSELECT\n(.*)\nFROM flowgauge\.runs AS runs\nGROUP BY tenant, run\nHAVING state != ''\n*\Z",
    re.DOTALL,
)
_ALWAYS: Final = ("tenant", "run", "state")  # what runs are grouped by, and known by


def made(names: Collection[str]) -> str:
    """Return the columns `names` as a SELECT makes them from `runs`, grouped by run, with what they are made of."""
    every = columns()
    wanted = {*_ALWAYS, *names}
    for name in reversed(every):  # each is made of those before it
        if name in wanted:
            wanted |= {other for other in every if re.search(rf"(?<![.\w]){other}\b", every[name])}
    return ", ".join(by if by == name else f"{by} AS {name}" for name, by in every.items() if name in wanted)


@cache
def columns() -> dict[str, str]:
    """Return what makes each column of the view, in the view's order, what it names beforehand included.

    Raises InvariantBroken where the view is no longer written as this reads it.
    """
    newest = definition_of(VIEW, schema_files())
    parts = _PARTS.search(newest.sql) if newest else None
    if parts is None:
        raise InvariantBroken(f"{VIEW}: expected a view of runs, by run, whose state is known")
    found: dict[str, str] = {}
    for each in _split(f"{parts[1]}, {parts[2]}"):
        by, _, name = each.rpartition(" AS ")
        found[name] = re.sub(r"\s+", " ", by or name)
    return found


def _split(listed: str) -> Iterator[str]:
    """Yield what stands between the commas that are in no brackets."""
    depth, start = 0, 0
    for at, char in enumerate(listed):
        depth += (char in "([") - (char in ")]")
        if char == "," and not depth:
            yield listed[start:at].strip()
            start = at + 1
    yield listed[start:].strip()
