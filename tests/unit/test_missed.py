"""The kind `missed`: which slot is missed, what ends a miss, and what it says. Slots are each minute, panes of 1 s.

Times are seconds: of the window since 1970, of the stories after START, which is 20 s after a slot.
"""

from uuid import UUID

import msgspec
import pytest
from tests.property.detection import START_MS, Happening, Line, event_at, records, rules

from flowgauge.processors.kinds import Missed, Window
from flowgauge.processors.kinds.missed import RUNS_MAX
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.schemas.event import STATES, Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH

RULE = Missed.model_validate({"every": "1m", "grace": "20s"})
LONG = Missed.model_validate({"every": "1m", "grace": "90s"})


def seen(at: float, outcome: str = "started", run: str = "", scheduled: float | None = None) -> Sample:
    scheduled_ms = None if scheduled is None else round(scheduled * 1000)
    name = f"{at}-{outcome}"
    return Sample(0, 0, 0, ("t",), round(at * 1_000_000), outcome, name, run or name, "", None, scheduled_ms)


def heard(*samples: Sample, rule: Missed = RULE) -> Window:
    window = rule.new_window()
    for sample in samples:
        window.add(sample.occurred_us // 1_000_000 * 1000 + 1000, [sample])
    return window


def at(window: Window, seconds: int) -> Reading:
    return window.read(seconds * 1000)


def test_a_slot_is_missed_once_its_grace_is_over() -> None:
    window = heard(seen(60.5))

    readings = [at(window, second) for second in (61, 140, 141, 500)]

    assert [each.verdict for each in readings] == [Verdict.CLEAR, Verdict.CLEAR, Verdict.BREACH, Verdict.BREACH]
    assert [each.value for each in readings] == [None, None, 21.0, 380.0]  # seconds since the slot at 120
    assert readings[2].reason == "no run has started for the slot 1970-01-01T00:02:00+00:00"
    assert {each.threshold for each in readings} == {20.0}
    assert window.next_change_ms() == 141_000
    assert [run.event_id for run in window.examples()] == ["60.5-started"]


def test_nothing_is_missed_before_a_first_event_was_seen() -> None:
    window = RULE.new_window()

    assert (at(window, 600).verdict, window.next_change_ms(), window.is_lasting()) == (Verdict.HELD, None, False)


def test_a_run_that_is_to_come_is_watched_from_its_announcement_on() -> None:
    window = heard(seen(61, "seen"))

    assert [at(window, second).verdict for second in (62, 140, 141)] == [Verdict.CLEAR, Verdict.CLEAR, Verdict.BREACH]
    assert list(window.examples()) == []
    assert window.is_lasting()


@pytest.mark.parametrize(
    ("start", "value", "reason"),
    [
        (seen(165), 45.0, "a run started 45s after the slot 1970-01-01T00:02:00+00:00"),
        (seen(265), 145.0, "a run started 2m25s after the slot 1970-01-01T00:02:00+00:00"),
        (seen(255), 135.0, "a run started for a later slot: the one at 1970-01-01T00:02:00+00:00 had none"),
        (seen(171), 51.0, "a run started for a later slot: the one at 1970-01-01T00:02:00+00:00 had none"),
    ],
)
def test_a_run_that_starts_ends_a_miss_and_tells_how_late_it_was(start: Sample, value: float, reason: str) -> None:
    window = heard(seen(60.5), start)

    reading = at(window, start.occurred_us // 1_000_000 + 1)

    assert (reading.verdict, reading.value, reading.reason) == (Verdict.CLEAR, value, reason)
    assert [run.event_id for run in window.examples()] == [start.event_id]


def test_of_a_backlog_the_last_slot_that_is_due_ends_the_miss() -> None:
    """Runs that are scheduled for 120, 180 and 240 start late, one after the other."""
    window = heard(seen(60.5, scheduled=60))
    verdicts: list[Verdict] = []

    for second, slot in ((242, 120), (250, 180), (258, 240)):
        window.add(second * 1000 + 1000, [seen(second, scheduled=slot)])
        verdicts.append(at(window, second + 1).verdict)

    assert verdicts == [Verdict.BREACH, Verdict.CLEAR, Verdict.CLEAR]  # 240 is within its grace until 260
    assert at(window, 259).reason == "a run started 1m10s after the slot 1970-01-01T00:03:00+00:00"


def test_a_grace_longer_than_the_time_between_slots_makes_no_miss_inside_it() -> None:
    window = heard(seen(60.5), seen(200), rule=LONG)

    assert window.next_change_ms() == 331_000  # 90 s after 240: the start at 200 met 120 and 180
    assert [at(window, second).verdict for second in (201, 330, 331)] == [Verdict.CLEAR, Verdict.CLEAR, Verdict.BREACH]


@pytest.mark.parametrize("again", ["started", "ended"])
def test_what_goes_on_or_ends_is_no_new_start(again: str) -> None:
    window = heard(seen(60.5, run="a"), seen(125, again, run="a"))

    assert at(window, 141).verdict is Verdict.BREACH


def test_of_a_run_that_is_only_heard_of_at_its_end_the_end_counts() -> None:
    assert at(heard(seen(60.5), seen(125, "ended")), 141).verdict is Verdict.CLEAR


def test_a_run_that_starts_ahead_of_its_time_meets_the_next_slot_and_hides_none_before() -> None:
    assert heard(seen(70, scheduled=120)).next_change_ms() == 201_000
    assert heard(seen(70, scheduled=600)).next_change_ms() == 141_000


def test_a_run_for_a_slot_long_gone_meets_no_slot_of_today() -> None:
    assert heard(seen(601), seen(650, scheduled=60)).next_change_ms() == 681_000


def test_the_runs_that_are_remembered_are_few_and_the_ended_ones_go_first() -> None:
    window = heard(
        seen(1, run="running"), seen(2, "ended", run="over"), *(seen(3, run=f"{n}") for n in range(RUNS_MAX - 1))
    )

    window.add(126_000, [seen(125, run="running")])
    assert at(window, 141).verdict is Verdict.BREACH  # it is remembered
    window.add(143_000, [seen(142, "ended", run="over")])
    assert at(window, 143).verdict is Verdict.CLEAR  # it is not
    assert len(msgspec.msgpack.encode(window.dump())) < 1_000


def test_a_window_stored_and_restored_reads_the_same_and_is_small() -> None:
    for window in (heard(seen(1)), heard(seen(1, "seen")), heard(seen(1), seen(3, "ended"), seen(165, scheduled=120))):
        stored = msgspec.msgpack.encode(window.dump())
        restored = RULE.load_window(msgspec.msgpack.decode(stored))

        assert [at(restored, each) for each in (10, 166, 500)] == [at(window, each) for each in (10, 166, 500)]
        assert (restored.next_change_ms(), restored.examples()) == (window.next_change_ms(), window.examples())
        assert len(stored) < 200


COMPLETES = {"every": "1m", "grace": "20s", "completes_within": "50s"}


@pytest.mark.parametrize(
    ("if_failed", "end", "verdict"),
    [
        ("miss", "completed", Verdict.CLEAR),
        ("miss", "ended", Verdict.BREACH),
        ("skip", "ended", Verdict.CLEAR),
        ("skip", "started", Verdict.BREACH),  # it is still running
    ],
)
def test_a_slot_whose_run_has_not_completed_in_time_is_missed_and_of_a_failed_one_the_rule_says(
    if_failed: str, end: str, verdict: Verdict
) -> None:
    rule = Missed.model_validate(COMPLETES | {"if_failed": if_failed})
    window = heard(seen(100, "seen"), seen(121, run="a"), seen(150, end, run="a"), rule=rule)
    assert at(window, 170).verdict is Verdict.CLEAR

    window.add(182_000, [seen(181, run="b")])
    reading = at(window, 171 if verdict is Verdict.BREACH else 182)

    assert reading.verdict is verdict
    if verdict is Verdict.BREACH:
        said = (51.0, 50.0, "no run has completed for the slot 1970-01-01T00:02:00+00:00")
        assert (reading.value, reading.threshold, reading.reason) == said


def test_a_run_that_completes_late_ends_the_miss_and_tells_by_how_much() -> None:
    window = heard(seen(100, "seen"), seen(121, run="a"), rule=Missed.model_validate(COMPLETES))
    assert at(window, 171).verdict is Verdict.BREACH

    window.add(176_000, [seen(175.5, "completed", run="a")])
    restored = Missed.model_validate(COMPLETES).load_window(
        msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump()))
    )

    for each in (window, restored):
        reading = at(each, 176)
        assert (reading.verdict, reading.value, reading.threshold) == (Verdict.CLEAR, 55.5, 50.0)
        assert reading.reason == "a run completed 55s after the slot 1970-01-01T00:02:00+00:00"
        assert each.next_change_ms() == 201_000  # the next start


