"""The kind `late`: which slots are late, and when. Times are seconds after START."""

from uuid import UUID

import msgspec
import pytest
from tests.property.detection import START_MS

from flowgauge.processors.kinds import Late, Window
from flowgauge.processors.kinds import late as late_kind
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.event import Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH

RULE = Late.model_validate({"after": "30s", "within": "2m"})  # panes of 1 s
UPTICK = Late.model_validate({"after": "30s", "at_least": 5, "within": "5m"})


def seen(at: float, outcome: str, *, scheduled: float | None = None, run: str = "r", event_id: str = "") -> Sample:
    """Return a sample of flow f that occurred `at` s after START."""
    return Sample(
        offset=0,
        append_ms=START_MS + int(at * 1000),
        rule=0,
        key=("t", "f"),
        occurred_us=START_MS * 1000 + int(at * 1_000_000),
        outcome=outcome,
        event_id=event_id or f"{at}-{outcome}-{run}",
        run=run,
        flow="f",
        scheduled_ms=None if scheduled is None else START_MS + int(scheduled * 1000),
    )


def late_at(*samples: Sample, rule: Late = RULE, until: int = 120, window: Window | None = None) -> list[int]:
    """Return after how many seconds the count of late slots grew, a slot a second."""
    window = window or rule.new_window()
    pane, before, found = rule.pane_ms, 0, list[int]()
    for end_ms in range(START_MS + pane, START_MS + until * 1000 + 1, pane):
        pane_samples = [each for each in samples if pane_end(each.occurred_us // 1000, pane) == end_ms]
        if pane_samples:
            window.add(end_ms, pane_samples)
        count = window.read(end_ms).samples
        found += [(end_ms - START_MS) // 1000] * (count - before)
        before = count
    return found


# scheduled 10, after 30 s: deadline 40. The pane that holds it ends at 41.


def test_a_run_that_starts_in_time_is_not_late() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(20, "started", scheduled=10)) == []


def test_a_run_that_never_starts_is_late_at_the_end_of_the_pane_of_its_deadline() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10)) == [41]


def test_a_start_exactly_at_the_deadline_is_in_time() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(40, "started", scheduled=10)) == []


def test_a_start_a_microsecond_after_the_deadline_is_late() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(40.000001, "started", scheduled=10)) == [41]


def test_a_start_after_the_deadline_does_not_take_the_lateness_back() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(60, "started", scheduled=10)) == [41]


def test_a_slot_first_seen_after_its_deadline_is_judged_where_it_is_seen() -> None:
    assert late_at(seen(70, "started", scheduled=10)) == [71]


def test_the_same_slot_is_late_once_however_often_it_is_heard_of() -> None:
    samples = [seen(at, "scheduled", scheduled=10, event_id=str(at)) for at in (1, 2, 50, 60, 100)]

    assert late_at(*samples) == [41]


def test_two_slots_of_a_flow_are_late_by_themselves() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(6, "scheduled", scheduled=20, run="s")) == [41, 51]


def test_a_start_that_names_only_its_run_closes_the_slot_of_that_run() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(20, "started")) == []
    assert late_at(seen(5, "scheduled", scheduled=10), seen(20, "started", run="other")) == [41]


def test_a_start_of_a_run_never_heard_of_says_nothing() -> None:
    assert late_at(seen(5, "started")) == []


# Prefect names no scheduled time: its `late` state comes 15 s after it, so the deadline is 15 s after the sighting.


def test_a_sighting_is_late_if_no_start_comes_within_after_less_15_seconds() -> None:
    assert late_at(seen(20, "late")) == [36]
    assert late_at(seen(20, "late"), seen(35, "started")) == []
    assert late_at(seen(20, "late"), seen(35.5, "started")) == [36]


def test_a_sighting_is_late_at_once_if_after_is_no_longer_than_prefect_waits() -> None:
    rule = Late.model_validate({"after": "10s", "within": "2m"})

    assert late_at(seen(20, "late"), rule=rule) == [21]


def test_a_second_sighting_of_a_run_is_the_same_slot() -> None:
    assert late_at(seen(20, "late"), seen(50, "late", event_id="again")) == [36]


