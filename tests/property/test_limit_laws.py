"""Limits on what comes in: the law of an account, however its sender asks, and that waiting as told is enough."""

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.gateway.limits import DAY_MS, Account, Quota, Rate

ASKS = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 50_000)), max_size=60)  # ms later, amount
RATES = st.integers(1, 100_000)
BURSTS_MS = st.integers(1, 60_000)


def let_in(account: Account, asks: list[tuple[int, int]], from_ms: int) -> list[tuple[int, int]]:
    """Return when and how much came in."""
    now_ms, found = from_ms, list[tuple[int, int]]()
    for later_ms, amount in asks:
        now_ms += later_ms
        if account.wait_ms(now_ms) == 0:
            account.charge(amount, now_ms)
            found.append((now_ms, amount))
    return found


@given(ASKS, RATES, BURSTS_MS)
def test_over_any_time_no_more_comes_in_than_fills_in_it_and_one_ask(
    asks: list[tuple[int, int]], per_s: int, burst_ms: int
) -> None:
    came = let_in(Rate(per_s, burst_ms), asks, 1_000)

    for first in range(len(came)):
        for last in range(first, len(came)):
            before_last = sum(amount for _, amount in came[first:last])
            assert before_last * 1_000 < per_s * (burst_ms + came[last][0] - came[first][0])


@given(ASKS, st.one_of(st.builds(Rate, RATES, BURSTS_MS), st.builds(Quota, st.integers(1, 1_000_000))))
def test_who_waits_as_told_gets_in_and_not_a_moment_sooner(asks: list[tuple[int, int]], account: Account) -> None:
    now_ms = 1_000
    for later_ms, amount in asks:
        now_ms += later_ms
        if wait_ms := account.wait_ms(now_ms):
            assert account.wait_ms(now_ms + wait_ms - 1) == 1
            now_ms += wait_ms
            assert account.wait_ms(now_ms) == 0
        account.charge(amount, now_ms)


@given(ASKS, RATES, BURSTS_MS, st.integers(1, 10 * DAY_MS))
def test_a_clock_that_steps_back_neither_fills_nor_locks_an_account(
    asks: list[tuple[int, int]], per_s: int, burst_ms: int, back_ms: int
) -> None:
    account = Rate(per_s, burst_ms)
    let_in(account, asks, 20 * DAY_MS)
    now_ms = 20 * DAY_MS + sum(later_ms for later_ms, _ in asks)
    wait_ms = account.wait_ms(now_ms)

    assert account.wait_ms(now_ms - back_ms) == wait_ms
    assert account.wait_ms(now_ms - back_ms + wait_ms) == 0


@given(ASKS, st.integers(1, 1_000_000))
def test_a_quota_is_passed_by_one_ask_at_most_and_is_there_again_with_the_next_day(
    asks: list[tuple[int, int]], per_day: int
) -> None:
    quota = Quota(per_day)
    came = let_in(quota, asks, 5 * DAY_MS)

    assert sum(amount for _, amount in came[:-1]) < per_day
    assert quota.wait_ms(6 * DAY_MS) == 0


@given(ASKS, RATES, BURSTS_MS)
def test_what_is_given_back_was_never_taken(asks: list[tuple[int, int]], per_s: int, burst_ms: int) -> None:
    account, other = Rate(per_s, burst_ms), Rate(per_s, burst_ms)
    for now_ms, amount in let_in(account, asks, 0):
        other.charge(amount, now_ms)
    now_ms = sum(later_ms for later_ms, _ in asks)
    if asks:
        account.charge(asks[0][1], now_ms)
        account.charge(-asks[0][1], now_ms)

    assert account.wait_ms(now_ms) == other.wait_ms(now_ms)