def test_every_state_tells_whether_a_run_has_started() -> None:
    base = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}
    outcomes = {
        state: RULE.outcome(msgspec.convert(base | ({"state": state} if state else {}), Event))
        for state in (*STATES, "")
    }

    assert outcomes == {
        **dict.fromkeys(("scheduled", "late", "pending"), "seen"),
        **dict.fromkeys(("running", "retrying", "paused", "cancelling"), "started"),
        "completed": "completed",
        **dict.fromkeys(("failed", "crashed", "cancelled"), "ended"),
        "": None,
    }


STORY = """
rules:
  - name: missed
    for_each: [flow]
    when: {missed: {every: 1m, grace: 20s}}
    keep_firing_for: KEEP
"""


def told(*happened: tuple[int, str], until: int, keep: str = "0s") -> list[tuple[str, int, str]]:
    """Return (state, seconds after START, reason) of the transitions of one flow; each state is of a run of its own."""
    line = Line(rules(STORY.replace("KEEP", keep)))
    made = [
        Happening(START_MS + at * 1000, START_MS + at * 1000, event_at(UUID(int=number + 1), at * 1000, state, number))
        for number, (at, state) in enumerate(happened)
    ]
    line.feed(0, records(made))
    found = line.end(START_MS + until * 1000)
    return [(item.to_state, (item.at_ms - START_MS) // 1000, item.reason) for item in found]


def test_many_slots_that_are_missed_make_one_incident_which_the_next_run_ends() -> None:
    assert told((1, "completed"), (600, "running"), until=700) == [
        ("firing", 61, "no run has started for the slot 2026-09-21T14:14:00+00:00"),
        ("resolved", 601, "a run started for a later slot: the one at 2026-09-21T14:14:00+00:00 had none"),
        ("firing", 661, "no run has started for the slot 2026-09-21T14:24:00+00:00"),
    ]


def test_runs_that_start_in_time_are_never_told() -> None:
    assert told(*((45 + 60 * number, "running") for number in range(9)), until=560) == []


def test_a_log_that_stands_still_raises_nothing() -> None:
    """However long nothing is read of it: the clock is the log's, and what it holds is heard first."""
    assert told((1, "running"), until=70) == []
    assert [state for state, *_ in told((1, "running"), until=71)] == ["firing"]