@pytest.mark.parametrize("closed", ["cancelled before the deadline", "crashed before it started"])
def test_a_run_that_ends_without_starting_in_time_is_not_late(closed: str) -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(20, "ended")) == []


def test_a_run_that_is_cancelled_after_its_deadline_was_late() -> None:
    assert late_at(seen(5, "scheduled", scheduled=10), seen(60, "ended")) == [41]


def test_a_run_that_is_scheduled_again_is_judged_by_its_last_slot() -> None:
    again = seen(8, "scheduled", scheduled=60, event_id="again")

    assert late_at(seen(5, "scheduled", scheduled=10), again, seen(65, "started")) == [41]


# ── the window ──


def test_late_slots_leave_the_window_after_within() -> None:
    window = RULE.new_window()
    assert late_at(seen(5, "scheduled", scheduled=10), window=window) == [41]

    readings = [window.read(START_MS + at * 1000).samples for at in (160, 161)]

    assert readings == [1, 0]


def test_an_uptick_fires_at_the_fifth_late_run_and_not_before() -> None:
    window = UPTICK.new_window()
    samples = [seen(at, "scheduled", scheduled=at, run=str(at)) for at in (0, 20, 40, 60, 80)]
    window.add(START_MS + 82_500, samples)

    readings: dict[float, Reading] = {}
    runs: dict[float, list[str]] = {}
    for at in (95, 112.5, 332.5):
        readings[at] = window.read(START_MS + int(at * 1000))
        runs[at] = [example.run for example in window.examples()]

    assert [(each.verdict, each.samples) for each in readings.values()] == [
        (Verdict.CLEAR, 4),
        (Verdict.BREACH, 5),
        (Verdict.CLEAR, 4),
    ]
    assert runs[112.5] == ["0", "20", "40", "60", "80"]
    assert readings[112.5].threshold == 5


def test_no_late_run_is_a_count_of_zero_and_not_missing_data() -> None:
    reading = RULE.new_window().read(START_MS)

    assert (reading.verdict, reading.value) == (Verdict.CLEAR, 0.0)


def test_slots_are_bounded_and_those_past_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_kind, "SLOTS_MAX", 2)
    window = RULE.new_window()
    assert isinstance(window, late_kind.LateWindow)

    window.add(START_MS + 1_000, [seen(0.5, "scheduled", scheduled=1, run=str(run)) for run in range(3)])
    window.add(START_MS + 2_000, [seen(1.5, "scheduled", scheduled=at, run=str(at)) for at in (2, 3, 4)])

    assert window.take_refused() == 2  # the slots of 3 and 4: the three runs of slot 1 are one slot


def test_slots_only_remembered_make_room_for_new_ones_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_kind, "SLOTS_MAX", 2)
    window = RULE.new_window()
    late_at(seen(5, "scheduled", scheduled=10), seen(6, "scheduled", scheduled=20, run="s"), window=window, until=290)

    window.add(START_MS + 291_000, [seen(290, "scheduled", scheduled=300, run="t")])

    assert window.take_refused() == 2
    assert [slot.name for slot in window.dump()[0]] == [f"f@{START_MS + 300_000}"]
    assert window.next_change_ms() == START_MS + 331_000


def test_slots_are_forgotten_once_their_runs_have_been_over_for_a_window() -> None:
    window = RULE.new_window()
    ends = [seen(50, "ended"), seen(60, "ended", run="s")]
    late_at(
        seen(5, "scheduled", scheduled=10),
        seen(6, "scheduled", scheduled=20, run="s"),
        seen(30, "started"),
        *ends,
        window=window,
    )

    late_at(window=window, until=400)

    assert window.dump() == [[], []]
    assert window.next_change_ms() is None


def test_a_slot_whose_run_never_tells_its_end_is_forgotten_after_a_day() -> None:
    window = RULE.new_window()
    late_at(seen(5, "scheduled", scheduled=10), seen(30, "started"), window=window)

    day_ms = START_MS + 41_000 + 24 * 3_600_000
    window.read(day_ms - 1_000)
    assert len(window.dump()[0]) == 1
    window.read(day_ms)
    assert window.dump() == [[], []]
    assert window.next_change_ms() is None


