"""What schema files cost and lose: ours lose nothing, and one that would is refused."""

import pytest

from flowgauge.schemas.errors import InvariantBroken
from flowgauge.sinks.clickhouse.deployment import Deployment
from flowgauge.sinks.clickhouse.migrations import Cost, cost_of, definition_of, losses_of, refuse_losses, steps
from flowgauge.sinks.clickhouse.schema import SchemaFile, schema_files

LOSSES = [
    "ALTER TABLE flowgauge.events DROP COLUMN payload",
    "ALTER TABLE flowgauge.events DROP PARTITION '2026-01-01'",
    "DROP TABLE flowgauge.events",
    "drop table if exists flowgauge.events",
    "DROP DATABASE flowgauge",
    "DROP VIEW flowgauge.runs_from_events",
    "TRUNCATE TABLE flowgauge.events",
    "DELETE FROM flowgauge.events WHERE tenant = 'x'",
    "ALTER TABLE flowgauge.events DELETE WHERE tenant = 'x'",
    "ALTER TABLE flowgauge.events UPDATE run = '' WHERE 1",
    "ALTER TABLE flowgauge.events CLEAR COLUMN payload",
    "ALTER TABLE flowgauge.events DETACH PARTITION '2026-01-01'",
    "ALTER TABLE flowgauge.events MODIFY COLUMN _offset UInt32",
    "ALTER TABLE flowgauge.events MODIFY TTL toDateTime(_append) + INTERVAL 1 DAY",
    "CREATE OR REPLACE TABLE flowgauge.events (a Int8) ENGINE = MergeTree ORDER BY a",
    "RENAME TABLE flowgauge.events TO flowgauge.gone",
]


@pytest.mark.parametrize("file", schema_files(), ids=lambda file: file.name)
def test_no_file_of_ours_loses_data(file: SchemaFile) -> None:
    refuse_losses(file)


@pytest.mark.parametrize("sql", LOSSES)
def test_what_loses_data_is_refused_unless_the_file_says_why(sql: str) -> None:
    meant = SchemaFile(90, "0090_meant.sql", f"-- loses: what nobody ever asked for\n{sql}")

    with pytest.raises(InvariantBroken, match=r"0090_lost\.sql may lose data: "):
        steps([SchemaFile(90, "0090_lost.sql", sql)], Deployment(), {})

    (step,) = steps([meant], Deployment(), {})
    assert step.loses == "what nobody ever asked for"
    assert "-- LOSES DATA: what nobody ever asked for" in str(step)


def test_a_comment_and_the_ttl_of_a_new_table_lose_nothing() -> None:
    assert losses_of("-- Never DROP TABLE here.\nALTER TABLE flowgauge.events ADD COLUMN a Int8 -- DELETE") == []
    assert (
        losses_of("CREATE TABLE flowgauge.a (b Int8)\nTTL toDateTime(b) + INTERVAL 1 DAY DELETE\nSETTINGS c = 1") == []
    )


@pytest.mark.parametrize(
    ("sql", "cost"),
    [
        ("CREATE TABLE IF NOT EXISTS flowgauge.a (b Int8)", "new"),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS flowgauge.a TO flowgauge.b AS SELECT 1", "new"),
        ("-- Again.\nCREATE OR REPLACE VIEW flowgauge.a AS SELECT 1", "query"),
        ("ALTER TABLE flowgauge.a MODIFY QUERY SELECT 1", "query"),
        ("ALTER TABLE flowgauge.a ADD COLUMN IF NOT EXISTS b Int8", "note"),
        ("ALTER TABLE flowgauge.a ADD INDEX IF NOT EXISTS b c TYPE minmax", "note"),
        ("ALTER TABLE flowgauge.a MATERIALIZE INDEX b", "rewrite"),
        ("ALTER TABLE flowgauge.a MODIFY COLUMN b Int64", "rewrite"),
    ],
)
def test_the_cost_of_a_statement_is_known(sql: str, cost: Cost) -> None:
    assert cost_of(sql) == cost


def test_a_step_tells_its_statement_and_the_rows_of_its_table() -> None:
    file = SchemaFile(90, "0090_more.sql", "-- Why.\nALTER TABLE flowgauge.runs MATERIALIZE COLUMN flow\n")

    (step,) = steps([file], Deployment("main", "staging"), {"runs": 12_345})

    assert str(step) == (
        "-- 0090_more.sql: rewrites the parts of the table (runs: 12,345 rows)\n"
        "ALTER TABLE staging.runs ON CLUSTER `main` MATERIALIZE COLUMN flow;"
    )


def test_a_view_is_set_right_by_the_newest_file_that_can_be_run_again() -> None:
    files = schema_files()

    newest = definition_of("runs_final", files)

    assert newest is not None
    assert newest.version == max(file.version for file in files if "VIEW flowgauge.runs_final" in file.sql)
    assert definition_of("run_ends_from_events", files) is None
    assert definition_of("nothing", files) is None
