"""What is asked of a month of events, and what is said of it."""

from dataclasses import replace

import pytest
from benchmarks.questions.alternatives import COLUMNS, ORDERS, QUESTIONS, SLICES, alternatives, asked_sql
from benchmarks.questions.askings import ALL, LARGEST, Facts, questions
from benchmarks.questions.figures import Asked, Compared, Kept, asked_of, quantile, tables, together
from benchmarks.questions.month import DAY_MS, START_MS
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.metrics import METRICS

FACTS = Facts(
    since_ms=START_MS,
    until_ms=START_MS + 30 * DAY_MS,
    tenant="team-00",
    flows=["extract-0000", "load-0001"],
    runs=["run-1", "run-2", "run-3"],
    tasks=["prefect.task-run.1"],
    marks=["ab12", "cd34"],
    customers=["of customer 1 done"],
    incidents=["ff"],
)
EVENTS = (
    "CREATE TABLE flowgauge.events (`id` UUID) ENGINE = MergeTree PARTITION BY toDate(occurred) "
    "ORDER BY (tenant, kind, toStartOfHour(occurred), run, occurred) TTL toDateTime(_append) SETTINGS x = 1"
)


def test_every_metric_is_asked_of_the_largest_tenant_and_of_all() -> None:
    found = questions(FACTS, 2)

    asked = {of: {question.metric for question in found if question.of == of} for of in (LARGEST, ALL)}
    alone = {name for name, metric in METRICS.items() if not metric.one_of}
    assert asked[LARGEST] >= alone
    assert asked[ALL] == {name for name in alone if not METRICS[name].of_one_tenant}
    assert {"timeline", "incidents", "incident"} <= {question.metric for question in found}
    assert {query.tenant for each in found for query in each.askings} == {"team-00", ANY_TENANT}
    assert len({(question.name, question.of) for question in found}) == len(found)


def test_no_two_askings_of_a_question_are_the_same() -> None:
    for question in questions(FACTS, 100):
        assert len({replace(query) for query in question.askings}) == 100, question.name


def test_later_askings_are_those_that_a_longer_list_has_there() -> None:
    assert [q.askings for q in questions(FACTS, 1, first=3)] == [q.askings[3:] for q in questions(FACTS, 4)]


def test_askings_stay_within_the_events_where_these_are_long_enough() -> None:
    for question in questions(FACTS, 100):
        for query in question.askings:
            assert query.until_ms <= FACTS.until_ms
            assert query.since_ms >= FACTS.since_ms or "56d" in question.name or question.name.startswith("timeline")


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_one_of_the_values_and_the_first_that_a_share_of_them_does_not_pass(
    values: list[float], share: float
) -> None:
    found = quantile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values)


def test_sums_are_told_as_means_and_the_first_trouble_as_it_is() -> None:
    line = asked_of(
        ("top, 7d", ALL),
        clients=16,
        took_ms=[3.0, 1.0, 2.0, 10.0],
        cpu_seconds=0.02,
        read=(400, 4_000),
        answer_rows=10,
        troubles=["code 159", "code 241"],
    )

    assert line == Asked(
        "top, 7d", ALL, 16, 4, 2.5, 10.0, 10.0, 5.0, 100, 1_000, answer_rows=2.5, troubles=2, trouble="code 159"
    )


def test_cold_askings_are_told_together() -> None:
    alone = [asked_of(("a", LARGEST), clients=1, took_ms=[ms], cpu_seconds=ms / 1e3, read=(2, 4)) for ms in (5, 1, 9)]

    assert together(alone) == Asked("a", LARGEST, 1, 3, 5.0, 9.0, 9.0, 5.0, 2, 4, is_cold=True)


def test_the_tables_have_a_row_a_question_a_column_and_an_alternative() -> None:
    warm = Asked("top, 7d", LARGEST, 1, 100, 12.3, 45.6, 50.0, 8.0, 1_000, 2_000_000)
    lines: list[Asked | Kept | Compared] = [
        warm,
        Asked("top, 7d", LARGEST, 16, 100, 99.0, 200.0, 201.0, 8.0, troubles=3),
        Asked("top, 7d", LARGEST, 1, 3, 300.0, 400.0, 400.0, 9.0, disk_bytes=5_000_000, is_cold=True),
        Kept("events", "", 10, 1_000, 100.0),
        Compared("slice", 10, 8.5, 0.5, p50_ms={"needle": 7.0}),
    ]

    found = tables(lines)

    assert found["largest"].splitlines()[2] == (
        "| top, 7d | 12 | 46 | 8.0 | 1,000 | 2.0 | 99 (3 of 100 gave up) | 200 | 300 | 400 | 5.0 |"
    )
    assert found["bytes"].splitlines()[2] == "| events | **all** | 10 | 0.0 | 100.00 |"
    assert found["alternatives"].splitlines()[2] == "| slice | 10 | 8.50 | 0.00 | 0.50 | 0.00 | 7 |"


def test_every_alternative_is_a_table_of_its_own() -> None:
    found = alternatives(EVENTS, "id, tenant")

    assert len(found) == len(ORDERS) + len(SLICES) + sum(map(len, COLUMNS.values()))
    assert len({each.table for each in found}) == len({each.create for each in found}) == len(found)
    assert all(each.table in each.create and each.table in each.insert for each in found)


def test_a_table_of_events_without_a_known_key_is_told() -> None:
    with pytest.raises(ValueError, match="no key that could be another"):
        alternatives("CREATE TABLE flowgauge.events (`id` UUID) ENGINE = Memory", "id")


def test_a_needle_is_asked_by_the_index_that_the_table_has() -> None:
    by_name = {each.name: each for each in alternatives(EVENTS, "id")}

    assert "hasAllTokens" in asked_sql("needle", by_name["slice, text index"])
    assert "hasToken" in asked_sql("needle", by_name["slice, token bloom"])
    assert all("{table}" not in asked_sql(name, by_name["slice"]) for name in QUESTIONS)