def test_a_slot_that_waits_for_its_run_costs_nothing_while_it_waits() -> None:
    """Once, each remembered slot was looked at once a window: a busy key took half a minute to catch up an hour."""
    window = RULE.new_window()
    window.add(START_MS + 5_000, [seen(4, "started", scheduled=10)])
    ends: list[int] = []
    while (end_ms := window.next_change_ms()) is not None:
        window.read(end_ms)
        ends.append(end_ms - START_MS)

    assert ends == [41_000 + 24 * 3_600_000 + RULE.within]


def test_a_start_hours_after_its_slot_was_late_is_not_late_again() -> None:
    """Once, a judged slot was forgotten a window later, and its start opened it again."""
    assert late_at(seen(5, "scheduled", scheduled=10), seen(7_200, "started", scheduled=10), until=7_300) == [41]


def test_a_retry_of_a_run_that_started_in_time_is_not_late() -> None:
    """Once, the retry's start, past the deadline by more than a window, was taken for a late one."""
    samples = [
        seen(5, "started", scheduled=10),
        seen(1_000, "went on", scheduled=10),
        seen(1_010, "started", scheduled=10, event_id="retry"),
    ]

    assert late_at(*samples, until=1_100) == []


def test_a_run_that_failed_and_is_run_again_within_a_window_is_not_late() -> None:
    samples = [
        seen(5, "started", scheduled=10),
        seen(1_000, "ended", scheduled=10),
        seen(1_100, "started", scheduled=10, event_id="again"),
        seen(1_300, "started", scheduled=10, event_id="and again"),
    ]

    assert late_at(*samples, until=1_500) == []


def test_examples_are_those_heard_of_first_whatever_their_slots_are_called() -> None:
    window = UPTICK.new_window()
    runs = [seen(at, "late", run=f"run-{9 - at}") for at in range(7)]
    window.add(START_MS + 7_500, runs)
    window.read(START_MS + 60_000)

    assert [example.run for example in window.examples()] == ["run-9", "run-8", "run-7", "run-6", "run-5"]


# ── what events say ──


def event(state: str | None, *, scheduled: bool = False, run: str | None = "r") -> Event:
    fields = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}
    fields |= {"state": state, "run": run, "scheduled_for": EPOCH if scheduled else None}
    return msgspec.convert(fields, Event)


@pytest.mark.parametrize(
    ("state", "scheduled", "run", "outcome"),
    [
        ("scheduled", True, "r", "scheduled"),
        ("pending", True, "r", "scheduled"),
        ("scheduled", False, "r", None),  # a run whose time nobody names cannot be late
        ("late", False, "r", "late"),
        ("late", True, "r", "late"),
        ("running", False, "r", "started"),
        ("retrying", False, "r", "went on"),
        ("paused", False, "r", "went on"),
        ("completed", False, "r", "ended"),
        ("failed", False, "r", "ended"),
        ("crashed", False, "r", "ended"),
        ("cancelling", False, "r", "went on"),
        ("cancelled", False, "r", "ended"),
        ("running", False, None, None),  # neither a run nor a slot
        ("running", True, None, "started"),
        (None, True, "r", None),
    ],
)
def test_each_state_says_something_about_a_slot(
    state: str | None, scheduled: bool, run: str | None, outcome: str | None
) -> None:
    assert RULE.outcome(event(state, scheduled=scheduled, run=run)) == outcome


def test_a_long_run_that_began_in_time_is_not_late_when_it_ends() -> None:
    """Once, its end opened its slot again after that was judged and forgotten, past the deadline."""
    window = UPTICK.new_window()
    window.add(START_MS + 5_000, [seen(0, "scheduled", scheduled=5, run="r"), seen(4, "started", scheduled=5, run="r")])
    window.read(START_MS + 2_000_000)

    window.add(START_MS + 2_002_500, [seen(2_001, "ended", scheduled=5, run="r")])

    assert window.read(START_MS + 2_002_500).samples == 0
