"""Windows: they end with all that is asked for, and begin with whole minutes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.sinks.clickhouse.windows import windows

DAY_MS = 86_400_000


@given(st.integers(0, 400 * DAY_MS), st.integers(-DAY_MS, 400 * DAY_MS), st.integers(60_000, DAY_MS))
def test_each_window_is_longer_and_the_last_is_all(since_ms: int, length_ms: int, first_ms: int) -> None:
    begins = list(windows(since_ms, since_ms + length_ms, first_ms))

    assert begins[-1] == since_ms
    assert all(later > earlier for later, earlier in pairwise(begins))
    assert all(begin % 60_000 == 0 for begin in begins[:-1])
    assert len(begins) <= 6
