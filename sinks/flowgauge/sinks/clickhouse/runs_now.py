"""Runs as they are now, straight from their states: those columns of the view runs_final that a question reads. Pure.

The engine plans every column of a view before it leaves out what nobody reads: of this one longer than it then reads.
"""

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Final

from flowgauge.sinks.clickhouse.schema import schema_files

FROM: Final = "FROM flowgauge.runs AS runs"
EACH: Final = "GROUP BY tenant, run\nHAVING state != ''"
_ALWAYS: Final = ("tenant", "run", "state")
_NAMED: Final = re.compile(r"(.*?)(?: AS (\w+))?", re.DOTALL)


def select(names: Collection[str]) -> str:
    """Return the SELECT of the columns `names`, and of what they are made of, up to where conditions begin."""
    every = columns()
    wanted = {*_ALWAYS, *names}
    for name in reversed(every):  # each is made of those before it
        if name in wanted:
            wanted |= {other for other in every if re.search(rf"(?<![.\w]){other}\b", every[name])}
    told = (made if made == name else f"{made} AS {name}" for name, made in every.items() if name in wanted)
    return f"SELECT {', '.join(told)}\n{FROM}"


@cache
def columns() -> dict[str, str]:
    """Return what makes each column of the view, in the view's order, what it names beforehand included."""
    newest = [file for file in schema_files() if "VIEW flowgauge.runs_final" in file.sql][-1]
    view = re.sub(r"^--.*$", "", newest.sql, flags=re.MULTILINE).partition(" AS\n")[2]
    beforehand, _, rest = view.removeprefix("WITH ").partition("\nSELECT\n")
    listed, _, after = rest.partition(f"\n{FROM}\n")
    if after.strip() != EACH:
        raise ValueError(f"{newest.name}: expected {EACH!r} at its end, got {after!r}")
    found: dict[str, str] = {}
    for each in _split(f"{beforehand}, {listed}"):
        named = _NAMED.fullmatch(each)
        if named is not None:
            found[named[2] or named[1]] = re.sub(r"\s+", " ", named[1])
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
