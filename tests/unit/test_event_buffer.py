"""The buffer between the work and the sender."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.event_buffer import EventBuffer


def test_what_is_sent_stays_until_it_is_discarded() -> None:
    buffer = EventBuffer(events_max=10, bytes_max=100)
    for event in (b"a", b"b", b"c"):
        buffer.put(event)

    first = buffer.peek(events_max=2, bytes_max=100)
    again = buffer.peek(events_max=2, bytes_max=100)
    buffer.discard(2)

    assert (first, again, buffer.peek(events_max=2, bytes_max=100)) == ([b"a", b"b"], [b"a", b"b"], [b"c"])


def test_at_the_bound_of_events_the_newest_is_dropped_and_counted() -> None:
    buffer = EventBuffer(events_max=2, bytes_max=100)

    counts = [buffer.put(event) for event in (b"a", b"b", b"c")]

    assert (counts, buffer.dropped, buffer.peek(events_max=9, bytes_max=9)) == ([1, 2, 0], 1, [b"a", b"b"])


def test_at_the_bound_of_bytes_the_newest_is_dropped_and_smaller_ones_still_fit() -> None:
    buffer = EventBuffer(events_max=10, bytes_max=5)

    counts = [buffer.put(event) for event in (b"aaa", b"bbb", b"cc")]

    assert (counts, buffer.dropped) == ([1, 0, 2], 1)


def test_a_batch_holds_at_least_one_event_however_large() -> None:
    buffer = EventBuffer(events_max=10, bytes_max=100)
    buffer.put(b"x" * 50)
    buffer.put(b"y")

    assert buffer.peek(events_max=10, bytes_max=10) == [b"x" * 50]


def test_a_closed_buffer_drops_what_is_left_and_what_comes() -> None:
    buffer = EventBuffer(events_max=10, bytes_max=100)
    buffer.put(b"a")

    buffer.close()

    assert (buffer.put(b"b"), buffer.dropped, len(buffer)) == (0, 2, 0)


def test_discarding_after_the_end_forgets_nothing_twice() -> None:
    buffer = EventBuffer(events_max=10, bytes_max=100)
    buffer.put(b"a")

    buffer.close()
    buffer.discard(1)

    assert len(buffer) == 0


def test_threads_that_put_at_once_lose_nothing_and_keep_their_own_order() -> None:
    buffer = EventBuffer(events_max=10_000, bytes_max=1_000_000)

    def put_500(name: int) -> None:
        for i in range(500):
            buffer.put(b"%c%d" % (name, i))

    threads = [threading.Thread(target=put_500, args=(name,)) for name in b"abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    events = buffer.peek(events_max=10_000, bytes_max=1_000_000)

    for name in b"abcd":
        assert [e for e in events if e[0] == name] == [b"%c%d" % (name, i) for i in range(500)]
    assert len(events) == 2_000


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.integers(0, 4))))
def test_the_bounds_hold_and_every_event_is_kept_or_counted(steps: list[bytes | int]) -> None:
    buffer = EventBuffer(events_max=5, bytes_max=20)
    kept: list[bytes] = []
    dropped = 0

    for step in steps:
        if isinstance(step, int):
            buffer.discard(step)
            kept = kept[step:]
        elif buffer.put(step):
            kept.append(step)
        else:
            dropped += 1

    assert buffer.peek(events_max=99, bytes_max=99) == kept
    assert buffer.dropped == dropped
    assert sum(map(len, kept)) <= 20
    assert len(kept) <= 5
