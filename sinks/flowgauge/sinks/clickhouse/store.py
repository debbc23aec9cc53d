"""The store: ClickHouse in this process (chDB), behind one thread.

chDB is one process a path and one path a process, so there is one store, and every call goes through its one worker
thread: the event loop never waits for the engine, and calls never overlap. Open takes 0.6 to 2 s. A killed process
leaves acknowledged rows in place; what was in flight is completed by repeating its insert (see `intent`).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from flowgauge.schemas.errors import LogMismatch
from flowgauge.sinks.clickhouse.errors import EngineTrouble, RowRefused, refusal_in, trouble
from flowgauge.sinks.clickhouse.schema import BOOTSTRAP, SchemaFile, missing, schema_files
from flowgauge.sinks.clickhouse.table import Table
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
}

_T = TypeVar("_T")


class _Result(Protocol):
    @property
    def column_names(self) -> Sequence[str]: ...
    @property
    def result_rows(self) -> Sequence[Sequence[object]]: ...


class _Client(Protocol):
    """What we use of clickhouse-connect's client, whose own types are partly unknown."""

    def query(
        self,
        query: str,
        parameters: dict[str, object] | None = None,
        settings: dict[str, object] | None = None,
    ) -> _Result: ...
    def command(self, cmd: str, parameters: dict[str, object] | None = None) -> object: ...
    def raw_insert(self, table: str, *, insert_block: bytes, settings: dict[str, object], fmt: str) -> object: ...
    def close(self) -> None: ...


class ClickHouseStore:
    """One embedded ClickHouse. Made by `open`; `close` waits for the call that is running."""

    def __init__(self, client: _Client, thread: ThreadPoolExecutor) -> None:
        self._client = client
        self._thread = thread

    @classmethod
    def open(cls, path: Path) -> "ClickHouseStore":
        """Open the engine over the folder `path`, made if missing. Blocks 0.6 to 2 s.

        Raises LogMismatch when this process already has an engine over another path.
        """
        path.mkdir(parents=True, exist_ok=True)
        thread = ThreadPoolExecutor(1, thread_name_prefix="clickhouse")
        try:
            return cls(thread.submit(_connect, path).result(), thread)
        except BaseException:
            thread.shutdown(wait=False)
            raise

    def apply_schema(self) -> list[str]:
        """Apply the schema files that are missing; return their names. Blocks."""
        return self._thread.submit(self._apply_schema).result()

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> Table:
        """Answer `sql`, its `{name:Type}` placeholders bound from `parameters`; no rows come without columns.

        At most ROWS_MAX rows and QUERY_S_MAX seconds; raises EngineTrouble beyond, or when the engine cannot.
        """
        return await self._call(lambda: self._query(sql, parameters or {}))

    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Insert `body` (JSONEachRow) as one block under the deduplication `token`: again changes nothing.

        Raises RowRefused when a row cannot be read or is forbidden: nothing was inserted. Raises EngineTrouble
        when the outcome is unknown or the engine cannot now: repeat it with the same rows and token.
        """
        await self._call(lambda: self._insert(table, body, token))

    def close(self) -> None:
        """Close the engine. Blocks until running calls are done."""
        self._thread.submit(self._client.close).result()
        self._thread.shutdown(wait=True)

    async def _call(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _query(self, sql: str, parameters: Mapping[str, object]) -> Table:
        try:
            result = self._client.query(sql, parameters=dict(parameters), settings=dict(QUERY_SETTINGS))
        except ClickHouseError as error:
            raise _trouble(error) from error
        rows = [tuple(map(_plain, row)) for row in result.result_rows]
        return Table(list(result.column_names), rows)

    def _insert(self, table: str, body: bytes, token: str) -> None:
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        try:
            self._client.raw_insert(table, insert_block=body, fmt="JSONEachRow", settings=settings)
        except ClickHouseError as error:
            refusal = refusal_in(str(error))
            if refusal is not None:
                raise RowRefused(refusal.index, refusal.detail) from error
            raise _trouble(error) from error
        except OSError as error:  # the body passes through a temporary file
            raise EngineTrouble(f"ClickHouse: cannot write a temporary file: {error.strerror}", "known") from error

    def _apply_schema(self) -> list[str]:
        wanted = schema_files()
        for file in wanted[:BOOTSTRAP]:
            self._client.command(file.sql)
        found = self._client.query("SELECT version, digest FROM flowgauge.schema_versions FINAL").result_rows
        todo = missing(wanted, {int(str(version)): str(digest) for version, digest in found})
        for file in todo:
            self._client.command(file.sql)
            self._note_version(file)
        return [file.name for file in todo]

    def _note_version(self, file: SchemaFile) -> None:
        self._client.command(
            "INSERT INTO flowgauge.schema_versions SELECT {version:UInt32}, {name:String}, {digest:String}, "
            "fromUnixTimestamp64Milli({ms:Int64}, 'UTC')",
            parameters={"version": file.version, "name": file.name, "digest": file.digest, "ms": now_ms()},
        )


def _connect(path: Path) -> _Client:
    try:
        return cast("_Client", cast("Any", clickhouse_connect).get_client(interface="chdb", path=str(path)))
    except ClickHouseError as error:
        raise LogMismatch(
            f"cannot open ClickHouse over {path}: {str(error).splitlines()[0]} "
            "(one process holds one folder, and one folder belongs to one process)"
        ) from error


def _trouble(error: ClickHouseError) -> EngineTrouble:
    code: object = getattr(error, "code", None)
    return trouble(code if isinstance(code, int) else None, str(error))


def _plain(value: object) -> object:
    """Return what JSON can carry: times as RFC 3339 in UTC, ids as text."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        text = aware.astimezone(UTC).isoformat(timespec="microseconds" if aware.microsecond else "seconds")
        return text.removesuffix("+00:00") + "Z"
    if isinstance(value, UUID):
        return str(value)
    return value
