"""The schema: numbered files of one statement each, applied in order, once.

A file that was applied is never edited: its digest is kept in `schema_versions`, and a difference refuses to start.
Every statement may be repeated (IF NOT EXISTS), so a crash between a statement and its version does no harm.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from flowgauge.schemas.errors import LogMismatch

BOOTSTRAP = 2  # the first files make the database and the table of versions
_TABLE_OF_TENANTS = re.compile(
    r"^CREATE TABLE IF NOT EXISTS flowgauge\.(\w+) \(\n(?:    .*\n)*?    tenant ", re.MULTILINE
)
# By the table that they read.
VIEWS_OF = {"flowgauge.events": ("runs_from_events", "run_ends_from_events", "failures_from_events")}
RUNS = "runs"  # what is told of one run stands in several rows of this table, until they are merged
INDEXES_OF = {"flowgauge.events": ("ix_words", "ix_resources")}  # that came after the table


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """One numbered statement."""

    version: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """Tell this text from any other."""
        return hashlib.sha256(self.sql.encode()).hexdigest()[:16]


def schema_files() -> list[SchemaFile]:
    """Return all files in order."""
    folder = files("flowgauge.sinks.clickhouse") / "schema"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [SchemaFile(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in names]


def backfill_target(table: str) -> str:
    """Tell what the views and indexes of `table` are made by from any other: a file that changes them changes this."""
    made = (*VIEWS_OF.get(table, ()), *INDEXES_OF.get(table, ()))
    digests = [file.digest for file in schema_files() if any(name in file.sql for name in made)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


@cache
def tenant_tables() -> tuple[str, ...]:
    """Return the tables whose rows are of a tenant, without the database: none of them is asked without a guard."""
    return tuple(name for file in schema_files() for name in _TABLE_OF_TENANTS.findall(file.sql))


def missing(wanted: Sequence[SchemaFile], applied: Mapping[int, str]) -> list[SchemaFile]:
    """Return the files to apply, given the digest of each applied version.

    Raises LogMismatch when an applied file has changed since, or the database is newer than this program.
    """
    newest = max((file.version for file in wanted), default=0)
    for version in applied.keys() - {file.version for file in wanted}:
        made_by = (
            "newer flowgauge that made it" if version > newest else "flowgauge that made it, or move the data away"
        )
        raise LogMismatch(
            f"the database has schema version {version}, which this flowgauge does not know: start the {made_by}"
        )
    for file in wanted:
        if applied.get(file.version, file.digest) != file.digest:
            raise LogMismatch(
                f"the schema file {file.name} is not the one that made this database: keep its tables by "
                "starting the flowgauge that made them, or move the data folder away"
            )
    return [file for file in wanted if file.version not in applied]
