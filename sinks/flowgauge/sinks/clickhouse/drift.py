"""Drift: where what ClickHouse has differs from what the schema files make. Pure.

`tables.json` is what they make, as ClickHouse tells it; a test holds it to the files. What operators add - columns,
indexes, settings, tables, a TTL of their own - is no drift. Each drift names its remedy.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import msgspec

from flowgauge.sinks.clickhouse.deployment import DATABASE, Deployment

MADE = "tables.json"
ANEW = "it cannot be altered: make the table anew and copy its rows"
# Of a table: what it has (in our database), and the queries of its views as this server writes them.
TABLES = (
    "SELECT name, engine, partition_key, sorting_key, primary_key, engine_full, create_table_query, "
    "if(as_select = '', '', formatQuerySingleLine(as_select)) AS query FROM system.tables "
    "WHERE database = {database:String} AND NOT startsWith(name, '.') ORDER BY name"
)
COLUMNS = (
    "SELECT table, name, type, default_kind, default_expression, compression_codec FROM system.columns "
    "WHERE database = {database:String} AND NOT startsWith(table, '.') ORDER BY table, position"
)
INDEXES = (
    "SELECT table, name, type_full, expr, granularity FROM system.data_skipping_indices "
    "WHERE database = {database:String} ORDER BY table, name"
)
REFORMAT = "SELECT formatQuerySingleLine({query:String})"

_SETTING = re.compile(r"(\w+) = ('[^']*'|[^,]+)")
_CONSTRAINT = re.compile(r"CONSTRAINT (\w+) CHECK (.+?)(?=, (?:CONSTRAINT|INDEX|PROJECTION) |\) ENGINE = )", re.DOTALL)
_SERVER_SETTINGS = {"index_granularity"}  # written into each table, whoever made it


class Made(msgspec.Struct, frozen=True):
    """One table or view. Keys, expressions and queries are as ClickHouse writes them."""

    engine: str
    partition_key: str = ""
    sorting_key: str = ""
    primary_key: str = ""
    query: str = ""
    columns: dict[str, str] = {}  # what stands behind the name in DDL
    indexes: dict[str, str] = {}
    constraints: dict[str, str] = {}
    settings: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference, and what ends it."""

    text: str
    remedy: str
    view: str = ""  # whose query differs: `schema apply` sets it right

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.text} ({self.remedy})"


def made_by_files() -> dict[str, Made]:
    """Return what the schema files make, by name."""
    text = (files("flowgauge.sinks.clickhouse") / MADE).read_bytes()
    return msgspec.json.decode(text, type=dict[str, Made])


def encode_made(tables: Mapping[str, Made]) -> str:
    """Return `tables` as the file keeps them: one thing a line."""
    told = {name: _without_empty(msgspec.to_builtins(table)) for name, table in sorted(tables.items())}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def made_of(
    tables: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]], indexes: Sequence[Mapping[str, Any]]
) -> dict[str, Made]:
    """Return what a server has, from its answers to TABLES, COLUMNS and INDEXES."""
    return {
        str(table["name"]): Made(
            engine=table["engine"],
            partition_key=table["partition_key"],
            sorting_key=table["sorting_key"],
            primary_key=table["primary_key"],
            query=table["query"],
            columns=_columns(table["name"], columns) if not table["query"] else {},
            indexes={
                each["name"]: f"{each['expr']} TYPE {each['type_full']} GRANULARITY {each['granularity']}"
                for each in indexes
                if each["table"] == table["name"]
            },
            constraints=dict(_CONSTRAINT.findall(table["create_table_query"])),
            settings=settings_in(table["engine_full"]),
        )
        for table in tables
    }


def settings_in(engine_full: str) -> dict[str, str]:
    """Return the settings that a table's `engine_full` names."""
    return {
        name: value.strip("' ")
        for name, value in _SETTING.findall(engine_full.partition(" SETTINGS ")[2])
        if name not in _SERVER_SETTINGS
    }


