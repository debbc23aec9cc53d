"""Recorded events as the log will hold them: append times, shift, and lines that are no events."""

import msgspec
import pytest

from flowgauge.console.history import Entry, Unreadable, entries, is_capture, last_append_ms
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.times import parse_time_ms, rfc3339

START = parse_time_ms("2026-11-23T09:00:00Z")
RULES = """
rules:
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 1m, min_samples: 2}}
"""


def line(number: int, at_ms: int, **fields: object) -> bytes:
    event = {
        "id": f"00000000-0000-0000-0000-{number:012}",
        "occurred": rfc3339(START + at_ms),
        "event": "flow-run.failed",
        "kind": "flow-run",
        "flow": "etl",
        "run": f"r{number}",
        "state": "failed",
        "resource": {"id": f"flow-run.r{number}"},
    }
    return msgspec.json.encode(event | fields) + b"\n"


def appended(lines: list[bytes], shift_ms: int = 0) -> list[int]:
    return [item.append_ms - START for item in entries(lines, shift_ms=shift_ms)]


def test_append_times_are_the_running_maximum_of_what_the_lines_say() -> None:
    lines = [
        line(1, 10),
        line(2, 8),
        line(3, 11, _append=START + 12),
        line(4, 11, _append=rfc3339(START + 11)),
        line(5, 20),
    ]

    assert appended(lines) == [10, 10, 12, 12, 20]
    assert last_append_ms(lines) == START + 20


def test_a_shift_moves_every_time_by_the_same_whole_milliseconds() -> None:
    lines = [line(1, 10, scheduled_for=rfc3339(START + 5), _append=START + 15)]

    (entry,) = entries(lines, shift_ms=3_600_000)

    assert isinstance(entry, Entry)
    stored = msgspec.json.decode(entry.value)
    assert entry.append_ms == START + 3_600_015
    assert (stored["occurred"], stored["scheduled_for"]) == (
        "2026-11-23T10:00:00.010000Z",
        "2026-11-23T10:00:00.005000Z",
    )


def test_a_shift_keeps_microseconds() -> None:
    (entry,) = entries([line(1, 0, occurred="2026-11-23T09:00:00.123456789Z")], shift_ms=1)

    assert isinstance(entry, Entry)
    assert msgspec.json.decode(entry.value)["occurred"] == "2026-11-23T09:00:00.124456Z"


def test_a_missing_tenant_is_default_and_a_given_one_stays() -> None:
    found = [
        msgspec.json.decode(item.value)["tenant"]
        for item in entries(
            [line(1, 0), line(2, 0, tenant="a.1234567"), line(3, 0, tenant=None), line(4, 0, tenant="")]
        )
        if isinstance(item, Entry)
    ]

    assert found == ["default", "a.1234567", "default", "default"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"not json", "not JSON"),
        (b"[1]", "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": 1, "a": 2}', "duplicate key"),
        (b'{"event": "x"}', "wrong field"),
        (line(1, 0, _append="yesterday"), "wrong field"),
        (line(1, 0, _append="1795420800000"), "wrong field"),
        (line(1, 0, _append="2026-11-23T09:00:00"), "wrong field"),
        (line(1, 0, _append=10**18), "wrong field"),
        (line(1, 0, _append=-1), "wrong field"),
        (line(1, 0, _append=True), "wrong field"),
        (line(1, 0, tenant=5), "wrong field"),
        (line(1, 0, resource={}), "no resource id"),
        (b'{"a": "' + b"x" * 1_200_000 + b'"}', "too large"),
    ],
)
def test_a_line_that_is_no_event_is_told_with_its_number_and_its_neighbours_go_on(raw: bytes, reason: str) -> None:
    found = list(entries([line(1, 10), raw, line(2, 20)]))

    assert [type(item) for item in found] == [Entry, Unreadable, Entry]
    assert isinstance(found[1], Unreadable)
    assert (found[1].line, found[1].reason) == (2, reason)


def test_blank_lines_are_passed_over_but_counted_as_lines() -> None:
    found = list(entries([b"\n", b"x\n"]))

    assert [item.line for item in found if isinstance(item, Unreadable)] == [2]


def test_a_replay_of_what_is_loaded_finds_what_a_replay_of_the_file_finds() -> None:
    lines = [line(number, number * 10_000, state="failed" if number % 3 else "completed") for number in range(1, 30)]
    loaded = [
        item.value[:-1] + f',"_append":{item.append_ms}}}'.encode()
        for item in entries(lines)
        if isinstance(item, Entry)
    ]
    ruleset = parse_rules("rules.yaml", RULES)

    of_file = [item.transition_id for item in Replay(lambda: lines, ruleset).transitions()]
    of_loaded = [item.transition_id for item in Replay(lambda: loaded, ruleset).transitions()]

    assert of_file == of_loaded
    assert of_file


def test_a_capture_line_is_told_from_an_event_line() -> None:
    assert is_capture(b'{"topic": "events", "data": {}}')
    assert not is_capture(line(1, 0))
    assert not is_capture(line(1, 0, topic="orders", data={}))  # fields of its own that an event may have
    assert not is_capture(b"")
