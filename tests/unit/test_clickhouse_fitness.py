"""Whether a server keeps what the sink relies on: one line with the remedy for all that it does not."""

from typing import Any

import pytest

from flowgauge.sinks.clickhouse.deployment import Deployment
from flowgauge.sinks.clickhouse.fitness import (
    clock_problems,
    cluster_problems,
    database_problems,
    user_problems,
    window_problems,
)

ONE, MAIN, CLOUD = Deployment(), Deployment("main"), Deployment("cloud")
WINDOW = "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192"
SHARED = (
    "MergeTree('/x', '{replica}') ORDER BY a SETTINGS replicated_deduplication_window = 10000, "
    "replicated_deduplication_window_seconds = 604800"
)


def setting(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "value": "1", "readonly": "0", "least": "", "most": "", **more}


def table(name: str, engine: str = "MergeTree", engine_full: str = WINDOW, **more: object) -> dict[str, Any]:
    told = {"database": "flowgauge", "name": name, "engine": engine, "engine_full": engine_full}
    return {"create_table_query": "", "views": [], **told, **more}


def view(name: str, target: str, database: str = "flowgauge") -> dict[str, Any]:
    query = f"CREATE MATERIALIZED VIEW {database}.{name} TO {target} (`a` Int8) AS FROM flowgauge.events SELECT a"
    return table(name, "MaterializedView", "MaterializedView", database=database, create_table_query=query)


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        ([setting("async_insert", value="0")], []),
        ([setting("async_insert", value="0", readonly="1")], []),
        ([setting("async_insert", least="0", most="1")], []),
        (
            [setting("async_insert", readonly="1")],
            ["the user may not set async_insert (allow it in its settings profile, or set it to 0 there)"],
        ),
        (
            [setting("async_insert", least="1")],
            ["the user may set async_insert only to 1 to …, not to 0 (widen it in its settings profile)"],
        ),
        ([], ["it does not know the setting async_insert (use a version of ClickHouse that flowgauge knows)"]),
    ],
)
def test_a_setting_that_the_user_may_not_send_is_told(told: list[dict[str, object]], lines: list[str]) -> None:
    assert [str(problem) for problem in user_problems({"async_insert": 0}, told, 0)] == lines


def test_a_user_who_may_only_read_is_told_once() -> None:
    (problem,) = user_problems({"async_insert": 0, "max_threads": 1}, [], 1)

    assert str(problem) == (
        "the user may only read (readonly = 1) "
        "(give it a settings profile with readonly = 0: inserts bring their settings along)"
    )


@pytest.mark.parametrize(
    ("server_ms", "told"),
    [
        (1_000_000, []),
        (940_000, []),
        (1_070_000, []),
        (900_000, ["its clock is 100 s behind ours"]),
        (1_200_000, ["its clock is 190 s ahead of ours"]),
    ],
)
def test_a_clock_that_is_wrong_is_told_and_refuses_nothing(server_ms: int, told: list[str]) -> None:
    found = clock_problems(server_ms, 1_000_000, 1_010_000)

    assert [problem.text for problem in found] == told
    assert not any(problem.is_fatal for problem in found)


@pytest.mark.parametrize(
    ("engine", "deployment", "count"),
    [
        ("", ONE, 0),
        ("Atomic", ONE, 0),
        ("Atomic", MAIN, 0),
        ("Shared", CLOUD, 0),
        ("Replicated", CLOUD, 0),
        ("Ordinary", ONE, 1),
        ("Overlay", ONE, 1),
        ("Replicated", MAIN, 1),
    ],
)
def test_a_database_that_cannot_keep_the_tables_is_told(engine: str, deployment: Deployment, count: int) -> None:
    assert len(database_problems(engine, deployment)) == count


