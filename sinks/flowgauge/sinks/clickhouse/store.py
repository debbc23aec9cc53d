"""The store: ClickHouse in this process (chDB) or on a server, asked from threads of its own.

The event loop never waits for the engine. chDB is one process a path and one path a process, and its calls never
overlap: one thread. A server takes CONNECTIONS_MAX calls at a time, from any number of processes. Open takes 0.6 to
2 s. A killed process leaves acknowledged rows in place; what was in flight is completed by repeating its insert (see
`intent`), and so is an insert whose answer a server's connection lost.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast
from uuid import UUID

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.client import (
    CONNECTIONS_MAX,
    DATABASE,
    ERRORS,
    Client,
    Server,
    connect,
    open_engine,
    trouble_of,
)
from flowgauge.sinks.clickhouse.errors import EngineTrouble, RowRefused, refusal_in
from flowgauge.sinks.clickhouse.schema import BOOTSTRAP, VIEWS_OF, SchemaFile, missing, schema_files
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT, Seen, guard
from flowgauge.transport.wall_clock import now_ms

ROWS_MAX = 10_000  # what one question may return
QUERY_S_MAX = 10  # a question that takes longer is asked of too much
INSERT_S_MAX = 120  # far above a batch's half second, far below the life of the deduplication window
MEMORY_MAX = 1_500_000_000  # bytes of one question; the engine itself takes about 300 MB

# Pinned, because the engine's defaults differ between versions and follow its `compatibility` setting.
INSERT_SETTINGS: Mapping[str, object] = {
    "async_insert": 0,
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_partitions_per_insert_block": 0,  # a late backfill touches hundreds of days in one insert
    "max_insert_block_size": 1_048_449,  # with the next three: one insert is one block
    "min_insert_block_size_rows": 1_048_449,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
    "max_execution_time": INSERT_S_MAX,
    "date_time_input_format": "best_effort",
    "input_format_json_read_objects_as_strings": 1,  # payload and extra
    "input_format_json_named_tuples_as_objects": 0,  # a transition's examples are arrays
    "input_format_null_as_default": 1,
    "input_format_skip_unknown_fields": 1,
    "input_format_defaults_for_omitted_fields": 1,
}
QUERY_SETTINGS: Mapping[str, object] = {
    "max_execution_time": QUERY_S_MAX,
    "max_memory_usage": MEMORY_MAX,
    "max_result_rows": ROWS_MAX,
    "result_overflow_mode": "throw",
    "enable_shared_storage_snapshot_in_query": 1,  # one state of a table, however often a question names it
}
# After a crash, over rows that were just written: they may take long, and belong to no question of people.
LOOK_SETTINGS: Mapping[str, object] = {
    **guard(EVERY_TENANT),
    "max_execution_time": INSERT_S_MAX,
    "max_memory_usage": MEMORY_MAX,
}
FOLD_SETTINGS: Mapping[str, object] = {
    **LOOK_SETTINGS,
    "deduplicate_insert": "disable",  # what is folded twice counts once
    "deduplicate_insert_select": "disable",
    "max_partitions_per_insert_block": 0,
}
HELD = """
SELECT groupArray(_offset) FROM {table}
WHERE _log = {{log_id:String}} AND _partition = {{partition:UInt16}}
  AND _offset >= {{start:UInt64}} AND _offset < {{end:UInt64}}
  AND _append >= fromUnixTimestamp64Milli({{first_ms:Int64}}) AND _append <= fromUnixTimestamp64Milli({{last_ms:Int64}})
"""
ERASED = "SELECT erased_tenant, toUnixTimestamp64Milli(before) FROM flowgauge.erased_tenants FINAL"
SELECT_OF_VIEW = "SELECT as_select FROM system.tables WHERE database = {database:String} AND name = {view:String}"

_T = TypeVar("_T")
_DATABASE = re.compile(rf"\b{DATABASE}(?=\.| ENGINE)")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long we wait for a server's answer, in seconds; its own limits end a call before."""

    question_s: int = QUERY_S_MAX + 5
    insert_s: int = INSERT_S_MAX + 10


DEADLINES = Deadlines()