def with_query(table: Made, query: str) -> Made:
    """Return `table` with another query."""
    return msgspec.structs.replace(table, query=query)


def expected(deployment: Deployment) -> dict[str, Made]:
    """Return what the files make where `deployment` is, but for the names of databases in queries."""
    return {name: _as_there(table, deployment) for name, table in made_by_files().items()}


def drifts(wanted: Mapping[str, Made], found: Mapping[str, Made], database: str = DATABASE) -> list[Drift]:
    """Return each difference between `found` and what is `wanted`; queries of both are written by one server."""
    told: list[Drift] = []
    for name, table in wanted.items():
        if name not in found:
            remedy = "restore it, or run the statements that `flowgauge schema plan --all` tells of it"
            told.append(Drift(f"{database}.{name} is not there", remedy))
        else:
            told += _of_table(f"{database}.{name}", table, found[name])
    return told


def _of_table(name: str, wanted: Made, found: Made) -> Iterator[Drift]:
    for what in ("engine", "partition_key", "sorting_key", "primary_key"):
        want, has = getattr(wanted, what), getattr(found, what)
        if want != has:
            yield Drift(f"{name}: {what.replace('_', ' ')} is {has or 'none'}, not {want or 'none'}", ANEW)
    if wanted.query != found.query:
        remedy = "run `flowgauge schema apply`" if wanted.engine != "View" or found.query else ANEW
        yield Drift(f"{name}: its query is another", remedy, name.rpartition(".")[2])
    for column, want in wanted.columns.items():
        has = found.columns.get(column)
        if has is None:
            yield Drift(f"{name}: column {column} is missing", f"ALTER TABLE {name} ADD COLUMN {column} {want}")
        elif has != want:
            told = f"{name}: column {column} is {has}, not {want}"
            yield Drift(told, f"ALTER TABLE {name} MODIFY COLUMN {column} {want}")
    yield from _of_parts(name, "INDEX", wanted.indexes, found.indexes)
    yield from _of_parts(
        name,
        "CONSTRAINT",
        {each: f"CHECK {text}" for each, text in wanted.constraints.items()},
        {each: f"CHECK {text}" for each, text in found.constraints.items()},
    )
    for setting, value in wanted.settings.items():
        if found.settings.get(setting) != value:
            told = f"{name}: {setting} is {found.settings.get(setting, 'not set')}, not {value}"
            yield Drift(told, f"ALTER TABLE {name} MODIFY SETTING {setting} = {value}")


def _of_parts(name: str, kind: str, wanted: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Drift]:
    for part, text in wanted.items():
        if part not in found:
            yield Drift(f"{name}: {kind.lower()} {part} is missing", f"ALTER TABLE {name} ADD {kind} {part} {text}")
        elif found[part] != text:
            remedy = f"ALTER TABLE {name} DROP {kind} {part}, then ADD {kind} {part} {text}"
            yield Drift(f"{name}: {kind.lower()} {part} is {found[part]}", remedy)


def _as_there(table: Made, deployment: Deployment) -> Made:
    settings = {name: value for name, value in table.settings.items() if "deduplication_window" not in name}
    if len(settings) != len(table.settings):
        settings |= {name: str(value) for name, value in deployment.window_settings.items()}
    return msgspec.structs.replace(
        table,
        engine=deployment.expected_engine(table.engine),
        query=deployment.named(table.query),
        settings=settings,
    )


def _columns(table: str, columns: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {
        each["name"]: " ".join(
            str(each[part])
            for part in ("type", "default_kind", "default_expression", "compression_codec")
            if each[part]
        )
        for each in columns
        if each["table"] == table
    }


def _without_empty(told: object) -> object:
    if isinstance(told, dict):
        return {
            key: _without_empty(value)
            for key, value in cast("dict[str, object]", told).items()
            if value not in ("", {}, [])
        }
    return told
