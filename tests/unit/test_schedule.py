"""The retry schedule: how long, how often, and what the receiver may ask for."""

import pytest

from flowgauge.schemas.times import parse_time_ms
from flowgauge.sinks.webhooks.schedule import (
    GONE,
    RETRY_AFTER_MS_MAX,
    RETRY_DELAYS_MS,
    WAIT_MS_MAX,
    RetryClass,
    Verdict,
    judge_answer,
    parse_retry_after_ms,
    retry_delay_ms,
)

NOW_MS = parse_time_ms("2026-11-23T09:00:00Z")


@pytest.mark.parametrize(("retry", "hours"), [("page", 75), ("chat", 8), ("generic", 75)])
def test_a_delivery_is_tried_for_hours_and_then_given_up(retry: RetryClass, hours: int) -> None:
    delays_ms = RETRY_DELAYS_MS[retry]

    assert (hours - 1) * 3_600_000 <= sum(delays_ms) <= (hours + 1) * 3_600_000
    assert retry_delay_ms("d", len(delays_ms), retry=retry) is None
    assert retry_delay_ms("d", len(delays_ms) - 1, retry=retry) is not None


@pytest.mark.parametrize(
    ("retry", "failures"),
    [(retry, each) for retry, waits in RETRY_DELAYS_MS.items() for each in range(1, len(waits))],
)
def test_each_wait_is_within_a_fifth_of_its_schedule_and_repeats_exactly(retry: RetryClass, failures: int) -> None:
    waits = [retry_delay_ms(f"delivery-{number}", failures, retry=retry) for number in range(200)]
    scheduled_ms = RETRY_DELAYS_MS[retry][failures]

    assert all(wait and 0.8 * scheduled_ms <= wait <= 1.2 * scheduled_ms for wait in waits)
    assert all(wait and wait <= WAIT_MS_MAX for wait in waits)
    assert len(set(waits)) > 20
    assert waits == [retry_delay_ms(f"delivery-{number}", failures, retry=retry) for number in range(200)]


def test_a_receiver_can_make_a_wait_longer_up_to_an_hour_and_never_shorter() -> None:
    assert retry_delay_ms("d", 1, 60_000) == 60_000
    assert retry_delay_ms("d", 1, 10**12) == RETRY_AFTER_MS_MAX
    assert retry_delay_ms("d", 5, 1) == retry_delay_ms("d", 5)


@pytest.mark.parametrize(
    ("text", "asked_ms"),
    [
        ("120", 120_000),
        (" 1.5 ", 1_500),
        ("Mon, 23 Nov 2026 09:02:00 GMT", 120_000),
        ("Mon, 23 Nov 2026 10:02:00 +0100", 120_000),
        ("Mon, 23 Nov 2026 08:00:00 GMT", 0),
        ("Monday, 23-Nov-26 09:00:30 GMT", 30_000),
        ("", 0),
        ("-5", 0),
        ("soon", 0),
        ("1e9", 0),
        ("nan", 0),
        ("9" * 400, 0),
        ("Mon, 99 Nov 2026 09:02:00 GMT", 0),
        ("Mon, 23 Nov 2026 09:02:00 +99999999999999", 0),
        ("Mon, 23 Nov 99999999999999999999 09:02:00 GMT", 0),
    ],
)
def test_retry_after_is_read_in_its_three_forms_and_never_fails(text: str, asked_ms: int) -> None:
    assert parse_retry_after_ms(text, NOW_MS) == asked_ms


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict("delivered", "", 200, 7)),
        (204, Verdict("delivered", "", 204, 7)),
        (307, Verdict("failed", "answered 3xx", 307, 7, 2_000)),
        (404, Verdict("failed", "answered 4xx", 404, 7, 2_000)),
        (410, Verdict("dead", GONE, 410, 7, is_gone=True)),
        (429, Verdict("failed", "answered 429", 429, 7, 2_000)),
        (503, Verdict("failed", "answered 5xx", 503, 7, 2_000)),
    ],
)
def test_only_2xx_is_success_and_only_410_is_final(status: int, verdict: Verdict) -> None:
    assert judge_answer(status, retry_after="2", elapsed_ms=7, now_ms=NOW_MS) == verdict
