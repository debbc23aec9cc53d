"""The tables as they are applied. `FLOWGAUGE_GOLDEN=write pytest …` writes the golden files anew."""

import os
import re
from pathlib import Path

import pytest

from flowgauge.schemas.errors import LogMismatch
from flowgauge.sinks.clickhouse.drift import MADE, encode_made
from flowgauge.sinks.clickhouse.schema import VIEWS_OF, SchemaFile, missing, schema_files
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "ddl.sql"
TABLES = ROOT / "sinks" / "flowgauge" / "sinks" / "clickhouse" / MADE


async def test_the_tables_are_those_of_the_golden_file(store: ClickHouseStore) -> None:
    found = await store.query(
        "SELECT create_table_query FROM system.tables WHERE database = 'flowgauge' AND NOT startsWith(name, '.') "
        "ORDER BY name",
        seen=EVERY_TENANT,
    )
    text = "".join(f"{readable(str(query))};\n\n" for query in found.column("create_table_query"))

    if os.environ.get("FLOWGAUGE_GOLDEN") == "write":
        GOLDEN.write_text(text, "utf-8")
    assert GOLDEN.read_text("utf-8") == text


def test_what_check_compares_with_is_what_the_files_make(store: ClickHouseStore) -> None:
    text = encode_made(store.tables_made())

    if os.environ.get("FLOWGAUGE_GOLDEN") == "write":
        TABLES.write_text(text, "utf-8")
    assert TABLES.read_text("utf-8") == text


def readable(query: str) -> str:
    """One column a line, so that a change reads as one."""
    return re.sub(r" (ENGINE|PARTITION BY|ORDER BY|TTL|SETTINGS|FROM|AS SELECT) ", r"\n\1 ", query).replace(
        ", `", ",\n    `"
    )


def test_applying_again_changes_nothing(store: ClickHouseStore) -> None:
    assert store.apply_schema() == []


async def test_every_table_that_rows_go_into_drops_repeated_tokens(store: ClickHouseStore) -> None:
    """A view's target without a window would count a replayed batch twice."""
    found = await store.query(
        "SELECT name FROM system.tables WHERE database = 'flowgauge' AND engine LIKE '%MergeTree' "
        "AND name NOT IN ('schema_versions', 'erased_tenants') "
        "AND engine_full NOT LIKE '%non_replicated_deduplication_window = 10000%'",
        seen=EVERY_TENANT,
    )

    assert found.rows == []


def test_all_our_views_are_folded_again_after_a_crash() -> None:
    """A view that nobody heals may lack rows for ever."""
    made = re.compile(r"CREATE MATERIALIZED VIEW IF NOT EXISTS flowgauge\.(\w+) .*?FROM (flowgauge\.\w+)", re.DOTALL)

    found = [view for file in schema_files() for view in made.findall(file.sql)]

    assert sorted(found) == sorted((view, table) for table, views in VIEWS_OF.items() for view in views)


def test_each_file_has_a_number_of_its_own() -> None:
    versions = [file.version for file in schema_files()]

    assert versions == sorted(set(versions))


def test_an_edited_file_and_a_newer_database_are_refused() -> None:
    first, second = SchemaFile(1, "0001_a.sql", "SELECT 1"), SchemaFile(2, "0002_b.sql", "SELECT 2")

    assert missing([first, second], {1: first.digest}) == [second]
    with pytest.raises(LogMismatch, match=r"0001_a\.sql is not the one that made this database"):
        missing([first, second], {1: "another"})
    with pytest.raises(LogMismatch, match="has schema version 3"):
        missing([first, second], {1: first.digest, 2: second.digest, 3: "x"})
