"""A tick of the sensor may move on only when the publisher took all that it told."""

import pytest

from flowgauge.producers import Publisher
from flowgauge.producers.dagster.emitting import emitted

EVENT = {"event": "a", "resource": {"id": "x"}}


def test_what_a_closed_publisher_drops_is_not_emitted() -> None:
    publisher = Publisher("http://127.0.0.1:9")
    publisher.close()

    assert not emitted(publisher, [EVENT])


def test_an_event_that_is_none_for_good_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    with Publisher("http://127.0.0.1:9", close_timeout_ms=0) as publisher:
        assert emitted(publisher, [{"event": object()}, EVENT])
        assert publisher.refused == 1
    assert "is no JSON object" in caplog.text
