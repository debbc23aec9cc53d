"""The hint: why an answer may be empty, where that is easily overlooked.

a name that has a * or a ?      it is taken as it stands
a name after its tenant's       as answers tell it that are of all tenants together, of one tenant asked for
a tenant without any row        its name may be misspelt, or nothing was published yet
a run and a resource            only what fits both is told
"""

from collections.abc import Iterator

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.metric import GROUPS, MetricQuery
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenant_rows import is_known

WILDCARDS = frozenset("*?")
NAMES = ("flow", "deployment", "work_pool", "tag", "run", "resource")
CHARS_SHOWN = 80  # of a name


async def hint(store: ClickHouseStore, query: MetricQuery, table: Table) -> str:
    """Return the hint to the answer `table` of `query`, "" where it tells of something or cannot be looked for."""
    if not is_empty(table):
        return ""
    if query.tenant != ANY_TENANT and await _is_unknown(store, query.tenant):
        return f"nothing is known of tenant {query.tenant}: no table has a row of it"
    return next(_said(query), "")


def _said(query: MetricQuery) -> Iterator[str]:
    for name in NAMES:
        asked: str = getattr(query, name)
        shown = asked[:CHARS_SHOWN]
        if WILDCARDS & set(asked):
            yield f"{name}: {shown!r} is looked for as it stands: a * or ? stands for nothing else there"
        if name in GROUPS and asked.startswith(f"{query.tenant}/"):
            yield (
                f"{name}: {shown!r} is looked for as it stands: only of all tenants together (tenant {ANY_TENANT}) a "
                f"name has its tenant before it; ask for {shown.removeprefix(f'{query.tenant}/')!r}"
            )
    if query.run and query.resource:
        yield (
            f"run, resource: nothing was told of {query.run[:CHARS_SHOWN]!r} and {query.resource[:CHARS_SHOWN]!r} "
            "together: only what is of that run and about that resource fits both; ask of one of them"
        )


async def _is_unknown(store: ClickHouseStore, tenant: str) -> bool:
    try:
        return not await is_known(store, tenant)
    except EngineTrouble:
        return False  # the answer stands without it


def is_empty(table: Table) -> bool:
    """Tell whether there are no rows, or, as of the heat map, only such as count nothing."""
    if "failed" in table.columns and "finished" in table.columns:
        return not any(table.column("finished"))
    if "finished_since" in table.columns:
        return not any(map(any, table.rows))
    return not table.rows