class ClickHouseStore:
    """One ClickHouse. Made by `open` or `connect`; `close` waits for the calls that are running."""

    def __init__(self, asks: Client, inserts: Client, threads: ThreadPoolExecutor, server: Server | None) -> None:
        self._asks = asks
        self._inserts = inserts
        self._threads = threads
        self._server = server
        self.database = server.database if server else DATABASE

    @classmethod
    def open(cls, path: Path) -> "ClickHouseStore":
        """Open the engine over the folder `path`, made if missing. Blocks 0.6 to 2 s.

        Raises LogMismatch when this process already has an engine over another path.
        """
        return cls._started(1, lambda: (open_engine(path),) * 2, None)

    @classmethod
    def connect(cls, server: Server, deadlines: Deadlines = DEADLINES) -> "ClickHouseStore":
        """Connect to `server`. Blocks for up to CONNECT_S_MAX and the time of its first answers.

        Raises BadEnvironment with the remedy when it does not answer, refuses the user, or is too old.
        """

        def clients() -> tuple[Client, Client]:
            asks = connect(server, answer_s_max=deadlines.question_s)
            return asks, connect(server, answer_s_max=deadlines.insert_s)

        return cls._started(CONNECTIONS_MAX, clients, server)

    @classmethod
    def _started(
        cls, threads_max: int, clients: Callable[[], Sequence[Client]], server: Server | None
    ) -> "ClickHouseStore":
        threads = ThreadPoolExecutor(threads_max, thread_name_prefix="clickhouse")
        try:
            asks, inserts = threads.submit(clients).result()
        except BaseException:
            threads.shutdown(wait=False)
            raise
        return cls(asks, inserts, threads, server)

    def apply_schema(self) -> list[str]:
        """Apply the schema files that are missing; return their names. Blocks.

        Raises LogMismatch when other files made the tables, BadEnvironment when ClickHouse cannot.
        """
        return self._threads.submit(self._apply_schema).result()

    def missing_schema(self) -> list[str]:
        """Return the names of the schema files that `apply_schema` would apply, changing nothing. Blocks."""
        return [file.name for file in self._threads.submit(self._missing_schema).result()]

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None, *, seen: Seen) -> Table:
        """Answer `sql` of what `seen` says, its `{name:Type}` placeholders bound from `parameters`.

        No rows come without columns. At most ROWS_MAX rows and QUERY_S_MAX seconds; raises EngineTrouble beyond, or
        when the engine cannot.
        """
        settings = {**QUERY_SETTINGS, **guard(seen, self.database)}
        return await self._call(lambda: self._query(sql, parameters or {}, settings))

    async def lines(self, sql: str, parameters: Mapping[str, object], *, seen: Seen) -> bytes:
        """Answer `sql` as `query` does, as a line of JSON a row; times are seconds since 1970 in quotes."""
        settings = {**QUERY_SETTINGS, **guard(seen, self.database), "date_time_output_format": "unix_timestamp"}
        return await self._call(lambda: self._lines(sql, parameters, settings))

    async def erased(self) -> Mapping[str, int]:
        """Return the tenants that were erased, each with when its rows of before are gone. Raises EngineTrouble."""
        found = await self._call(lambda: self._query(ERASED, {}))
        return {str(tenant): int(str(before_ms)) for tenant, before_ms in found.rows}

    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Insert `body` (JSONEachRow) as one block under the deduplication `token`: again changes nothing.

        Raises RowRefused when a row cannot be read or is forbidden: nothing was inserted. Raises EngineTrouble
        when the outcome is unknown or the engine cannot now: repeat it with the same rows and token.
        """
        await self._call(lambda: self._insert(table, body, token))

    async def command(self, sql: str, parameters: Mapping[str, object]) -> None:
        """Run the statement `sql`, which may be repeated without harm. Raises EngineTrouble."""
        await self._call(lambda: self._command(sql, parameters))

    async def held(self, table: str, span: Span) -> Set[int]:
        """Return the offsets in `span` whose rows `table` has. Raises EngineTrouble."""
        found = await self._call(lambda: self._query(HELD.format(table=table), asdict(span)))
        return set(cast("Sequence[int]", found.rows[0][0]))

    async def fold_again(self, table: str, span: Span) -> None:
        """Fold the rows that `table` has in `span` into its views once more. Raises EngineTrouble."""
        await self._call(lambda: self._fold_again(table, span))

    def close(self) -> None:
        """Close the engine or the connections. Blocks until running calls are done."""
        for client in {id(client): client for client in (self._asks, self._inserts)}.values():
            self._threads.submit(client.close_connections).result()
            self._threads.submit(client.close).result()
        self._threads.shutdown(wait=True)

    async def _call(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _query(
        self, sql: str, parameters: Mapping[str, object], settings: Mapping[str, object] = LOOK_SETTINGS
    ) -> Table:
        try:
            result = self._asks.query(self._named(sql), parameters=dict(parameters), settings=dict(settings))
        except ERRORS as error:
            raise trouble_of(error) from error
        rows = [tuple(map(_plain, row)) for row in result.result_rows]
        return Table(list(result.column_names), rows)

    def _lines(self, sql: str, parameters: Mapping[str, object], settings: Mapping[str, object]) -> bytes:
        try:
            return bytes(
                self._asks.raw_query(
                    self._named(sql), parameters=dict(parameters), settings=dict(settings), fmt="JSONEachRow"
                )
            )
        except ERRORS as error:
            raise trouble_of(error) from error

    def _insert(self, table: str, body: bytes, token: str) -> None:
        # A server refuses a query id that is running: an insert that was given up for lost is not passed by its repeat.
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token, "query_id": token}
        try:
            done = self._inserts.raw_insert(self._named(table), insert_block=body, fmt="JSONEachRow", settings=settings)
        except ERRORS as error:
            refusal = refusal_in(str(error))
            if refusal is not None:
                raise RowRefused(refusal.index, refusal.detail) from error
            raise trouble_of(error) from error
        except OSError as error:  # chDB: the body passes through a temporary file
            raise EngineTrouble(f"ClickHouse: cannot write a temporary file: {error.strerror}", "known") from error
        if self._server is not None and done.summary.get("query_id") != token:
            raise EngineTrouble(
                "ClickHouse: somebody else answered the insert (does a proxy stand between?)", "unknown"
            )

    def _command(self, sql: str, parameters: Mapping[str, object]) -> None:
        try:
            self._inserts.command(self._named(sql), parameters=dict(parameters), settings=dict(FOLD_SETTINGS))
        except ERRORS as error:
            raise trouble_of(error) from error

    def _fold_again(self, table: str, span: Span) -> None:
        only = (
            f"_log = \\'{span.log_id}\\' AND _partition = {span.partition} "
            f"AND _offset >= {span.start} AND _offset < {span.end} "
            f"AND _append >= fromUnixTimestamp64Milli({span.first_ms}) "
            f"AND _append <= fromUnixTimestamp64Milli({span.last_ms})"
        )
        settings = {**FOLD_SETTINGS, "additional_table_filters": f"{{'{self._named(table)}': '{only}'}}"}
        for view in VIEWS_OF.get(table, ()):
            select = self._query(SELECT_OF_VIEW, {"database": self.database, "view": view}).rows[0][0]
            try:
                self._inserts.command(f"INSERT INTO {self.database}.{view} {select}", settings=settings)
            except ERRORS as error:
                raise trouble_of(error) from error

    def _apply_schema(self) -> list[str]:
        todo = self._missing_schema()
        if not todo:  # who may only ask needs no right to make tables
            return []
        try:
            for file in schema_files()[:BOOTSTRAP]:
                self._inserts.command(self._named(file.sql))
            for file in todo:
                self._inserts.command(self._named(file.sql))
                self._note_version(file)
        except ERRORS as error:
            raise _no_tables(error) from error
        return [file.name for file in todo]

    def _missing_schema(self) -> list[SchemaFile]:
        try:
            return missing(schema_files(), self._applied())
        except ERRORS as error:
            raise _no_tables(error) from error

    def _applied(self) -> dict[int, str]:
        """Return the digest of each applied version; none where there are no tables yet."""
        tables = self._asks.query(
            "SELECT name FROM system.tables WHERE database = {database:String} AND name = 'schema_versions'",
            parameters={"database": self.database},
        )
        if not tables.result_rows:
            return {}
        found = self._asks.query(self._named("SELECT version, digest FROM flowgauge.schema_versions FINAL"))
        return {int(str(version)): str(digest) for version, digest in found.result_rows}

    def _note_version(self, file: SchemaFile) -> None:
        self._inserts.command(
            self._named(
                "INSERT INTO flowgauge.schema_versions SELECT {version:UInt32}, {name:String}, {digest:String}, "
                "fromUnixTimestamp64Milli({ms:Int64}, 'UTC')"
            ),
            parameters={"version": file.version, "name": file.name, "digest": file.digest, "ms": now_ms()},
        )

    def _named(self, sql: str) -> str:
        """Return our own `sql` with the name of this server's database; what people ask for is bound, never in it."""
        return sql if self.database == DATABASE else _DATABASE.sub(self.database, sql)


def _no_tables(error: Exception) -> BadEnvironment:
    return BadEnvironment(
        f"the tables cannot be looked at or made: {trouble_of(error)} "
        "(let the user CREATE, ALTER, DROP VIEW, INSERT and SELECT there)"
    )


def _plain(value: object) -> object:
    """Return what JSON can carry: times as RFC 3339 in UTC, ids as text."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        text = aware.astimezone(UTC).isoformat(timespec="microseconds" if aware.microsecond else "seconds")
        return text.removesuffix("+00:00") + "Z"
    if isinstance(value, UUID):
        return str(value)
    return value
