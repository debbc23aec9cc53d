"""Prefect's events and logs in flowgauge's words: golden by capture, and what odd input becomes."""

import gzip
import json
import os
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.prefect import RunSeen, Unmappable, map_event, map_log
from flowgauge.producers.prefect.capture import convert
from flowgauge.producers.prefect.states import canonical_state
from flowgauge.schemas.check import check
from flowgauge.schemas.event import State
from flowgauge.schemas.times import parse_time_ms

DATA = Path(__file__).parent.parent / "data"
GOLDEN = Path(__file__).parent.parent / "golden" / "prefect"
EXTRACTS = ("prefect-outage-extract", "prefect-late-extract")

# FLOWGAUGE_UPDATE_GOLDEN=1 writes the file anew; read it in review.
UPDATE = os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1"

RUN = "9f9c36ba-45ee-4c1d-9f7d-76cd74db903a"


def lines_of(extract: str) -> list[bytes]:
    return gzip.decompress((DATA / f"{extract}.jsonl.gz").read_bytes()).splitlines()


def event(**fields: Any) -> dict[str, Any]:
    return {
        "id": "01a2050e-8f59-731e-a2eb-aa0b5c2033f1",
        "occurred": "2026-11-22T20:59:30.009418Z",
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{RUN}"},
        **fields,
    }


def log(**fields: Any) -> dict[str, Any]:
    return {
        "id": "01a2050e-8f59-731e-a2eb-aa0b5c2033f1",
        "timestamp": "2026-11-22T20:59:30.009418Z",
        "name": "prefect.flow_runs",
        "level": 20,
        "message": "hello",
        "flow_run_id": RUN,
        "task_run_id": None,
        **fields,
    }


def mapped(data: object) -> dict[str, Any]:
    result = map_event(data)
    assert isinstance(result, dict), result
    return result


def mapped_log(data: object, run: RunSeen | None = None) -> dict[str, Any]:
    result = map_log(data, run)
    assert isinstance(result, dict), result
    return result


def one_of_each() -> list[bytes]:
    """One converted event of each name in the captures, run and task logs apart, and all that are hand-made."""
    first: dict[tuple[str, str, bool], bytes] = {}
    for extract in EXTRACTS:
        for line in convert(lines_of(extract)):
            assert isinstance(line, bytes), line
            made = json.loads(line)
            first.setdefault((made["kind"], made["event"], "task" in made), line)
    handmade = list(convert((GOLDEN / "handmade.jsonl").read_bytes().splitlines()))
    return list(first.values()) + [line for line in handmade if isinstance(line, bytes)]


def test_one_event_of_each_name_is_mapped_as_the_golden_file_says() -> None:
    made = b"".join(line + b"\n" for line in one_of_each())

    if UPDATE:
        (GOLDEN / "mapped.jsonl").write_bytes(made)

    assert made.splitlines() == (GOLDEN / "mapped.jsonl").read_bytes().splitlines()


def test_every_mapped_event_is_valid_once_the_gateway_has_set_its_tenant() -> None:
    for line in one_of_each():
        made = json.loads(line)
        append_ms = parse_time_ms(made.pop("_append"))

        event = check(msgspec.json.encode({"tenant": "default", **made}), append_ms)

        assert event.extra == made.get("extra", {})


@pytest.mark.parametrize(
    ("state_type", "state_name", "canonical"),
    [
        ("SCHEDULED", "Scheduled", "scheduled"),
        ("SCHEDULED", "Late", "late"),
        ("SCHEDULED", "AwaitingRetry", "retrying"),
        ("SCHEDULED", "AwaitingConcurrencySlot", "pending"),
        ("SCHEDULED", "Resuming", "scheduled"),
        ("PENDING", "Pending", "pending"),
        ("PENDING", "Submitting", "pending"),
        ("PENDING", "InfrastructurePending", "pending"),
        ("RUNNING", "Running", "running"),
        ("RUNNING", "Retrying", "retrying"),
        ("PAUSED", "Paused", "paused"),
        ("PAUSED", "Suspended", "paused"),
        ("CANCELLING", "Cancelling", "cancelling"),
        ("CANCELLED", "Cancelled", "cancelled"),
        ("COMPLETED", "Completed", "completed"),
        ("COMPLETED", "Cached", "completed"),
        ("COMPLETED", "Late", "completed"),
        ("FAILED", "Failed", "failed"),
        ("FAILED", "TimedOut", "failed"),
        ("FAILED", "quarantined by ada", "failed"),
        ("CRASHED", "Crashed", "crashed"),
        ("CRASHED", None, "crashed"),
        ("INVENTED", "Completed", None),
        (None, "Completed", None),
    ],
)
def test_the_type_of_a_state_decides_and_few_names_refine_it(
    state_type: str | None, state_name: str | None, canonical: str | None
) -> None:
    assert canonical_state(state_type, state_name) == canonical
    assert canonical is None or canonical in get_args(State)


