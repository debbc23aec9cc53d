"""The kind `event`: each one told at once, or so many within a window."""

import msgspec
import pytest
from pydantic import ValidationError

from flowgauge.processors.kinds import EventHappened
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.sample import Sample


def samples(count: int) -> list[Sample]:
    return [Sample(0, 0, 0, ("t",), number, "seen", f"{number:02}") for number in range(count)]


def test_without_times_it_has_no_window() -> None:
    assert EventHappened().window_ms == 0


def test_it_fires_while_the_window_holds_as_many_as_times() -> None:
    rule = EventHappened.model_validate({"times": 3, "within": "10s"})
    window = rule.new_window()
    window.add(1_000, samples(2))
    window.add(4_000, samples(1))

    readings = [window.read(at) for at in (4_000, 10_000, 11_000, 14_000)]

    assert [(each.verdict, each.value) for each in readings] == [
        (Verdict.BREACH, 3.0),
        (Verdict.BREACH, 3.0),
        (Verdict.CLEAR, 1.0),
        (Verdict.CLEAR, 0.0),  # none is a count of none, not missing data
    ]
    assert window.next_change_ms() is None


def test_a_window_stored_and_restored_reads_the_same() -> None:
    rule = EventHappened.model_validate({"times": 3, "within": "10s"})
    window = rule.new_window()
    window.add(1_000, samples(8))

    restored = rule.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))

    assert restored.read(1_000) == window.read(1_000)
    assert len(restored.examples()) == 5


@pytest.mark.parametrize("fields", [{"times": 3}, {"within": "10s"}])
def test_times_and_within_go_together(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="go together"):
        EventHappened.model_validate(fields)
