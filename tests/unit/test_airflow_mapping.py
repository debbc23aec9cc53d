"""What Airflow's records become where the DAGs of test_airflow.py do not meet the case. Records are stood in for."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from flowgauge.producers.airflow.mapping import asset_event, dag_run_event, task_instance_event, word_of_failure
from flowgauge.producers.connector_event import utc

DUE = datetime(2026, 11, 30, 2, tzinfo=UTC)


def dag_run(**fields: object) -> SimpleNamespace:
    run = {
        "dag_id": "nightly",
        "run_id": "r1",
        "run_type": "scheduled",
        "logical_date": DUE - timedelta(days=1),
        "data_interval_start": DUE - timedelta(days=1),
        "data_interval_end": DUE,
    }
    return SimpleNamespace(**run, **fields)


def task_instance(**fields: object) -> SimpleNamespace:
    return SimpleNamespace(**{"dag_id": "nightly", "run_id": "r1", "task_id": "extract", "try_number": 1, **fields})


def test_a_run_of_an_airflow_that_has_no_run_after_was_due_at_the_end_of_its_interval() -> None:
    assert dag_run_event(dag_run(), "running")["scheduled_for"] == DUE
    assert dag_run_event(dag_run(run_after=DUE + timedelta(hours=1)), "running")["scheduled_for"] == DUE + timedelta(
        hours=1
    )


def test_a_backfilled_run_was_due_at_no_time() -> None:
    run = dag_run(run_after=DUE)
    run.run_type = "backfill"

    assert "scheduled_for" not in dag_run_event(run, "running")


def test_a_cleared_run_tells_its_states_again() -> None:
    ids = [dag_run_event(dag_run(clear_number=number), "success")["id"] for number in (None, 0, 1, 1)]

    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_each_try_and_state_of_a_task_is_an_event_of_one_task_run() -> None:
    told = [task_instance_event(task_instance(try_number=n), word) for n in (1, 2) for word in ("running", "failed")]

    assert len({event["id"] for event in told}) == 4
    assert {event["task"] for event in told} == {"nightly/r1/extract"}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("up_for_retry", "up_for_retry"),  # as the database has it
        (SimpleNamespace(value="up_for_retry"), "up_for_retry"),
        (SimpleNamespace(value="failed"), "failed"),
        (None, "failed"),
    ],
)
def test_a_task_that_will_be_tried_again_has_not_failed_for_good(state: object, word: str) -> None:
    assert word_of_failure(task_instance(state=state)) == word


def test_a_record_that_cannot_be_asked_costs_its_labels_only() -> None:
    class Detached:
        dag_id, run_id, task_id, try_number = "nightly", "r1", "extract", 1

        @property
        def pool(self) -> str:
            raise RuntimeError("not bound to a session")

    assert task_instance_event(Detached(), "skipped")["state"] == "cancelled"


def test_airflows_own_owner_is_no_team_and_a_team_goes_before_an_owner() -> None:
    def teams(run: SimpleNamespace) -> list[str]:
        related = cast("list[dict[str, str]]", dag_run_event(run, "running")["related"])
        return [r["name"] for r in related if r["role"] == "team"]

    assert teams(dag_run(dag=SimpleNamespace(owner="airflow", tags=set()))) == []
    assert teams(dag_run(dag=SimpleNamespace(owner="data", tags=None))) == ["data"]
    assert teams(dag_run(dag=SimpleNamespace(owner="data"), team_name="platform")) == ["platform"]


def redacted(value: object) -> object:
    """Mask the values of `token`, and the word `sesame`, as Airflow's function does that of a connection."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {name: "***" if name == "token" else redacted(each) for name, each in fields.items()}
    return value.replace("sesame", "***") if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("x-db://me:p%40w@db:1/t?v=1#a@b", "x-db://me:***@db:1/t?v=1#a@b"),
        ("postgres://me:p@w@db/t", "postgres://me:***@db/t"),
        ("x-db://me@db/t:a@b", "x-db://me@db/t:a@b"),
        ("s3://lake/sesame", "s3://lake/***"),
        ("orders: a@b", "orders: a@b"),
    ],
)
def test_an_asset_is_told_without_the_secrets_in_its_address_and_its_extra(uri: str, told: str) -> None:
    asset = SimpleNamespace(uri=uri, name=uri)

    event = asset_event(
        SimpleNamespace(asset=asset, extra={"rows": 3, "token": "hunter2", "at": ["sesame"]}), redact=redacted
    )

    assert event["resource"] == {"id": told, "name": told}
    assert event["payload"] == {"rows": 3, "token": "***", "at": ["sesame"]}


def test_an_asset_that_no_run_made_is_told_of_no_run() -> None:
    event = asset_event(SimpleNamespace(asset=SimpleNamespace(uri="s3://lake", name="lake"), extra={}), redact=redacted)

    assert event == {
        "event": "airflow.asset.changed",
        "kind": "asset",
        "resource": {"id": "s3://lake", "name": "lake"},
    }


def test_a_time_without_a_zone_counts_as_utc() -> None:
    assert utc(datetime(2026, 11, 30, 2)) == DUE  # noqa: DTZ001  # naive, as old Airflows may say it
