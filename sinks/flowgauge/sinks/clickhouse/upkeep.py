"""Upkeep: plans, applies and checks the tables of one ClickHouse, and asks whether it is fit for them. Blocks.

    look whether it is fit ► make what is missing, file by file ► set right the views that differ ► look at the windows

Applying may be repeated and may run in several processes at once: every statement may be repeated, each process looks
again before each file what the others have noted, and a process that was slow and put an older query into a view is
set right at the end, and at the latest when the next process starts. A crash between a statement and its note repeats
the statement.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import structlog

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.sinks.clickhouse import drift, fitness
from flowgauge.sinks.clickhouse.call_settings import FOLD_SETTINGS, LOOK_SETTINGS, QUERY_SETTINGS, insert_settings
from flowgauge.sinks.clickhouse.client import ERRORS, Client, trouble_of, version_of
from flowgauge.sinks.clickhouse.deployment import Deployment, refuse_unsynced
from flowgauge.sinks.clickhouse.drift import Drift
from flowgauge.sinks.clickhouse.errors import GRANT
from flowgauge.sinks.clickhouse.fitness import Problem
from flowgauge.sinks.clickhouse.migrations import Step, definition_of, refuse_losses, steps
from flowgauge.sinks.clickhouse.rows import SPECS
from flowgauge.sinks.clickhouse.schema import BOOTSTRAP, SchemaFile, missing, schema_files
from flowgauge.transport.wall_clock import now_ms

SOURCES = (*(spec.table.partition(".")[2] for spec in SPECS), "clocks")  # what the sink inserts into
VERSIONS = "flowgauge.schema_versions"
THERE = "SELECT name FROM system.tables WHERE database = {database:String} AND name = 'schema_versions'"
APPLIED = "SELECT version, digest FROM flowgauge.schema_versions FINAL"
ROWS = "SELECT name, ifNull(total_rows, 0) AS rows FROM system.tables WHERE database = {database:String}"

log_lines = structlog.get_logger(__name__)


class Upkeep:
    """Looks after the tables. `client` may wait as long as an insert; `is_server` where others decide its settings."""

    def __init__(self, client: Client, deployment: Deployment, *, is_server: bool) -> None:
        self._client = client
        self._deployment = deployment
        self._is_server = is_server

    def plan(self, *, everything: bool = False) -> list[Step]:
        """Return what `apply` would run, in order; `everything`: as if nothing were there. Changes nothing.

        Raises LogMismatch as `apply` does, InvariantBroken when a file would lose data.
        """
        try:
            rows = {str(each["name"]): int(each["rows"]) for each in self._ask(ROWS, self._of_database)}
            files = schema_files() if everything else missing(schema_files(), self._applied())
        except ERRORS as error:
            raise no_tables(error) from error
        return steps(files, self._deployment, rows)

    def apply(self) -> list[str]:
        """Apply the schema files that are missing; return their names.

        Raises LogMismatch when other files made the tables, BadEnvironment when the server is not fit or cannot.
        """
        applied: list[str] = []
        try:
            self._refuse_unfit(self._problems_before())
            # Nothing is run where nothing is missing: a replica that is away would end the start of all.
            for file in schema_files()[: 0 if self._ask(THERE, self._of_database) else BOOTSTRAP]:
                self._run(file)
            while todo := missing(schema_files(), self._noted()):
                self._run(todo[0])
                self._note_version(todo[0])
                applied.append(todo[0].name)
            self._mend_views()
            self._refuse_unfit(self._problems_after())
        except ERRORS as error:
            raise no_tables(error) from error
        return applied

    def missing(self) -> list[SchemaFile]:
        """Return the schema files that `apply` would apply. Raises as `apply`."""
        try:
            return missing(schema_files(), self._applied())
        except ERRORS as error:
            raise no_tables(error) from error

    def check(self) -> list[str]:
        """Return a line for all that is not as it should be: files, tables, server and user. Changes nothing."""
        try:
            unfit = self._problems_before()
            todo = missing(schema_files(), self._applied())
            found: list[Drift | Problem] = [] if todo else [*self._drifts(), *self._problems_after()]
        except ERRORS as error:
            raise no_tables(error) from error
        return [*(f"missing {file.name}" for file in todo), *map(str, unfit), *map(str, found)]

    def _run(self, file: SchemaFile) -> None:
        refuse_losses(file)
        settings = dict(self._deployment.ddl_settings)
        self._client.command(self._deployment.statement(file.sql), settings=settings)

    def _note_version(self, file: SchemaFile) -> None:
        self._client.command(
            self._deployment.named(
                "INSERT INTO flowgauge.schema_versions SELECT {version:UInt32}, {name:String}, {digest:String}, "
                "fromUnixTimestamp64Milli({ms:Int64}, 'UTC')"
            ),
            parameters={"version": file.version, "name": file.name, "digest": file.digest, "ms": now_ms()},
            settings=dict(self._deployment.insert_settings),
        )

    def _applied(self) -> dict[int, str]:
        """Return the digest of each applied version; none where there are no tables yet."""
        return self._noted() if self._ask(THERE, self._of_database) else {}

    def _noted(self) -> dict[int, str]:
        synchronize(self._client, self._deployment, self._deployment.named(VERSIONS))
        found = self._ask(self._deployment.named(APPLIED), settings=self._deployment.look_settings)
        return {int(each["version"]): str(each["digest"]) for each in found}

    def _mend_views(self) -> None:
        """Give views whose query differs the newest one again: a slower process may have put an older one there."""
        for found in self._drifts():
            file = definition_of(found.view, schema_files()) if found.view else None
            if file is not None:
                log_lines.warning("a view asked something else, and is set right", view=found.view, file=file.name)
                self._run(file)

    def _drifts(self) -> list[Drift]:
        wanted = drift.expected(self._deployment)
        for name, table in wanted.items():
            if table.query:  # as this server writes it: the words of versions differ
                (told,) = self._ask(drift.REFORMAT, query=table.query)
                wanted[name] = drift.with_query(table, str(*told.values()))
        return drift.drifts(wanted, self.made(), self._deployment.database)

    def made(self) -> dict[str, drift.Made]:
        """Return what tables and views there are."""
        tables, columns, indexes = (
            self._ask(sql, self._of_database) for sql in (drift.TABLES, drift.COLUMNS, drift.INDEXES)
        )
        return drift.made_of(tables, columns, indexes)

    def _problems_before(self) -> list[Problem]:
        if not self._is_server:
            return []
        before_ms = now_ms()
        ((readonly, server_ms),) = (each.values() for each in self._ask(fitness.READONLY))
        sent = {
            **QUERY_SETTINGS,
            **LOOK_SETTINGS,
            **FOLD_SETTINGS,
            **insert_settings(version_of(self._client.server_version)),
            **self._deployment.insert_settings,
            **self._deployment.look_settings,
            **self._deployment.ddl_settings,
        }
        engine = "".join(str(each["engine"]) for each in self._ask(fitness.DATABASE_ENGINE, self._of_database))
        is_cluster = self._deployment.is_cluster
        return [
            *fitness.user_problems(sent, self._ask(fitness.SETTINGS, names=list(sent)), int(readonly)),
            *fitness.clock_problems(int(server_ms), before_ms, now_ms()),
            *fitness.database_problems(engine, self._deployment),
            *fitness.cluster_problems(
                self._deployment,
                self._ask(fitness.CLUSTER) if is_cluster else [],
                [str(each["macro"]) for each in self._ask(fitness.MACROS_THERE)] if is_cluster else [],
            ),
        ]

    def _problems_after(self) -> list[Problem]:
        return fitness.window_problems(self._deployment, self._ask(fitness.INSERTED, self._of_database), SOURCES)

    def _refuse_unfit(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            if not problem.is_fatal:
                log_lines.warning("ClickHouse", problem=problem.text, remedy=problem.remedy)
        fatal = [f"ClickHouse: {problem}" for problem in problems if problem.is_fatal]
        if fatal:
            raise BadEnvironment("\n".join(fatal))

    @property
    def _of_database(self) -> Mapping[str, object]:
        return {"database": self._deployment.database}

    def _ask(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        **more: object,
    ) -> list[dict[str, Any]]:
        bound = {**(parameters or {}), **more}
        result = self._client.query(sql, parameters=bound, settings=dict(settings or {}))
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


def synchronize(client: Client, deployment: Deployment, table: str) -> None:
    """Let each replica have what is stored of `table`; nothing where a look sees all anyway.

    Raises EngineTrouble when a replica lags or most are away, and what the client raises.
    """
    if statement := deployment.sync(table):
        answer = client.command(statement, settings=dict(deployment.sync_settings))
        told = "\t".join(cast("list[str]", answer)) if isinstance(answer, list) else str(answer)
        refuse_unsynced(told.splitlines())


def no_tables(error: Exception) -> BadEnvironment:
    """Return why the tables cannot be looked at or made, and what is to be done."""
    trouble = trouble_of(error)
    said = f"the tables cannot be looked at or made: {trouble}"
    if trouble.kind == "person" and not str(trouble).endswith(GRANT):
        return BadEnvironment(said)  # it says itself what is to be done
    return BadEnvironment(f"{said} (let the user CREATE, ALTER, DROP VIEW, INSERT and SELECT there)")
