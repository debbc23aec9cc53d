"""OpenLineage's events in flowgauge's words: what each field becomes, and what odd input becomes."""

import tracemalloc
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.openlineage import ASSETS_MAX, made_of, makes
from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import RELATED_MAX, Event
from flowgauge.schemas.times import parse_time_ms

encode = msgspec.json.Encoder().encode
TIME = "2026-11-30T05:00:07.123456+01:00"
NOW_MS = parse_time_ms("2026-11-30T04:01:00Z")
RUN = "018f3c2e-7b1a-7c3d-8e4f-000000000001"
PARENT = "018f3c2e-7b1a-7c3d-8e4f-000000000002"
ROOT = "018f3c2e-7b1a-7c3d-8e4f-000000000003"
AIRFLOW = "https://github.com/apache/airflow/tree/providers-openlineage/2.9.0"
NOMINAL = {"nominalStartTime": "2026-11-29T04:00:00Z", "nominalEndTime": "2026-11-30T04:00:00Z"}


def of(**changes: Any) -> list[Event]:
    """Return the events, as they are kept, of one START whose fields are changed."""
    facets: dict[str, Any] = changes.pop("facets", {})
    fields: dict[str, Any] = {
        "eventType": "START",
        "eventTime": TIME,
        "run": {"runId": RUN, "facets": facets},
        "job": {"namespace": "prod", "name": "orders"},
        **changes,
    }
    return [canonical(raw, tenant="acme", append_ms=NOW_MS)[1] for raw in made_of(encode(fields))]


def output(name: str, **statistics: Any) -> dict[str, Any]:
    return {"namespace": "s3://lake", "name": name, "outputFacets": {"outputStatistics": statistics}}


def read(name: str, **statistics: Any) -> dict[str, Any]:
    return {"namespace": "s3://lake", "name": name, "inputFacets": {"inputStatistics": statistics}}


def parent(run: str, name: str) -> dict[str, Any]:
    return {"run": {"runId": run}, "job": {"namespace": "prod", "name": name}}


def test_a_job_without_a_parent_is_a_flow_run() -> None:
    (event,) = of()

    assert (event.event, event.kind, event.state) == ("openlineage.run.START", "flow-run", "running")
    assert (event.flow, event.run, event.task) == ("orders", RUN, None)
    assert event.occurred.isoformat() == "2026-11-30T04:00:07.123456+00:00"
    assert event.resource == {"id": f"flow-run.{RUN}", "name": "orders", "namespace": "prod"}
    assert [(one["role"], one["name"]) for one in event.related] == [("flow", "orders"), ("deployment", "prod")]


@pytest.mark.parametrize(
    ("facet", "flow", "run"),
    [
        (parent(PARENT, "orders"), "orders", PARENT),
        ({**parent(PARENT, "orders.load"), "root": parent(ROOT, "orders")}, "orders", ROOT),
    ],
    ids=["parent", "root"],
)
def test_a_job_with_a_parent_is_a_task_run_of_the_outermost_run(facet: dict[str, Any], flow: str, run: str) -> None:
    (event,) = of(facets={"parent": facet}, job={"namespace": "prod", "name": "orders.load.query"})

    assert (event.kind, event.flow, event.run, event.task) == ("task-run", flow, run, RUN)
    assert event.resource["name"] == "orders.load.query"
    assert event.related[0] == {"id": f"flow-run.{run}", "role": "flow-run", "name": flow}


@pytest.mark.parametrize(
    ("producer", "facets", "expected"),
    [
        ("https://example.com", {}, "2026-11-29T04:00:00+00:00"),
        (AIRFLOW, {}, "2026-11-30T04:00:00+00:00"),
        (AIRFLOW, {"airflowDagRun": {"dagRun": {"run_type": "scheduled"}}}, "2026-11-30T04:00:00+00:00"),
        (AIRFLOW, {"airflowDagRun": {"dagRun": {"run_type": "manual"}}}, None),
        ("https://example.com", {"parent": parent(PARENT, "orders")}, None),
    ],
    ids=["start", "end of Airflow's interval", "Airflow by schedule", "Airflow by hand", "task run"],
)
def test_the_nominal_time_says_when_a_flow_run_was_to_start(
    producer: str, facets: dict[str, Any], expected: str | None
) -> None:
    (event,) = of(producer=producer, facets={"nominalTime": NOMINAL, **facets})

    assert (event.scheduled_for and event.scheduled_for.isoformat()) == expected


