"""What a question reads: the granules that indexes leave of a table, as the engine plans it."""

import re
from collections.abc import Mapping

from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import Seen

_NAME = re.compile(r"[\s│]*(?:Name: )?(Min-Max|Partition|PrimaryKey|ix_\w+|<Combined skip indexes>)")
_GRANULES = re.compile(r"[\s│]*Granules: (\d+)/(\d+)")


class Planned(ClickHouseStore):
    """A store that keeps how it would read for each question of raw events, before it answers."""

    def __init__(self, store: ClickHouseStore) -> None:
        self._store = store
        self.plans: list[dict[str, tuple[int, int]]] = []

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None, *, seen: Seen) -> Table:
        if "flowgauge.events" in sql:
            plan = await self._store.query(f"EXPLAIN indexes = 1 {sql}", parameters, seen=seen)
            self.plans.append(granules("\n".join(str(line) for (line,) in plan.rows)))
        return await self._store.query(sql, parameters, seen=seen)


class Counted(ClickHouseStore):
    """A store that counts the questions it answers."""

    def __init__(self, store: ClickHouseStore) -> None:
        self._store = store
        self.asked = 0

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None, *, seen: Seen) -> Table:
        self.asked += 1
        return await self._store.query(sql, parameters, seen=seen)


def granules(plan: str) -> dict[str, tuple[int, int]]:
    """Return the granules that each index leaves, and how many there were before it, of the first look at events."""
    found: dict[str, tuple[int, int]] = {}
    name, is_events = "", False
    for line in plan.splitlines():
        if "ReadFromMergeTree" in line:
            is_events = ".events" in line
        if named := _NAME.fullmatch(line):
            name = named[1]
        if is_events and (left := _GRANULES.fullmatch(line)):
            found.setdefault(name, (int(left[1]), int(left[2])))
    return found
