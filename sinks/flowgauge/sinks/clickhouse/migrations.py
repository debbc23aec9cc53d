"""Migrations: what each schema file does to tables that have rows, and that none of them loses any. Pure.

CREATE …                                     makes something new
CREATE OR REPLACE VIEW, ALTER … MODIFY QUERY  changes what is asked or folded from now on
ALTER … ADD COLUMN | INDEX                    a note in the table: parts of before have the default, or no index
ALTER … MATERIALIZE, MODIFY                   rewrites parts
DROP, TRUNCATE, DELETE, …                     loses data: refused, unless the file says `-- loses: WHY`
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import InvariantBroken
from flowgauge.sinks.clickhouse.deployment import DATABASE, Deployment
from flowgauge.sinks.clickhouse.schema import SchemaFile

Cost = Literal["new", "query", "note", "rewrite"]
SAYS: Mapping[Cost, str] = {
    "new": "makes something new",
    "query": "changes what is asked or folded from now on, no row is touched",
    "note": "adds to the table's definition, no row is rewritten",
    "rewrite": "rewrites the parts of the table",
}

_COMMENT = re.compile(r"--[^\n]*")
_LOSES = re.compile(r"^-- loses: (\S.*)$", re.MULTILINE)
_LOSSES = (
    r"DROP (?:TABLE|DATABASE|COLUMN|PARTITION|PART|VIEW|DETACHED)\b",
    r"TRUNCATE\b",
    r"DELETE\b(?! *$)",
    r"\bUPDATE\b",
    r"CLEAR COLUMN\b",
    r"DETACH\b",
    r"REPLACE PARTITION\b",
    r"MOVE PARTITION\b",
    r"CREATE OR REPLACE TABLE\b",
    r"EXCHANGE TABLES\b",
    r"RENAME\b",
    r"MODIFY TTL\b",
    r"MODIFY COLUMN\b",  # the checker cannot tell a wider type from a narrower one
)
_REWRITES = re.compile(r"\bMATERIALIZE\b|\bMODIFY (?:COLUMN|ORDER BY|TTL)\b|\bUPDATE\b|\bDELETE\b")
_CODEC = re.compile(r"\bMODIFY COLUMN \w+ CODEC\(")  # of the type and rows nothing changes; new parts are packed so
_TARGET = re.compile(
    rf"(?:CREATE|ALTER) (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW)(?: IF NOT EXISTS)? {DATABASE}\.(\w+)"
)
_TTL_DELETE = re.compile(r"(TTL [^\n]+?) DELETE$", re.MULTILINE)  # of a table that is made: no loss


@dataclass(frozen=True, slots=True)
class Step:
    """One file that is to be applied."""

    file: SchemaFile
    statement: str  # as it goes out
    cost: Cost
    table: str  # what it makes or changes, "" for the database
    rows: int  # in that table now; 0 for a view
    loses: str  # why it may lose data, "" when it loses none

    def __str__(self) -> str:
        """Return the statement with a comment before it that says what it costs."""
        rows = f" ({self.table}: {counted(self.rows, 'row')})" if self.cost in {"note", "rewrite"} else ""
        loses = f"\n-- LOSES DATA: {self.loses}" if self.loses else ""
        return f"-- {self.file.name}: {SAYS[self.cost]}{rows}{loses}\n{_told(self.statement)};"


def steps(files: Sequence[SchemaFile], deployment: Deployment, rows: Mapping[str, int]) -> list[Step]:
    """Return what applying `files` does to tables that hold `rows`; raise InvariantBroken when one would lose data."""
    for file in files:
        refuse_losses(file)
    return [
        Step(
            file,
            deployment.statement(file.sql),
            cost_of(file.sql),
            target_of(file.sql),
            rows.get(target_of(file.sql), 0),
            _mark(file.sql),
        )
        for file in files
    ]


def refuse_losses(file: SchemaFile) -> None:
    """Raise InvariantBroken when the statement of `file` may lose data and the file does not say why."""
    found = losses_of(file.sql)
    if found and not _mark(file.sql):
        raise InvariantBroken(
            f"the schema file {file.name} may lose data: {', '.join(found)} (where that is meant, "
            "the file says why in a line `-- loses: …`)"
        )


def losses_of(sql: str) -> list[str]:
    """Return the words of `sql` that may lose data."""
    bare = _CODEC.sub("", _TTL_DELETE.sub(r"\1", _COMMENT.sub("", sql)))
    return [found[0] for loss in _LOSSES for found in re.finditer(loss, bare, re.IGNORECASE | re.MULTILINE)]


def cost_of(sql: str) -> Cost:
    """Return what `sql` does to rows that are there."""
    bare = _CODEC.sub("", _COMMENT.sub("", sql)).strip()
    if bare.startswith("CREATE OR REPLACE VIEW") or " MODIFY QUERY" in bare:
        return "query"
    if bare.startswith("CREATE"):
        return "new"
    return "rewrite" if _REWRITES.search(bare) else "note"


def target_of(sql: str) -> str:
    """Return the table or view that `sql` makes or changes, "" for the database."""
    found = _TARGET.search(_COMMENT.sub("", sql))
    return found[1] if found else ""


def definition_of(view: str, files: Sequence[SchemaFile]) -> SchemaFile | None:
    """Return the newest file that says what `view` asks or folds, if running it again makes the view so."""
    newest = [file for file in files if target_of(file.sql) == view][-1:]
    return newest[0] if newest and cost_of(newest[0].sql) == "query" else None


def _mark(sql: str) -> str:
    found = _LOSES.search(sql)
    return found[1] if found else ""


def _told(statement: str) -> str:
    return "\n".join(line for line in statement.strip().splitlines() if not line.startswith("--"))