def test_rows_and_bytes_are_told_once_when_the_run_ends() -> None:
    outputs, inputs = [output("a", rowCount=3, size=10), output("b", rowCount=4)], [read("c", rowCount=99, size=5)]

    running, *_ = of(eventType="RUNNING", outputs=outputs, inputs=inputs)
    completed, *assets = of(eventType="COMPLETE", outputs=outputs, inputs=inputs)

    assert {"rows", "bytes"}.isdisjoint(running.payload)
    assert running.payload["written"] == {"rows": 7, "bytes": 10}
    assert (completed.payload["rows"], completed.payload["bytes"]) == (7, 10)
    assert completed.payload["read"] == {"rows": 99, "bytes": 5}
    assert [(asset.payload, asset.run) for asset in assets] == [({"rows": 3, "bytes": 10}, None), ({"rows": 4}, None)]
    assert {asset.follows for asset in assets} == {completed.id}


def test_only_a_start_makes_an_attempt() -> None:
    words = ["START", "RUNNING", "RUNNING", "RUNNING", "COMPLETE"]

    states = [of(eventType=word)[0].state for word in words]

    assert states == ["running", None, None, None, "completed"]


def test_what_was_read_counts_where_nothing_tells_what_was_written() -> None:
    (event,) = of(eventType="FAIL", inputs=[read("c", rowCount=5, size=6)])

    assert (event.payload["rows"], event.payload["bytes"]) == (5, 6)


@pytest.mark.parametrize("odd", [-1, "12", 1.5, 2**60, None, [], True])
def test_a_number_that_cannot_be_one_counts_as_not_told(odd: object) -> None:
    event, *_ = of(eventType="COMPLETE", outputs=[output("a", rowCount=odd), output("b", rowCount=4)])

    assert event.payload["rows"] == 4


def test_why_it_failed_whose_it_is_and_its_tags_are_kept() -> None:
    job = {
        "namespace": "prod",
        "name": "orders",
        "facets": {
            "ownership": {"owners": [{"name": "team:sales"}, {"name": "user:ann"}]},
            "tags": {"tags": [{"key": "pii", "value": "true"}, {"key": "tier", "value": "gold"}]},
            "sql": {"query": "select 1"},
        },
    }
    (event,) = of(eventType="FAIL", job=job, facets={"errorMessage": {"message": "disk full", "stackTrace": "at x"}})

    assert (event.payload["message"], event.payload["stack_trace"]) == ("disk full", "at x")
    assert event.payload["sql"] == "select 1"
    roles = [(one["role"], one["name"]) for one in event.related]
    assert roles[2:] == [("team", "sales"), ("tag", "pii"), ("tag", "tier:gold")]


def test_what_has_no_room_is_counted() -> None:
    event, *assets = of(eventType="COMPLETE", outputs=[output(str(number)) for number in range(ASSETS_MAX + 7)])

    assert len(event.related) == RELATED_MAX
    assert (event.payload["related_left_out"], event.payload["assets_left_out"]) == (9, 7)
    assert len(assets) == ASSETS_MAX


def test_events_of_datasets_and_jobs_have_no_run() -> None:
    (dataset,) = of(run=None, job=None, eventType=None, dataset={"namespace": "hdfs://nn:8020", "name": "/lake/orders"})
    (job,) = of(run=None, eventType=None)

    assert (dataset.event, dataset.kind, dataset.run) == ("openlineage.dataset", "asset", None)
    assert dataset.resource["id"] == "hdfs://nn:8020/lake/orders"
    assert (job.event, job.kind, job.flow, job.run) == ("openlineage.job", "other", "orders", None)


def test_a_time_without_a_zone_counts_as_utc() -> None:
    (event,) = of(eventTime="2026-11-30T04:00:07")

    assert event.occurred.isoformat() == "2026-11-30T04:00:07+00:00"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"eventType": "BEGIN"}, "`eventType`: got 'BEGIN'"),
        ({"eventTime": "yesterday"}, "`eventTime`: got 'yesterday': expected a time in ISO 8601"),
        ({"run": None, "job": None}, "expected `run` and `job`, or `dataset`, or `job`"),
        ({"job": {"namespace": "prod"}}, "missing required field `name`"),
    ],
)
def test_what_is_no_event_is_refused_with_what_was_expected(changes: dict[str, Any], detail: str) -> None:
    with pytest.raises(InvalidEvent, match="wrong field") as refused:
        of(**changes)

    assert detail in refused.value.detail


