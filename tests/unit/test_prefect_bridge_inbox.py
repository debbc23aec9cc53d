"""The inbox of a bridge: in order, bounded, and nothing behind what a stop left out."""

import threading

from flowgauge.producers.prefect.bridge_inbox import BYTES_MAX, Compared, Inbox, Told

EVENT = Told("events", b'{"id": 1}')


def test_a_comparison_ends_the_batch_of_what_was_told_before_it() -> None:
    inbox = Inbox(threading.Event())
    for item in (EVENT, EVENT, Compared("events", 7), EVENT, Compared("events", 8)):
        inbox.put(item)

    assert inbox.take() == ([EVENT, EVENT], Compared("events", 7))
    assert inbox.take() == ([EVENT], Compared("events", 8))
    assert inbox.take() == ([], None)


def test_live_events_past_the_bytes_are_refused_until_some_are_taken() -> None:
    inbox = Inbox(threading.Event())
    large = Told("events", "x" * (BYTES_MAX // 4), live=True)

    assert [inbox.offer(large) for _ in range(5)] == [True] * 4 + [False]
    assert inbox.take() == ([large], None)
    assert inbox.offer(large)


def test_once_it_stops_nothing_is_put_so_no_comparison_stands_behind_a_gap() -> None:
    stop = threading.Event()
    inbox = Inbox(stop)
    inbox.put(EVENT)
    stop.set()

    inbox.put(EVENT)
    inbox.put(Compared("events", 7))

    assert inbox.take() == ([EVENT], None)
    assert inbox.take() == ([], None)


def test_what_is_read_of_the_past_waits_for_room() -> None:
    inbox = Inbox(threading.Event())
    large = Told("events", b"x" * BYTES_MAX)
    inbox.put(large)
    waiting = threading.Thread(target=inbox.put, args=(EVENT,))
    waiting.start()

    assert inbox.take() == ([large], None)
    waiting.join()
    assert inbox.take() == ([EVENT], None)