def test_a_label_that_would_be_overwritten_is_kept_under_label() -> None:
    resource = {"prefect.resource.id": "acme.invoice.17", "id": "INV-17", "name": "own", "role": "x"}

    made = mapped(event(resource=resource))

    assert made["resource"] == {"id": "acme.invoice.17", "label.id": "INV-17", "name": "own", "role": "x"}


def test_a_related_flow_without_a_name_is_no_flow() -> None:
    flow = {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow"}

    assert "flow" not in mapped(event(related=[flow]))


def test_times_with_an_offset_are_told_in_utc() -> None:
    assert mapped(event(occurred="2026-11-22T21:59:30+01:00"))["occurred"] == "2026-11-22T20:59:30.000000Z"


def test_fields_that_prefect_may_add_are_kept_as_extra_and_received_is_not() -> None:
    made = mapped(event(received="2026-11-22T20:59:30Z", tenant="sneaky", account=None, shard=7))

    assert made["extra"] == {"tenant": "sneaky", "shard": 7}
    assert "tenant" not in made
    assert "received" not in made


@pytest.mark.parametrize(
    ("level", "name"),
    [(0, "DEBUG"), (20, "INFO"), (25, "INFO"), (26, "WARNING"), (40, "ERROR"), (99, "CRITICAL"), ("error", "ERROR")],
)
def test_a_log_level_takes_the_nearest_name(level: object, name: str) -> None:
    assert mapped_log(log(level=level))["payload"]["level"] == name


def test_a_log_takes_flow_and_run_name_from_the_run_seen() -> None:
    made = mapped_log(log(), RunSeen("nightly-etl", "finicky-chowchow"))

    assert (made["flow"], made["run"]) == ("nightly-etl", RUN)
    assert made["resource"] == {"id": f"prefect.flow-run.{RUN}", "name": "finicky-chowchow"}


def test_a_log_of_an_unseen_run_has_no_flow() -> None:
    made = mapped_log(log())

    assert "flow" not in made
    assert made["run"] == RUN


def test_a_log_of_a_task_is_about_the_task_and_related_to_its_run() -> None:
    made = mapped_log(log(task_run_id="01a2050e-86ab-7770-8d08-1e64fb8f552a"), RunSeen("nightly-etl", "fox"))

    assert made["resource"] == {"id": "prefect.task-run.01a2050e-86ab-7770-8d08-1e64fb8f552a"}
    assert made["related"] == [{"id": f"prefect.flow-run.{RUN}", "name": "fox", "role": "flow-run"}]


def test_a_log_without_an_id_always_gets_the_same_one() -> None:
    first, again, other = (mapped_log(log(id=None, message=text)) for text in ("a", "a", "b"))

    assert first == again
    assert first["id"] != other["id"]
    assert UUID(first["id"]).version == 5


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": None}, "id: expected a UUID, got None"),
        ({"id": 7}, "id: expected a UUID, got 7"),
        ({"event": ""}, "event: expected a string that is not empty, got ''"),
        ({"occurred": "yesterday"}, "occurred: expected an RFC 3339 time with an offset, got 'yesterday'"),
        ({"occurred": "2026-11-22T20:59:30"}, "occurred: expected an RFC 3339 time with an offset, got"),
        ({"resource": None}, "resource: expected an object of labels, got None"),
        ({"resource": {}}, "resource: expected a label prefect.resource.id that is not empty"),
        ({"related": {"a": 1}}, "related: expected a list, got {'a': 1}"),
        ({"related": [{"prefect.resource.id": "x"}]}, "related[0]: expected a label prefect.resource.role"),
        ({"payload": [1]}, "expected one payload as a JSON object, got [1]"),
        ({"follows": "x"}, "follows: expected a UUID, got 'x'"),
    ],
)
def test_an_odd_event_is_unmappable_and_says_why(fields: dict[str, Any], reason: str) -> None:
    result = map_event(event(**fields))

    assert isinstance(result, Unmappable)
    assert result.reason.startswith(reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"level": True}, "level: expected a logging level, got True"),
        ({"message": None}, "message: expected a string, got None"),
        ({"timestamp": None}, "timestamp: expected an RFC 3339 time with an offset, got None"),
        ({"flow_run_id": 3}, "flow_run_id: expected a string that is not empty, got 3"),
        ({"id": "x"}, "id: expected a UUID, got 'x'"),
    ],
)
def test_an_odd_log_is_unmappable_and_says_why(fields: dict[str, Any], reason: str) -> None:
    assert map_log(log(**fields), None) == Unmappable(reason)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(event(related=[], payload={}, follows=None, received=None))),
    st.sampled_from(sorted(log())),
    anything,
)
def test_no_input_raises(event_field: str, log_field: str, value: object) -> None:
    assert isinstance(map_event(event(**{event_field: value})), dict | Unmappable)
    assert isinstance(map_log(log(**{log_field: value}), None), dict | Unmappable)
    assert isinstance(map_event(value), Unmappable)
    assert isinstance(map_log(value, None), Unmappable)
