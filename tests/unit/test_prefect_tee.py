"""The tee inside a Prefect server: what it tells, and that nothing of ours ever reaches Prefect."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from flowgauge.producers.prefect.tee import Emitter, Tee

RUN = "9f9c36ba-45ee-4c1d-9f7d-76cd74db903a"
ID = "01a2050e-8f59-731e-a2eb-aa0b5c2033f1"
OCCURRED = "2026-11-22T20:59:30.000000Z"


class EmitterOf:
    """Keeps what is emitted; refuses all over `room`, raises `error` if there is one."""

    def __init__(self, room: int = 100, error: Exception | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._room, self._error = room, error

    @property
    def waiting(self) -> int:
        return len(self.events)

    def emit(self, event: Mapping[str, object]) -> bool:
        if self._error is not None:
            raise self._error
        if len(self.events) >= self._room:
            return False
        self.events.append(dict(event))
        return True

    def flush(self, timeout_ms: int) -> bool:
        if self._error is not None:
            raise self._error
        return timeout_ms > 0 and not self.events


def event() -> bytes:
    flow = {
        "prefect.resource.id": "prefect.flow.1",
        "prefect.resource.role": "flow",
        "prefect.resource.name": "etl",
    }
    resource = {"prefect.resource.id": f"prefect.flow-run.{RUN}", "prefect.resource.name": "fox"}
    data = {"id": ID, "occurred": OCCURRED, "event": "prefect.flow-run.Running", "resource": resource}
    return json.dumps({**data, "related": [flow]}).encode()


def log() -> bytes:
    data = {"id": ID, "timestamp": OCCURRED, "name": "x", "level": 40, "message": "m", "flow_run_id": RUN}
    return json.dumps(data).encode()


def test_a_log_is_told_with_the_flow_that_its_runs_events_named() -> None:
    emitter = EmitterOf()
    tee = Tee(lambda: emitter)

    for topic, message in (("logs", log()), ("events", event()), ("logs", log())):
        tee.take(topic, message)

    assert [(told["kind"], told.get("flow")) for told in emitter.events] == [
        ("log", None),
        ("flow-run", "etl"),
        ("log", "etl"),
    ]
    assert tee.counts == {"events": 1, "logs": 2, "logs without flow": 1}


def test_other_topics_are_passed_over() -> None:
    emitter = EmitterOf()

    Tee(lambda: emitter).take("actions", event())

    assert emitter.events == []


def test_a_full_buffer_is_counted() -> None:
    tee = Tee(lambda: EmitterOf(room=0))

    tee.take("events", event())

    assert tee.counts == {"refused": 1}


@pytest.mark.parametrize("message", [b"{", b"\xff", b"[" * 5000, ""])
def test_a_message_that_is_no_json_is_counted(message: bytes | str) -> None:
    tee = Tee(EmitterOf)

    tee.take("events", message)

    assert tee.counts == {"failed": 1}


def test_a_message_that_is_no_event_is_counted() -> None:
    tee = Tee(EmitterOf)

    tee.take("events", "{}")

    assert tee.counts == {"unmappable": 1}


def test_an_emitter_that_fails_or_cannot_be_made_is_counted_and_warned_of_at_powers_of_ten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def cannot() -> Emitter:
        raise ValueError("no address")

    caplog.set_level(logging.WARNING, "flowgauge.prefect")
    failing, unmade = Tee(lambda: EmitterOf(error=OSError("away"))), Tee(cannot)

    for _ in range(25):
        failing.take("events", event())
        unmade.take("logs", log())

    assert (failing.counts["failed"], unmade.counts["failed"]) == (25, 25)
    assert [record.getMessage() for record in caplog.records] == [
        "not told to flowgauge: failed, 1 so far, the last: OSError: away",
        "not told to flowgauge: failed, 1 so far, the last: ValueError: no address",
        "not told to flowgauge: failed, 10 so far, the last: OSError: away",
        "not told to flowgauge: failed, 10 so far, the last: ValueError: no address",
    ]


def test_what_flushes_leave_unsent_is_counted_in_events_once(caplog: pytest.LogCaptureFixture) -> None:
    tee = Tee(EmitterOf)
    for _ in range(7):
        tee.take("events", event())

    for _ in range(3):
        tee.flush(10)

    assert tee.counts["unsent"] == 7
    assert caplog.messages == ["not told to flowgauge: unsent, 7 so far, flowgauge did not answer within 10 ms"]


def test_a_flush_that_does_not_end_in_time_is_counted_and_one_before_any_message_does_nothing() -> None:
    tee, failing = Tee(EmitterOf), Tee(lambda: EmitterOf(error=OSError("away")))

    for each in (tee, failing):
        each.flush(10)
        each.take("events", event())
        each.flush(10)

    assert tee.counts == {"events": 1, "unsent": 1}
    assert failing.counts == {"failed": 2}
