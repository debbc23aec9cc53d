"""What goes out to a cluster and to ClickHouse Cloud. `FLOWGAUGE_GOLDEN=write pytest …` writes the files anew."""

import os
from pathlib import Path

import pytest

from flowgauge.sinks.clickhouse.deployment import CLOUD, Deployment, refuse_unsynced
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.migrations import steps
from flowgauge.sinks.clickhouse.schema import schema_files

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize(("cluster", "name"), [("main", "ddl.cluster.sql"), (CLOUD, "ddl.cloud.sql")])
def test_the_statements_are_those_of_the_golden_file(cluster: str, name: str) -> None:
    text = "\n\n".join(map(str, steps(schema_files(), Deployment(cluster, "observability"), {}))) + "\n"

    if os.environ.get("FLOWGAUGE_GOLDEN") == "write":
        (GOLDEN / name).write_text(text, "utf-8")
    assert (GOLDEN / name).read_text("utf-8") == text


def test_each_statement_goes_to_all_replicas_of_a_cluster() -> None:
    """A form that the rewriting does not know would be made on one replica alone."""
    for step in steps(schema_files(), Deployment("main"), {}):
        assert step.statement.count("ON CLUSTER `main`") == 1, step.file.name


def test_each_table_of_a_cluster_is_replicated_and_remembers_tokens_for_a_week() -> None:
    for step in steps(schema_files(), Deployment("main"), {}):
        assert ("MergeTree" in step.statement) == ("ENGINE = Replicated" in step.statement), step.file.name
        assert "non_replicated" not in step.statement
        if "deduplication_window" in step.statement:
            assert "replicated_deduplication_window_seconds = 604800" in step.statement


def test_one_server_gets_the_files_as_they_are() -> None:
    assert [step.statement for step in steps(schema_files(), Deployment(), {})] == [file.sql for file in schema_files()]


def test_a_database_of_another_name_stands_in_every_statement() -> None:
    for step in steps(schema_files(), Deployment(database="staging"), {}):
        assert "flowgauge" not in step.statement, step.file.name


def test_only_a_cluster_needs_its_replicas_to_be_synchronized() -> None:
    assert Deployment().sync("flowgauge.events") == ""
    assert Deployment(CLOUD).sync("flowgauge.events") == ""
    assert (
        Deployment("main").sync("flowgauge.events")
        == "SYSTEM SYNC REPLICA ON CLUSTER `main` flowgauge.events LIGHTWEIGHT"
    )


DONE, AWAY, LAGS = "a\t9000\t0\t\t2\t0", "b\t9000\t\\N\t\\N\t1\t0", "c\t9000\t\\N\t\\N\t1\t1"


@pytest.mark.parametrize("answer", [[DONE], [DONE, DONE], [DONE, DONE, AWAY], [DONE] * 3 + [AWAY] * 2])
def test_a_look_may_follow_when_most_replicas_have_all_and_the_rest_is_away(answer: list[str]) -> None:
    refuse_unsynced(answer)


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ([DONE, DONE, LAGS], "replica c lags, so nobody can say what is stored"),
        ([DONE, AWAY], "1 of 2 replicas answer, and a majority must"),
        ([DONE, AWAY, AWAY], "1 of 3 replicas answer, and a majority must"),
        ([], "0 of 0 replicas answer, and a majority must"),
        (["None"], "0 of 0 replicas answer, and a majority must"),
    ],
)
def test_nobody_looks_where_rows_may_be_missing(answer: list[str], trouble: str) -> None:
    with pytest.raises(EngineTrouble, match=trouble):
        refuse_unsynced(answer)
