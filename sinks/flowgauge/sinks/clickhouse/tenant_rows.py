"""All that ClickHouse holds of one tenant: counted, read out page by page, erased.

The tables are those that have a column `tenant` now, whoever made them. Raw ones, whose rows name their record in the
log, are read out; the others are folded from them. An erasure is noted first, so that no sink brings rows back
(`erasing`), and is over when every count is 0 and no part waits to be rewritten: ask `erase` again until then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import msgspec

from flowgauge.sinks.clickhouse.call_settings import ROWS_MAX
from flowgauge.sinks.clickhouse.erasing import AHEAD_MS
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.metric import InvalidQuestion
from flowgauge.sinks.clickhouse.schema import RUNS, tenant_tables
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT, only

PAGE_ROWS = ROWS_MAX
PAGE_BYTES = 16 * 1_048_576  # as ClickHouse holds them: events may have a megabyte each
PAGE_SPAN_MS = 600_000  # append times that a page looks at first: so much is sorted for it
PAGE_SPAN_MS_MAX = 6 * 3_600_000  # and then, twice as much each time, while it has room
PAGE_SPANS = 16  # looks of a page that has rows: it is answered within seconds

TABLES = """
SELECT
    table,
    countIf(name IN ('_append', '_log', '_partition', '_offset')) = 4 AS is_raw,
    anyIf(name, name IN ('_append', 'append_last')) AS appended,
    table IN (
        SELECT name FROM system.tables
        WHERE database = {database:String} AND match(engine, '(Replacing|Aggregating|Summing|Coalescing|Collapsing)')
    ) AS is_merged
FROM system.columns
WHERE database = {database:String} AND table IN (
    SELECT name FROM system.tables WHERE database = {database:String} AND engine LIKE '%MergeTree'
)
GROUP BY table HAVING countIf(name = 'tenant') > 0 ORDER BY table
"""
COUNT = "SELECT count() FROM {table}{final} WHERE tenant = {{tenant:String}}"
UNTIL = " AND _append < fromUnixTimestamp64Milli({until_ms:Int64})"
ANY = "SELECT 1 FROM {table} WHERE tenant = {{tenant:String}}"
OLDER = " AND {appended} < fromUnixTimestamp64Milli({before_ms})"
# What is told of one run goes with the last of it.
OF_WHOLE_RUNS = """
    AND run NOT IN (
        SELECT run FROM {table}
        WHERE tenant = {{tenant:String}} AND {appended} >= fromUnixTimestamp64Milli({before_ms})
    )"""
PENDING = """
SELECT count(), anyIf(latest_fail_reason, latest_fail_reason != '') FROM system.mutations
WHERE database = {database:String} AND table = {table:String} AND NOT is_done AND position(command, {digits:String}) > 0
"""
_AFTER = """
FROM {table} AS e
WHERE e.tenant = {{tenant:String}}
    AND e._append >= fromUnixTimestamp64Milli({{from_ms:Int64}})
    AND e._append < fromUnixTimestamp64Milli({{to_ms:Int64}})
    AND (toUnixTimestamp64Milli(e._append), e._log, e._partition, e._offset)
        > ({{at_ms:Int64}}, {{log:String}}, {{partition:Int32}}, {{offset:Int64}})
    {condition}
"""
# Rows appended in [from, to) after the place of the page before: where they stand and how large they are, then up to
# the last that a page has room for. Sizes are in the order, so that they are taken before it: what is sorted is small.
PLACES = f"""
SELECT toUnixTimestamp64Milli(e._append) AS at_ms, e._log, e._partition, e._offset, byteSize({{sized}}) AS size {_AFTER}
ORDER BY at_ms, e._log, e._partition, e._offset, size
LIMIT {{{{limit:UInt32}}}}
"""
PAGE = f"""
SELECT {{columns}} {_AFTER}
    AND (toUnixTimestamp64Milli(e._append), e._log, e._partition, e._offset)
        <= ({{{{last_ms:Int64}}}}, {{{{last_log:String}}}}, {{{{last_partition:Int32}}}}, {{{{last_offset:Int64}}}})
