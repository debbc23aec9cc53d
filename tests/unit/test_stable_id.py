"""Ids that are made of an event's parts: they stand in logs, so a change here makes every repeat a new event."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_airflow_mapping import dag_run, task_instance
from tests.unit.test_dagster_mapping import entry, labels
from tests.unit.test_hooks import NOW_MS, SMALL
from tests.unit.test_openlineage_mapping import of, output
from tests.unit.test_prefect_mapping import log, mapped_log

from flowgauge.producers.airflow.mapping import dag_run_event, task_instance_event
from flowgauge.producers.connector_event import CONNECTORS
from flowgauge.producers.dagster.mapping import mapped
from flowgauge.producers.hook_event import event_of
from flowgauge.producers.stable_id import stable_id
from flowgauge.schemas.hook_file import parse_hooks

PARTS = st.lists(st.none() | st.text() | st.integers(), max_size=4)
GOLDEN = {
    "airflow dag run": "a31a490c-2f3c-5c3c-99fa-6f0814522c8c",
    "airflow task instance": "8968ee8e-4e86-523e-81b2-936390b5678d",
    "dagster entry": "c311595f-e9ea-56bd-8069-d8e1ab7bce89",
    "webhook": "ed2f5871-1299-5f48-b336-07db82fe7047",
    "openlineage run": "b2f271d8-4f7b-520f-9c92-4855f4c4811d",
    "openlineage asset": "732ba63c-a025-5989-9a11-11a7cb206ee9",
    "openlineage dataset": "61cd94f8-ed56-5f2d-928d-07c83ef42e51",
    "openlineage job": "61bc8c3f-aa98-5474-934c-09426c60d92f",
    "prefect log": "fda65170-7c37-5bdc-adda-15440e16d265",
    "prefect log of a task": "5d9bc4b3-2123-576e-898a-309070b3867a",
}


def ids() -> dict[str, object]:
    """Return an id of each that is made of parts."""
    (hook,) = parse_hooks("hooks.yaml", SMALL % "").hooks
    webhook = event_of(hook, '{"name": "Zoë"}'.encode(), {}, tenant="acme", now_ms=NOW_MS)
    step = mapped(labels(), 7, entry("STEP_START"), level_min=None)
    run, asset = of(eventType="COMPLETE", outputs=[output("orders")])
    lineage = {"run": None, "eventType": None}
    dataset = {"namespace": "s3://lake", "name": "orders"}
    return {
        "airflow dag run": dag_run_event(dag_run(clear_number=1), "success")["id"],
        "airflow task instance": task_instance_event(task_instance(map_index=3), "failed")["id"],
        "dagster entry": step and step["id"],
        "webhook": msgspec.json.decode(webhook)["id"],
        "openlineage run": str(run.id),
        "openlineage asset": str(asset.id),
        "openlineage dataset": str(of(dataset=dataset, job=None, **lineage)[0].id),
        "openlineage job": str(of(**lineage)[0].id),
        "prefect log": mapped_log(log(id=None, task_run_id=None))["id"],
        "prefect log of a task": mapped_log(log(id=None, message="42 rows 🌍"))["id"],
    }


def test_ids_are_what_they_were() -> None:
    assert ids() == GOLDEN


@given(PARTS, PARTS)
def test_an_id_stands_for_its_parts_and_for_no_others(
    one: list[str | int | None], other: list[str | int | None]
) -> None:
    assert (stable_id(CONNECTORS, *one) == stable_id(CONNECTORS, *other)) == (one == other)
