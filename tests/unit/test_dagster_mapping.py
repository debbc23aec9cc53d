"""What Dagster's log becomes where the jobs of test_dagster.py do not meet the case. Records are stood in for."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from flowgauge.producers.dagster.mapping import METADATA_MAX, RunLabels, labels_of, mapped

TICK = datetime(2026, 11, 30, 2, tzinfo=UTC)
TICKED = {".dagster/scheduled_execution_time": TICK.isoformat()}


def labels(**tags: str) -> RunLabels:
    run = SimpleNamespace(run_id="r1", job_name="etl", job_snapshot_id=None, remote_job_origin=None, tags=tags)
    return labels_of(run)


def entry(word: str | None, **fields: Any) -> SimpleNamespace:
    said = {"event_type_value": word, "step_key": "extract", "event_specific_data": None, "message": "", **fields}
    event = None if word is None else SimpleNamespace(**said)
    return SimpleNamespace(dagster_event=event, timestamp=TICK.timestamp(), **fields)


def materialized(**metadata: Any) -> SimpleNamespace:
    values = {name: SimpleNamespace(value=value) for name, value in metadata.items()}
    asset = SimpleNamespace(metadata=values, asset_key=SimpleNamespace(path=["lake", "orders"]), partition="eu")
    return entry("ASSET_MATERIALIZATION", event_specific_data=SimpleNamespace(materialization=asset))


def test_a_run_that_is_executed_anew_was_due_at_no_time() -> None:
    assert labels(**TICKED).scheduled_for == TICK
    assert labels(**TICKED, **{"dagster/parent_run_id": "r0"}).scheduled_for is None
    assert labels(**{".dagster/scheduled_execution_time": "soon"}).scheduled_for is None


def test_tags_of_ones_own_are_told_and_dagsters_are_not() -> None:
    run = labels(**{"dagster/image": "x", ".dagster/grpc_info": "y", "stage": "prod", "big": "", "owner": "data"})

    assert [(r["role"], r["name"]) for r in run.related] == [
        ("flow", "etl"),
        ("tag", "big"),
        ("tag", "stage:prod"),
        ("team", "data"),
    ]


def test_an_entry_has_one_id_however_often_it_is_read() -> None:
    first, again, other = (mapped(labels(), number, entry("STEP_START"), level_min=None) for number in (1, 1, 2))

    assert first is not None
    assert other is not None
    assert first == again
    assert first["id"] != other["id"]


def test_what_the_users_code_raised_is_told_though_dagster_wraps_it() -> None:
    cause = SimpleNamespace(message="OSError: away\n", cause=None)
    error = SimpleNamespace(message="DagsterExecutionStepExecutionError", cause=cause)
    event = mapped(labels(), 1, entry("STEP_FAILURE", event_specific_data=SimpleNamespace(error=error)), level_min=None)

    assert event is not None
    assert event["payload"] == {"message": "OSError: away"}


def test_metadata_that_is_text_or_a_number_is_told_and_counts_as_rows_and_bytes() -> None:
    event = mapped(labels(), 1, materialized(rows=3, num_bytes=7, table=["no"], note="n" * 9_000), level_min=None)
    many = mapped(labels(), 1, materialized(**{f"m{n}": n for n in range(METADATA_MAX + 9)}), level_min=None)

    assert event is not None
    assert many is not None
    payload: Any = event["payload"]
    assert (payload["rows"], payload["bytes"], payload["partition"]) == (3, 7, "eu")
    assert set(payload["metadata"]) == {"rows", "num_bytes", "note"}
    assert len(payload["metadata"]["note"]) < 9_000
    assert len(dict[str, Any](many)["payload"]["metadata"]) == METADATA_MAX


@pytest.mark.parametrize(("level", "told"), [(20, "INFO"), ("warning", "WARNING"), (45, "ERROR"), (10, None)])
def test_lines_below_the_least_level_are_left_out(level: int | str, told: str | None) -> None:
    event = mapped(labels(), 1, entry(None, level=level, step_key=None, user_message="hello"), level_min=20)

    assert (event and dict[str, Any](event)["payload"]["level"]) == told
    assert mapped(labels(), 1, entry(None, level=level, step_key=None, user_message="hello"), level_min=None) is None


@pytest.mark.parametrize("word", ["ENGINE_EVENT", "STEP_WORKER_STARTED", "PIPELINE_DEQUEUED", "A_LATER_DAGSTERS"])
def test_what_says_nothing_of_a_state_is_not_told(word: str) -> None:
    assert mapped(labels(), 1, entry(word), level_min=10) is None
