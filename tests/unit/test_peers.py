"""The job that engines are compared on: its events and its right answer."""

from benchmarks.peers.job import JobEvent, job_events, right_crossings

T0 = 1_795_000_000_000 // 60_000 * 60_000
MINUTE = 60_000


def ended(run: str, at_ms: int, *, failed: bool) -> JobEvent:
    state = "failed" if failed else "completed"
    occurred = f"2026-11-18T{at_ms // 3_600_000:02d}:{at_ms // MINUTE % 60:02d}:00.000417Z"
    value = f'{{"tenant":"a","flow":"f","run":"{run}","occurred":"{occurred}","state":"{state}"}}'
    return JobEvent(at_ms, at_ms, run, "a/f", value.encode())


def test_a_share_crosses_when_enough_runs_ended_and_once_more_when_the_failures_leave_the_window() -> None:
    minutes = [(0, False), (1, False), (2, False), (3, False), (4, True), (5, True), *[(14, False)] * 5]
    events = [ended(f"run-{n}", minute * MINUTE, failed=failed) for n, (minute, failed) in enumerate(minutes)]
    events.append(events[4])  # sent twice, it counts once

    crossings = right_crossings(events, MINUTE)

    found = [(tenant, flow, end_ms % 3_600_000 // MINUTE, fires) for tenant, flow, end_ms, fires in sorted(crossings)]
    assert found == [("a", "f", 6, True), ("a", "f", 15, False)]  # at minute 5 it is 20 %, which is not above it


def test_the_same_arguments_give_the_same_events_and_some_are_sent_twice_or_late() -> None:
    events = job_events(3_000, T0)

    assert events == job_events(3_000, T0)
    assert 3_000 < len(events) < 3_050
    assert events == sorted(events)
