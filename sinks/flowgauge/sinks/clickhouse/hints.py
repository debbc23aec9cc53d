"""The hint: why an answer may be empty, where that is easily overlooked.

a name that has a * or a ?      it is taken as it stands
a tenant without any row        its name may be misspelt, or nothing was published yet
"""

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.metric import MetricQuery
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
    for name in NAMES:
        asked: str = getattr(query, name)
        if WILDCARDS & set(asked):
            return f"{name}: {asked[:CHARS_SHOWN]!r} is looked for as it stands: a * or ? stands for nothing else there"
    return ""


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
