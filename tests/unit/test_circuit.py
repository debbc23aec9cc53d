"""The circuits: when an endpoint is left alone, when it is asked again, and when it is given up."""

import pytest

from flowgauge.sinks.webhooks.circuit import (
    CIRCUIT_OPEN,
    DISABLE_AFTER_MS,
    DISABLED,
    ENDPOINTS_MAX,
    OPEN_AFTER,
    PROBE_AFTER_MS,
    Circuits,
)
from flowgauge.sinks.webhooks.schedule import GONE, Verdict

NOW_MS = 1_800_000_000_000
URL = "https://hooks.example/T0KEN"
DELIVERED = Verdict("delivered", status=200)
FAILED = Verdict("failed", "answered 5xx", 500)
LEFT_ALONE = f"{CIRCUIT_OPEN}: answered 5xx"
REFUSED = Verdict("dead", "refused: answered 400", 400)


def opened(now_ms: int = NOW_MS) -> Circuits:
    circuits = Circuits()
    for _ in range(OPEN_AFTER):
        assert circuits.refusal(URL, now_ms) is None
        circuits.note(URL, FAILED, now_ms)
    return circuits


def test_an_endpoint_that_only_fails_is_left_alone_and_the_others_are_not() -> None:
    circuits = opened()

    refused = circuits.refusal(URL, NOW_MS)

    assert (refused and refused.outcome, refused and refused.reason) == ("failed", LEFT_ALONE)
    assert circuits.is_open(URL)
    assert circuits.refusal("https://other.example", NOW_MS) is None
    assert not circuits.is_open("https://other.example")


def test_one_attempt_at_a_time_probes_it_and_a_success_closes_it() -> None:
    circuits = opened()
    later_ms = NOW_MS + PROBE_AFTER_MS[0]
    assert circuits.due(later_ms - 1) == set()

    assert circuits.due(later_ms) == {URL}
    assert circuits.refusal(URL, later_ms) is None
    assert circuits.refusal(URL, later_ms) is not None
    circuits.note(URL, DELIVERED, later_ms)

    assert circuits.refusal(URL, later_ms) is None
    assert not circuits.is_open(URL)


def test_the_probes_grow_rare_and_what_was_under_way_does_not_count_as_one() -> None:
    circuits = opened()
    circuits.note(URL, FAILED, NOW_MS)  # it went out before the circuit opened
    now_ms = NOW_MS
    waits: list[int] = []
    for wait_ms in (*PROBE_AFTER_MS, PROBE_AFTER_MS[-1]):
        assert circuits.refusal(URL, now_ms + wait_ms - 1) is not None
        now_ms += wait_ms
        assert circuits.refusal(URL, now_ms) is None
        circuits.note(URL, FAILED, now_ms)
        waits.append(wait_ms)

    assert waits == sorted(waits)


def test_a_probe_that_never_came_about_is_asked_for_again() -> None:
    circuits = opened()
    later_ms = NOW_MS + PROBE_AFTER_MS[0]

    assert circuits.due(later_ms) == {URL}
    assert circuits.due(later_ms + 1) == set()
    assert circuits.due(later_ms + PROBE_AFTER_MS[0]) == {URL}


def test_a_receiver_that_asks_for_patience_is_probed_later_but_within_ten_minutes() -> None:
    circuits = Circuits()
    for _ in range(OPEN_AFTER):
        circuits.note(URL, Verdict("failed", "answered 429", 429, retry_after_ms=3_600_000), NOW_MS)

    assert circuits.due(NOW_MS + PROBE_AFTER_MS[-1] - 1) == set()
    assert circuits.due(NOW_MS + PROBE_AFTER_MS[-1]) == {URL}


def test_a_refused_message_is_no_failure_of_the_endpoint() -> None:
    circuits = Circuits()
    for _ in range(OPEN_AFTER - 1):
        circuits.note(URL, FAILED, NOW_MS)
    circuits.note(URL, REFUSED, NOW_MS)
    circuits.note(URL, FAILED, NOW_MS)

    assert not circuits.is_open(URL)


@pytest.mark.parametrize("reason", [GONE, ""])
def test_an_endpoint_that_wants_no_more_is_not_called_until_channels_change(reason: str) -> None:
    circuits = Circuits()
    circuits.note(URL, Verdict("dead", reason, 410, is_gone=True), NOW_MS)

    assert circuits.refusal(URL, NOW_MS + DISABLE_AFTER_MS) == Verdict("dead", GONE)
    assert circuits.due(NOW_MS + DISABLE_AFTER_MS) == set()
    circuits.forget()
    assert circuits.refusal(URL, NOW_MS) is None


def test_five_days_of_nothing_but_failures_end_it() -> None:
    circuits = opened()
    assert circuits.refusal(URL, NOW_MS + DISABLE_AFTER_MS - 1) is None
    circuits.note(URL, FAILED, NOW_MS + DISABLE_AFTER_MS - 1)
    assert circuits.refusal(URL, NOW_MS + DISABLE_AFTER_MS - 1) == Verdict("failed", LEFT_ALONE, was_tried=False)

    circuits.note(URL, FAILED, NOW_MS + DISABLE_AFTER_MS)

    assert circuits.refusal(URL, NOW_MS + DISABLE_AFTER_MS) == Verdict("dead", DISABLED)


def test_what_is_remembered_is_bounded() -> None:
    circuits = Circuits()
    for number in range(ENDPOINTS_MAX + 1):
        circuits.note(f"https://{number}.example", Verdict("dead", GONE, 410, is_gone=True), NOW_MS)

    assert circuits.refusal("https://0.example", NOW_MS) is None
    assert circuits.refusal("https://1.example", NOW_MS) is not None
