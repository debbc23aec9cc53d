"""The store: ClickHouse in this process (chDB) or on a server, asked from threads of its own.

The event loop never waits for the engine. chDB is one process a path and one path a process, and its calls never
overlap: one thread. A server takes CONNECTIONS_MAX calls at a time, from any number of processes. Open takes 0.6 to
2 s. A killed process leaves acknowledged rows in place; what was in flight is completed by repeating its insert (see
`intent`), and so is an insert whose answer a server's connection lost.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar, cast
from uuid import UUID

from flowgauge.sinks.clickhouse.call_settings import (
    FOLD_SETTINGS,
    INSERT_S_MAX,
    LOOK_SETTINGS,
    QUERY_S_MAX,
    QUERY_SETTINGS,
    insert_settings,
)
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.client import (
    CONNECTIONS_MAX,
    ERRORS,
    Client,
    Server,
    code_of,
    connect,
    open_engine,
    trouble_of,
    version_of,
)
from flowgauge.sinks.clickhouse.deployment import Deployment
from flowgauge.sinks.clickhouse.drift import Made
from flowgauge.sinks.clickhouse.errors import EngineTrouble, RowRefused, refusal_in
from flowgauge.sinks.clickhouse.migrations import Step
from flowgauge.sinks.clickhouse.schema import INDEXES_OF, VIEWS_OF
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import Seen, guard
from flowgauge.sinks.clickhouse.upkeep import Upkeep, synchronize

HELD = """
SELECT groupArray(_offset) FROM {table}
WHERE _log = {{log_id:String}} AND _partition = {{partition:UInt16}}
  AND _offset >= {{start:UInt64}} AND _offset < {{end:UInt64}}
  AND _append >= fromUnixTimestamp64Milli({{first_ms:Int64}}) AND _append <= fromUnixTimestamp64Milli({{last_ms:Int64}})