@pytest.mark.parametrize(
    ("clusters", "macros", "text"),
    [
        ([{"cluster": "main", "shards": 1}], ["shard", "replica"], ""),
        ([{"cluster": "other", "shards": 1}], ["shard", "replica"], "it knows no cluster 'main'"),
        ([{"cluster": "main", "shards": 2}], ["shard", "replica"], "the cluster main has 2 shards"),
        ([{"cluster": "main", "shards": 1}], ["shard"], "its configuration has no macro replica"),
        ([{"cluster": "main", "shards": 1}], [], "its configuration has no macro shard and no replica"),
    ],
)
def test_a_cluster_that_is_not_one_of_replicas_is_told(
    clusters: list[dict[str, Any]], macros: list[str], text: str
) -> None:
    assert [problem.text for problem in cluster_problems(MAIN, clusters, macros)] == [text] * bool(text)
    assert cluster_problems(ONE, [], []) == []


def test_tables_that_remember_tokens_are_fit() -> None:
    told = [table("events", views=[("flowgauge", "v")]), view("v", "flowgauge.runs"), table("runs")]

    assert window_problems(ONE, told, ["events"]) == []


def test_a_table_and_the_target_of_a_view_that_forget_tokens_are_told() -> None:
    bare = "MergeTree ORDER BY a SETTINGS index_granularity = 8192"
    small = "AggregatingMergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 5"
    told = [
        table("events", engine_full=bare, views=[("flowgauge", "v")]),
        view("v", "flowgauge.runs"),
        table("runs", "AggregatingMergeTree", small),
    ]

    first, second = map(str, window_problems(ONE, told, ["events"]))
    assert first == (
        "flowgauge.events may count a repeated batch twice: non_replicated_deduplication_window is not set "
        "(ALTER TABLE flowgauge.events MODIFY SETTING non_replicated_deduplication_window = 10000)"
    )
    assert second == (
        "flowgauge.runs may count a repeated batch twice: non_replicated_deduplication_window is 5 "
        "(ALTER TABLE flowgauge.runs MODIFY SETTING non_replicated_deduplication_window = 10000)"
    )


def test_a_view_of_others_is_told_and_refuses_nothing() -> None:
    bare = table("counts", engine_full="MergeTree ORDER BY a", database="theirs")
    told = [table("events", views=[("theirs", "v")]), view("v", "theirs.counts", "theirs"), bare]

    (problem,) = window_problems(ONE, told, ["events"])

    assert problem.text.startswith("theirs.counts may count a repeated batch twice")
    assert not problem.is_fatal


def test_views_of_views_are_followed() -> None:
    bare = table("second", engine_full="MergeTree ORDER BY a")
    first = table("first", views=[("flowgauge", "w")])
    told = [table("events", views=[("flowgauge", "v")]), view("v", "flowgauge.first"), first]
    told += [view("w", "flowgauge.second"), bare]

    assert [problem.text.split()[0] for problem in window_problems(ONE, told, ["events"])] == ["flowgauge.second"]


@pytest.mark.parametrize("deployment", [MAIN, CLOUD])
def test_replicated_tables_are_judged_by_their_own_windows(deployment: Deployment) -> None:
    engine = deployment.expected_engine("MergeTree")
    hour = SHARED.replace("604800", "3600")

    assert window_problems(deployment, [table("events", engine, SHARED)], ["events"]) == []
    (problem,) = window_problems(deployment, [table("events", engine, hour)], ["events"])
    assert "replicated_deduplication_window_seconds is 3600" in problem.text


@pytest.mark.parametrize(
    ("deployment", "engine", "text"),
    [
        (ONE, "ReplicatedMergeTree", "flowgauge.events is replicated and clickhouse.cluster is empty"),
        (MAIN, "MergeTree", "flowgauge.events is not replicated and clickhouse.cluster names a cluster"),
    ],
)
def test_a_setting_that_says_other_than_the_tables_is_told(deployment: Deployment, engine: str, text: str) -> None:
    assert [problem.text for problem in window_problems(deployment, [table("events", engine)], ["events"])] == [text]