WORDS = ["START", "RUNNING", "COMPLETE", "FAIL", "ABORT", "OTHER"]


@given(word=st.sampled_from(WORDS), other=st.sampled_from(WORDS), run=st.uuids(), name=st.text(max_size=20))
def test_the_id_is_made_of_run_word_time_and_job(word: str, other: str, run: uuid.UUID, name: str) -> None:
    def made(word: str) -> uuid.UUID:
        return of(eventType=word, run={"runId": str(run)}, job={"namespace": "n", "name": name})[0].id

    assert made(word) == made(word)
    assert (made(word) == made(other)) == (word == other)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
facets = st.dictionaries(
    st.sampled_from(["parent", "nominalTime", "errorMessage", "airflow", "outputStatistics", "tags", "ownership"]),
    json_values,
)


@given(
    event=st.fixed_dictionaries(
        {"eventTime": st.sampled_from([TIME, "2026-11-30T04:00:00"]) | st.text(max_size=5)},
        optional={
            "eventType": st.sampled_from(WORDS) | st.text(max_size=5),
            "run": st.fixed_dictionaries({"runId": st.text(max_size=5)}, optional={"facets": facets}) | json_values,
            "job": st.fixed_dictionaries(
                {"namespace": st.text(max_size=5), "name": st.text(max_size=5)}, optional={"facets": facets}
            ),
            "outputs": st.lists(
                st.fixed_dictionaries(
                    {"namespace": st.text(max_size=5), "name": st.text(max_size=5), "outputFacets": facets}
                )
            )
            | json_values,
        },
    )
)
def test_whatever_comes_becomes_events_that_the_gateway_can_judge(event: dict[str, Any]) -> None:
    try:
        made = made_of(encode(event))
    except InvalidEvent:
        return
    for raw in made:
        canonical(raw, tenant="acme", append_ms=NOW_MS)


@given(raw=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_no_bytes_break_it(raw: bytes) -> None:
    with pytest.raises(InvalidEvent):
        made_of(raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"job": {"namespace": "prod", "name": "j" * 100_000}},
        {"run": {"runId": "r" * 100_000}},
        {"facets": {"parent": parent(PARENT, "j" * 100_000)}},
        {"eventTime": f"2026-11-30T05:00:07.{'0' * 100_000}Z"},
    ],
    ids=["job", "run", "parent's job", "time"],
)
def test_a_long_name_is_refused_before_every_asset_repeats_it(changes: dict[str, Any]) -> None:
    outputs = [output(str(number)) for number in range(ASSETS_MAX)]
    run = {"runId": RUN, "facets": changes.pop("facets", {})}
    job = {"namespace": "prod", "name": "orders"}
    raw = encode({"eventType": "COMPLETE", "eventTime": TIME, "run": run, "job": job, "outputs": outputs, **changes})

    tracemalloc.start()
    try:
        with pytest.raises(InvalidEvent):
            made_of(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 2_000_000  # not a hundred times the name


def test_what_an_event_has_no_room_for_is_left_out_and_counted() -> None:
    tags = [{"key": "k"}] * 20_000
    (event,) = of(job={"namespace": "prod", "name": "orders", "facets": {"tags": {"tags": tags}}}, inputs=[read("a")])

    assert len(event.related) == RELATED_MAX
    assert event.payload["related_left_out"] == 2 + len(tags) + 1 - RELATED_MAX


@given(st.sampled_from(["START", "COMPLETE", "FAIL", None]), st.one_of(st.none(), st.integers(0, ASSETS_MAX + 2)))
def test_how_many_events_one_makes_is_known_before_they_are_made(word: str | None, outputs: int | None) -> None:
    made = None if outputs is None else [output(str(number)) for number in range(outputs)]
    job = {"namespace": "prod", "name": "orders"}
    raw = encode({"eventType": word, "eventTime": TIME, "run": {"runId": RUN}, "job": job, "outputs": made})

    assert makes(raw) == len(made_of(raw))