"""
ERASED = "SELECT erased_tenant, toUnixTimestamp64Milli(before) FROM flowgauge.erased_tenants FINAL"
SELECT_OF_VIEW = "SELECT as_select FROM system.tables WHERE database = {database:String} AND name = {view:String}"

OF_DAY = "IN PARTITION ID '{day:%Y%m%d}'"  # as a mutation of events names it

_T = TypeVar("_T")


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
        self._deployment = Deployment(server.cluster, server.database) if server else Deployment()
        self._upkeep = Upkeep(inserts, self._deployment, is_server=server is not None)
        self._insert_settings = {
            **insert_settings(version_of(inserts.server_version)),
            **self._deployment.insert_settings,
        }
        self.database = self._deployment.database
        self._look_settings = {**LOOK_SETTINGS, **self._deployment.look_settings}
        self._fold_settings: dict[str, object] = {
            **FOLD_SETTINGS,
            **self._deployment.insert_settings,
            **self._deployment.look_settings,
        }

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

        Raises LogMismatch when other files made the tables, BadEnvironment when ClickHouse cannot or is not fit.
        """
        return self._threads.submit(self._upkeep.apply).result()

    def missing_schema(self) -> list[str]:
        """Return the names of the schema files that `apply_schema` would apply, changing nothing. Blocks."""
        return [file.name for file in self._threads.submit(self._upkeep.missing).result()]

    def plan_schema(self, *, everything: bool = False) -> list[Step]:
        """Return what `apply_schema` would run, in order, or with `everything` what makes all tables. Blocks."""
        return self._threads.submit(self._upkeep.plan, everything=everything).result()

    def check_schema(self) -> list[str]:
        """Return a line for all that is not as the files and the sink want it, changing nothing. Blocks."""
        return self._threads.submit(self._upkeep.check).result()

    def tables_made(self) -> dict[str, Made]:
        """Return the tables and views that there are. Blocks."""
        return self._threads.submit(self._upkeep.made).result()

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
        found = await self._call(lambda: self._query(ERASED, {}, self._look_settings))
        return {str(tenant): int(str(before_ms)) for tenant, before_ms in found.rows}

    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Insert `body` (JSONEachRow) as one block under the deduplication `token`: again changes nothing.

        Raises RowRefused when a row cannot be read or is forbidden: nothing was inserted. Raises EngineTrouble
        when the outcome is unknown or the engine cannot now: repeat it with the same rows and token.
        """
        await self._call(lambda: self._insert(table, body, token))

    async def command(self, sql: str, parameters: Mapping[str, object]) -> None:
        """Run the statement `sql`, which may be repeated without harm. Raises EngineTrouble."""
        await self._call(lambda: self._command(sql, parameters, self._fold_settings))

    async def look(self, sql: str, parameters: Mapping[str, object]) -> Table:
        """Answer `sql` of all tenants, for upkeep: it may take as long as an insert. Raises EngineTrouble."""
        return await self._call(lambda: self._query(sql, parameters, self._look_settings))

    async def synchronize(self, table: str) -> None:
        """Where there are replicas, wait until this one has all of `table`. Raises EngineTrouble when it lags on."""
        await self._call(lambda: self._synchronize(table))

    async def rewrite(self, sql: str) -> None:
        """Begin to rewrite a table by the statement `sql`, not waiting for its end. Raises EngineTrouble."""
        # What is deleted is chosen by when it came: replicas choose the same.
        settings = {**self._fold_settings, "mutations_sync": 0, "allow_nondeterministic_mutations": 1}
        await self._call(lambda: self._command(sql, {}, settings))

    async def held(self, table: str, span: Span) -> Set[int]:
        """Return the offsets in `span` whose rows `table` has. Raises EngineTrouble."""
        found = await self._call(lambda: self._held(table, span))
        return set(cast("Sequence[int]", found.rows[0][0]))

    async def fold_again(self, table: str, span: Span) -> None:
        """Fold the rows that `table` has in `span` into its views once more. Raises EngineTrouble."""
        await self._call(lambda: self._fold_again(table, span))

    async def fold_hours(self, table: str, day: date, hours: range) -> None:
        """Fold the rows that `table` has of these `hours` of `day` into its views once more. Raises EngineTrouble."""
        only = f"toDate(occurred) = \\'{day}\\' AND toHour(occurred) BETWEEN {hours[0]} AND {hours[-1]}"
        await self._call(lambda: self._fold(table, only))

    async def index(self, table: str, day: date) -> None:
        """Begin to index the rows that `table` has of `day`, not waiting for its end. Raises EngineTrouble."""
        indexes = (f"MATERIALIZE INDEX {index} {OF_DAY.format(day=day)}" for index in INDEXES_OF.get(table, ()))
        await self.rewrite(f"ALTER TABLE {table} {', '.join(indexes)}")

    async def note_backfill(self, target: str, day: date) -> None:
        """Note that `day` is folded and indexed as `target` says. Raises EngineTrouble."""
        noted = "INSERT INTO flowgauge.backfills SELECT {target:String}, {day:Date}, now64(3)"
        await self.command(noted, {"target": target, "day": day})

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
        with self._whole_answers():
            result = self._asks.query(self._named(sql), parameters=dict(parameters), settings=dict(settings))
            rows = [tuple(map(_plain, row)) for row in result.result_rows]
            return Table(list(result.column_names), rows)

    def _lines(self, sql: str, parameters: Mapping[str, object], settings: Mapping[str, object]) -> bytes:
        with self._whole_answers():
            return bytes(
                self._asks.raw_query(
                    self._named(sql), parameters=dict(parameters), settings=dict(settings), fmt="JSONEachRow"
                )
            )

    @contextmanager
    def _whole_answers(self) -> Generator[None]:
        """Raise what goes wrong in the block as EngineTrouble, and let nothing of it come with the next answer.

        What a question of chDB had written when it failed would begin the next answer, whoever asks that.
        """
        try:
            yield
        except ERRORS as error:
            if self._server is None:
                with suppress(*ERRORS):
                    self._asks.raw_query("SELECT 1", parameters={}, settings={}, fmt="Null")
            raise trouble_of(error) from error

    def _held(self, table: str, span: Span) -> Table:
        self._synchronize(table)
        return self._query(HELD.format(table=table), asdict(span), self._look_settings)

    def _synchronize(self, table: str) -> None:
        try:
            synchronize(self._inserts, self._deployment, self._named(table))
        except ERRORS as error:
            raise trouble_of(error) from error

    def _insert(self, table: str, body: bytes, token: str) -> None:
        # A server refuses a query id that is running: an insert that was given up for lost is not passed by its repeat.
        settings = {**self._insert_settings, "insert_deduplication_token": token, "query_id": token}
        try:
            done = self._inserts.raw_insert(self._named(table), insert_block=body, fmt="JSONEachRow", settings=settings)
        except ERRORS as error:
            refusal = refusal_in(code_of(error), str(error))
            if refusal is not None:
                raise RowRefused(refusal.index, refusal.detail) from error
            raise trouble_of(error) from error
        except OSError as error:  # chDB: the body passes through a temporary file
            raise EngineTrouble(f"ClickHouse: cannot write a temporary file: {error.strerror}", "known") from error
        if self._server is not None and done.summary.get("query_id") != token:
            raise EngineTrouble(
                "ClickHouse: somebody else answered the insert (does a proxy stand between?)", "unknown"
            )

    def _fold_again(self, table: str, span: Span) -> None:
        self._fold(
            table,
            f"_log = \\'{span.log_id}\\' AND _partition = {span.partition} "
            f"AND _offset >= {span.start} AND _offset < {span.end} "
            f"AND _append >= fromUnixTimestamp64Milli({span.first_ms}) "
            f"AND _append <= fromUnixTimestamp64Milli({span.last_ms})",
        )

    def _fold(self, table: str, only: str) -> None:
        """Fold the rows of `table` for which `only` holds, its quotes escaped, into its views."""
        self._synchronize(table)
        settings = {
            **self._fold_settings,
            "additional_table_filters": f"{{'{self._named(table)}': '{only}'}}",
        }
        for view in VIEWS_OF.get(table, ()):
            select = self._query(SELECT_OF_VIEW, {"database": self.database, "view": view}).rows[0][0]
            self._command(f"INSERT INTO flowgauge.{view} {select}", {}, settings)

    def _command(self, sql: str, parameters: Mapping[str, object], settings: Mapping[str, object]) -> None:
        with self._whole_answers():
            self._inserts.command(self._named(sql), parameters=dict(parameters), settings=dict(settings))

    def _named(self, sql: str) -> str:
        return self._deployment.named(sql)


def _plain(value: object) -> object:
    """Return what JSON can carry: times as RFC 3339 in UTC, ids as text."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        text = aware.astimezone(UTC).isoformat(timespec="microseconds" if aware.microsecond else "seconds")
        return text.removesuffix("+00:00") + "Z"
    if isinstance(value, UUID):
        return str(value)
    return value
