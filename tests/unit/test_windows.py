"""Windows: they end with all that is asked for, and begin with whole minutes."""

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.sinks.clickhouse.windows import longer, window

DAY_MS = 86_400_000


@given(
    st.integers(0, 400 * DAY_MS),
    st.integers(-DAY_MS, 400 * DAY_MS),
    st.integers(60_000, DAY_MS),
    st.data(),
)
def test_each_window_is_longer_and_the_last_is_all(
    since_ms: int, asked_ms: int, length_ms: int, data: st.DataObject
) -> None:
    begins = [window(since_ms, since_ms + asked_ms, length_ms)]
    wanted = data.draw(st.integers(1, 10_000))
    while begins[-1] != since_ms:
        length_ms = longer(length_ms, data.draw(st.integers(0, wanted - 1)), wanted, len(begins))
        begins.append(window(since_ms, since_ms + asked_ms, length_ms))

    assert begins == sorted(set(begins), reverse=True)
    assert all(begin % 60_000 == 0 for begin in begins[:-1])
    assert len(begins) <= 6


@given(st.integers(60_000, DAY_MS), st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 5))
def test_rows_that_lie_as_close_fill_the_next_window(length_ms: int, found: int, wanted: int, looks: int) -> None:
    assert longer(length_ms, found, wanted, looks) * found >= length_ms * wanted