ORDER BY e._append, e._log, e._partition, e._offset
"""
NEXT = """
SELECT count() > 0, toUnixTimestamp64Milli(min(e._append)) FROM {table} AS e
WHERE e.tenant = {{tenant:String}}
    AND e._append >= fromUnixTimestamp64Milli({{from_ms:Int64}})
    AND e._append < fromUnixTimestamp64Milli({{to_ms:Int64}})
    {condition}
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What pages hold: `columns` of the table `e`, made of the stored ones `sized`, where `condition` holds."""

    columns: str = "*"
    sized: str = "*"
    condition: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])

    def sql(self, template: str, table: str) -> str:
        """Return the statement that `template` makes for a table."""
        return template.format(table=_quoted(table), columns=self.columns, sized=self.sized, condition=self.condition)


WHOLE_ROWS = Wanted()


@dataclass(frozen=True, slots=True)
class TenantTable:
    """A table with rows of tenants. `is_raw`: each of its rows is a record of the log.

    `appended` names the column that says when what a row tells was last appended, "" where there is none.
    `is_merged`: rows of one key become one, some time after they came; questions see one.
    """

    name: str
    is_raw: bool
    appended: str
    is_merged: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """What there is of a tenant: rows by table, the tables that can be read out, and rewrites that are not done."""

    rows: dict[str, int]
    raw: list[str]
    pending: int


class PagePlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the row's append time, log, partition and offset."""

    at_ms: int = 0
    log: str = ""
    partition: int = -1
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as JSON objects, and where the next page begins; None where this is the last."""

    rows: list[bytes]
    next: PagePlace | None


async def tenant_tables_now(store: ClickHouseStore) -> list[TenantTable]:
    """Return the tables of the database that have a column `tenant`."""
    found = await store.query(TABLES, {"database": store.database}, seen=EVERY_TENANT)
    return [
        TenantTable(str(name), bool(is_raw), str(appended), bool(is_merged))
        for name, is_raw, appended, is_merged in found.rows
    ]


async def holding(store: ClickHouseStore, tenant: str) -> Holding:
    """Return what there is of `tenant` in every table, as it is stored."""
    return await _holding(store, tenant, dict.fromkeys(await tenant_tables_now(store), ""))


async def told(store: ClickHouseStore, tenant: str) -> Holding:
    """Return what there is of `tenant` in every table, as questions see it: rows that wait to be merged count once.

    Of a tenant so large that this takes too long, return what `holding` does.
    """
    tables = await tenant_tables_now(store)
    try:
        return await _holding(store, tenant, {table: " FINAL" if table.is_merged else "" for table in tables})
    except EngineTrouble as trouble:
        if not trouble.is_too_much:
            raise
        return await holding(store, tenant)


async def readable(store: ClickHouseStore, tenant: str, *, until_ms: int) -> Holding:
    """Return what there is of `tenant` in the raw tables that was appended before `until_ms`."""
    tables = [table for table in await tenant_tables_now(store) if table.is_raw]
    return await _holding(store, tenant, dict.fromkeys(tables, ""), until_ms=until_ms)


async def _holding(
    store: ClickHouseStore, tenant: str, finals: Mapping[TenantTable, str], *, until_ms: int | None = None
) -> Holding:
    rows: dict[str, int] = {}
    pending = 0
    for table, final in finals.items():
        sql = COUNT.format(table=_quoted(table.name), final=final) + ("" if until_ms is None else UNTIL)
        ((count,),) = (await store.query(sql, {"tenant": tenant, "until_ms": until_ms or 0}, seen=only(tenant))).rows
        rows[table.name] = int(str(count))
        pending += await _pending(store, tenant, table.name)
    return Holding(rows, [table.name for table in finals if table.is_raw], pending)


async def is_known(store: ClickHouseStore, tenant: str) -> bool:
    """Tell whether any of our tables has a row of `tenant`."""
    sql = "\nUNION ALL\n".join(f"{ANY.format(table=_quoted(name))} LIMIT 1" for name in tenant_tables())
    return bool((await store.query(sql, {"tenant": tenant}, seen=only(tenant))).rows)


async def erase(store: ClickHouseStore, tenant: str, now_ms: int) -> Holding:
    """Begin to erase all rows of `tenant`, and return what there still is.

    Again it goes on: rows that came meanwhile go too. Raises EngineTrouble where ClickHouse cannot rewrite a table.
    """
    before = {"tenant": tenant, "before_ms": now_ms + AHEAD_MS}
    await store.command(
        "INSERT INTO flowgauge.erased_tenants "
        "SELECT {tenant:String}, fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC')",
        before,
    )
    left = await holding(store, tenant)
    for table, rows in left.rows.items():
        if rows and not await _pending(store, tenant, table):
            await store.rewrite(f"ALTER TABLE {_quoted(table)} DELETE WHERE tenant = unhex('{_digits(tenant)}')")
    return await holding(store, tenant)


async def expire(store: ClickHouseStore, tenant: str, before_ms: int) -> int:
    """Begin to take the rows of `tenant` away that were last appended to before `before_ms`; return how many tables.

    A table whose rows are on their way out is passed over. Raises EngineTrouble where ClickHouse cannot rewrite one.
    """
    begun = 0
    for table in await tenant_tables_now(store):
        if not table.appended or await _pending(store, tenant, table.name):
            continue
        names = {"table": _quoted(table.name), "appended": table.appended, "before_ms": before_ms}
        older = OLDER.format(**names) + (OF_WHOLE_RUNS.format(**names) if table.name == RUNS else "")
        if (await store.query(ANY.format(**names) + older + " LIMIT 1", {"tenant": tenant}, seen=only(tenant))).rows:
            whose = f"tenant = unhex('{_digits(tenant)}')"
            gone = f"{whose}{older}".replace("{tenant:String}", f"unhex('{_digits(tenant)}')")
            await store.rewrite(f"ALTER TABLE {_quoted(table.name)} DELETE WHERE {gone}")
            begun += 1
    return begun


async def page(
    store: ClickHouseStore,
    tenant: str,
    table: str,
    after: PagePlace,
    *,
    until_ms: int,
    rows_max: int = PAGE_ROWS,
    bytes_max: int = PAGE_BYTES,
    wanted: Wanted = WHOLE_ROWS,
) -> Page:
    """Return the next rows of `tenant` in the raw `table` that were appended before `until_ms`, in their order.

    Of rows that together are over `bytes_max` the first ones, one at least.
    """
    if table not in {each.name for each in await tenant_tables_now(store) if each.is_raw}:
        raise InvalidQuestion(f"no table that can be read out is called {table[:64]!r}")
    asking = _Asking(store, tenant, table, wanted)
    rows: list[bytes] = []
    size, span_ms, spans = 0, PAGE_SPAN_MS, 0
    start_ms = after.at_ms or await asking.next_ms(0, until_ms)
    while start_ms is not None:
        end_ms = min(until_ms, start_ms + span_ms)
        span = {"from_ms": start_ms, "to_ms": end_ms, **msgspec.structs.asdict(after)}
        places = await asking.places(span, rows_max - len(rows))
        sizes = [each_size for *_, each_size in places]
        if rows and sizes and size + sizes[0] > bytes_max:
            return Page(rows, after)
        if places:
            count = _fitting(sizes, bytes_max - size)
            after = PagePlace(*places[count - 1][:4])
            rows += await asking.rows(span, after)
            size += sum(sizes[:count])
            if count < len(places) or len(rows) >= rows_max:
                return Page(rows, after)
        start_ms = await asking.next_ms(end_ms, until_ms)
        span_ms, spans = min(2 * span_ms, PAGE_SPAN_MS_MAX), spans + 1
        if rows and start_ms is not None and spans >= PAGE_SPANS:
            return Page(rows, PagePlace(start_ms))
    return Page(rows, None)


@dataclass(frozen=True, slots=True)
class _Asking:
    """What a page asks, each of the rows that are wanted."""

    store: ClickHouseStore
    tenant: str
    table: str
    wanted: Wanted

    async def places(self, span: Mapping[str, object], rows_max: int) -> list[tuple[int, str, int, int, int]]:
        """Return the places of the first rows of `span`, at most `rows_max`, with their sizes."""
        found = await self._query(PLACES, {**span, "limit": rows_max})
        return msgspec.convert(found, list[tuple[int, str, int, int, int]])

    async def rows(self, span: Mapping[str, object], last: PagePlace) -> list[bytes]:
        """Return the rows of `span` up to `last`."""
        end = {f"last_{name.removeprefix('at_')}": value for name, value in msgspec.structs.asdict(last).items()}
        sql, parameters = self.wanted.sql(PAGE, self.table), self._parameters({**span, **end})
        return (await self.store.lines(sql, parameters, seen=only(self.tenant))).splitlines()

    async def next_ms(self, from_ms: int, until_ms: int) -> int | None:
        """Return when the first row from `from_ms` on was appended, None where there is none."""
        ((is_any, first_ms),) = await self._query(NEXT, {"from_ms": from_ms, "to_ms": until_ms})
        return int(str(first_ms)) if is_any else None

    async def _query(self, template: str, parameters: Mapping[str, object]) -> Sequence[Sequence[object]]:
        sql = self.wanted.sql(template, self.table)
        return (await self.store.query(sql, self._parameters(parameters), seen=only(self.tenant))).rows

    def _parameters(self, more: Mapping[str, object]) -> dict[str, object]:
        return {"tenant": self.tenant, **self.wanted.parameters, **more}


async def _pending(store: ClickHouseStore, tenant: str, table: str) -> int:
    asked = {"database": store.database, "table": table, "digits": f"'{_digits(tenant)}'"}
    ((count, failed),) = (await store.query(PENDING, asked, seen=EVERY_TENANT)).rows
    if failed:
        raise EngineTrouble(f"ClickHouse cannot rewrite {table}: {str(failed)[:300]}", "unknown")
    return int(str(count))


def _fitting(sizes: Sequence[int], bytes_max: int) -> int:
    """Return how many of `sizes`, from the first on, are at most `bytes_max` together; one, where that is larger."""
    fitting = sum(1 for total in accumulate(sizes) if total <= bytes_max)
    return max(fitting, min(len(sizes), 1))


def _quoted(table: str) -> str:
    return f"flowgauge.`{table}`"


def _digits(tenant: str) -> str:
    return tenant.encode().hex()
