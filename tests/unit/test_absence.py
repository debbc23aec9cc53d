"""The kind `absence`: when a key is silent, and what ends a watch. Times are seconds after START; panes of 1 s."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS, Happening, Line, event_at, records, rules

from flowgauge.processors.kinds import Absence, Window
from flowgauge.processors.kinds.kind import Kind
from flowgauge.processors.reading import Verdict
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.event import Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH

RULE = Absence.model_validate({"after": "30s"})


def event(**fields: object) -> Event:
    base = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}
    return msgspec.convert(base | fields, Event)


def seen(at: float, outcome: str = "heard") -> Sample:
    return Sample(0, 0, 0, ("t",), int(at * 1_000_000), outcome, f"{at}-{outcome}", "r")


def heard(*samples: Sample) -> Window:
    window = RULE.new_window()
    window.add(100_000, samples)
    return window


def test_it_is_absent_once_the_last_event_has_left_the_window() -> None:
    window = heard(seen(1.5), seen(2.25))

    readings = [window.read(at) for at in (3_000, 32_000, 33_000, 40_000)]

    assert [each.verdict for each in readings] == [Verdict.CLEAR, Verdict.CLEAR, Verdict.BREACH, Verdict.BREACH]
    assert [each.value for each in readings] == [0.75, 29.75, 30.75, 37.75]  # seconds since
    assert {each.threshold for each in readings} == {30.0}
    assert window.next_change_ms() == 33_000
    assert [run.event_id for run in window.examples()] == ["2.25-heard"]


def test_an_event_at_the_begin_of_the_window_is_in_it() -> None:
    window = heard(seen(2))

    assert [window.read(at).verdict for at in (32_000, 33_000)] == [Verdict.CLEAR, Verdict.BREACH]
    assert window.next_change_ms() == 33_000


def test_an_event_that_comes_again_clears_it() -> None:
    window = heard(seen(1))
    assert window.read(60_000).verdict is Verdict.BREACH

    window.add(61_000, [seen(60.5)])

    assert window.read(61_000).verdict is Verdict.CLEAR


def test_nothing_is_absent_before_it_was_seen() -> None:
    window = RULE.new_window()

    assert (window.read(60_000).verdict, window.next_change_ms(), window.is_lasting()) == (Verdict.HELD, None, False)


def test_the_end_of_the_run_ends_the_watch_and_of_equal_times_it_comes_last() -> None:
    window = heard(seen(2, "ended"), seen(2, "went on"), seen(1))

    assert window.read(60_000).verdict is Verdict.CLEAR
    assert not window.is_lasting()


@pytest.mark.parametrize(
    ("after_the_end", "is_watched"),
    [
        (seen(3, "heard"), False),  # an echo
        (seen(32, "heard"), False),
        (seen(32.1, "heard"), True),
        (seen(3, "went on"), True),  # it runs again
        (seen(3, "ended"), False),
    ],
)
def test_after_its_end_an_echo_watches_nothing_and_a_run_that_runs_again_is_watched(
    after_the_end: Sample, is_watched: bool
) -> None:
    assert heard(seen(2, "ended"), after_the_end).is_lasting() is is_watched


def test_a_window_stored_and_restored_reads_the_same_and_is_small() -> None:
    for window in (heard(seen(1)), heard(seen(1), seen(2, "ended"))):
        stored = msgspec.msgpack.encode(window.dump())
        restored = RULE.load_window(msgspec.msgpack.decode(stored))

        assert [restored.read(at) for at in (3_000, 50_000)] == [window.read(at) for at in (3_000, 50_000)]
        assert (restored.is_lasting(), restored.examples()) == (window.is_lasting(), window.examples())
        assert len(stored) < 200


@pytest.mark.parametrize(
    ("for_each", "fields", "outcome"),
    [
        (["flow"], {"kind": "flow-run", "state": "completed"}, "heard"),
        (["run"], {"kind": "flow-run", "state": "completed"}, "ended"),
        (["run"], {"kind": "flow-run", "state": "cancelled"}, "ended"),
        (["run"], {"kind": "flow-run", "state": "running"}, "went on"),
        (["run"], {"kind": "flow-run"}, "heard"),
        (["run"], {"kind": "task-run", "state": "completed"}, "heard"),  # a task's end is not the run's
    ],
)
def test_only_a_runs_own_terminal_state_ends_it_and_only_where_a_key_is_a_run(
    for_each: list[str], fields: dict[str, str], outcome: str
) -> None:
    kind: Kind = RULE.grouped_by(for_each)

    assert kind.outcome(event(**fields)) == outcome


@pytest.mark.parametrize(
    ("for_each", "is_seen"),
    [("[run]", True), ("[flow, run]", True), ("[flow]", False), ("[run, resource.host]", False)],
)
def test_the_end_of_a_run_is_seen_whatever_event_the_rule_matches(for_each: str, is_seen: bool) -> None:
    text = f"rules: [{{name: a, match: {{event: beat}}, for_each: {for_each}, when: {{absence: {{after: 30s}}}}}}]"
    (rule,) = parse_rules("rules.yaml", text).rules

    assert rule.could_match("beat", "other", None)
    assert rule.could_match("flow-run.completed", "flow-run", "completed") is is_seen
    assert not rule.could_match("flow-run.running", "flow-run", "running")
    assert not rule.could_match("task-run.completed", "task-run", "completed")


SILENT = """
rules:
  - name: silent
    match: {state: running}
    for_each: [run]
    when: {absence: {after: 30s}}
    keep_firing_for: 40s
"""


def told(*happened: tuple[int, str], until: int) -> list[tuple[str, int]]:
    """Return (state, seconds after START) of the transitions of one run's states."""
    line = Line(rules(SILENT))
    made = [
        Happening(START_MS + at * 1000, START_MS + at * 1000, event_at(UUID(int=number + 1), at * 1000, state))
        for number, (at, state) in enumerate(happened)
    ]
    line.feed(0, records(made))
    return [(item.to_state, (item.at_ms - START_MS) // 1000) for item in line.end(START_MS + until * 1000)]


def test_a_run_that_falls_silent_fires_and_its_end_resolves_it() -> None:
    assert told((1, "running"), (50, "completed"), until=300) == [("firing", 32), ("recovering", 51), ("resolved", 91)]


def test_a_run_that_ends_in_time_is_never_told() -> None:
    assert told((1, "running"), (20, "failed"), until=300) == []


def test_a_run_that_never_comes_again_stays_firing() -> None:
    assert told((1, "running"), until=3_000) == [("firing", 32)]


def test_a_log_that_stands_still_raises_nothing() -> None:
    """However long nothing is read of it: the clock is the log's, and what it holds is heard first."""
    assert told((1, "running"), until=41) == []
    assert told((1, "running"), until=42) == [("firing", 32)]


# ── ends that come too late: the rule allows 10 s ──


def told_late(
    *rows: tuple[float, float, str], rule: str = "when: {absence: {after: 30s}}"
) -> list[tuple[str, float, int]]:
    """Return what a rule tells of a run from rows of (when it happened, when the log got it, state)."""
    happened = [
        Happening(START_MS, START_MS + round(append * 1000), event_at(UUID(int=number), round(at * 1000), state))
        for number, (at, append, state) in enumerate(rows)
    ]
    line = Line(rules(f"rules: [{{name: silent, for_each: [run], {rule}}}]"))
    for record in records(happened):
        line.feed(0, [record])
        line.crash()
    return [(each.to_state, (each.at_ms - START_MS) / 1000, each.late_samples) for each in line.end(START_MS + 900_000)]


ANY_OF = "when: {any_of: {conditions: [{when: {absence: {after: 30s}}}, {match: {run: x}, when: {late: {after: 5m}}}]}}"


@pytest.mark.parametrize("rule", ["when: {absence: {after: 30s}}", ANY_OF])
def test_an_end_that_comes_too_late_ends_the_watch_when_the_log_gets_it(rule: str) -> None:
    assert told_late((0, 0, "running"), (20, 60.5, "completed"), rule=rule) == [("firing", 31, 0), ("resolved", 61, 1)]
    assert told_late((0, 0, "running"), (5, 16, "completed"), rule=rule) == []


def test_what_is_no_end_is_not_heard_too_late() -> None:
    assert told_late((0, 0, "running"), (20, 60, "running")) == [("firing", 31, 0)]


def test_an_end_that_comes_too_late_ends_no_watch_that_a_later_state_began() -> None:
    assert told_late((0, 0, "running"), (20, 20, "running"), (10, 40, "failed")) == [("firing", 51, 1)]
    assert told_late((0, 0, "running"), (10, 10, "failed"), (20, 20, "running"), (10, 40, "failed")) == [
        ("firing", 51, 1)
    ]


@given(
    st.permutations(
        [(1.0, "heard"), (2.0, "went on"), (3.0, "ended"), (20.0, "heard"), (40.0, "heard"), (5.0, "ended")]
    )
)
def test_a_window_that_is_told_of_ends_later_comes_to_what_it_had_come_to_in_order(
    told_in: list[tuple[float, str]],
) -> None:
    others, ends = ([each for each in told_in if (each[1] == "ended") is is_end] for is_end in (False, True))
    in_order, late = RULE.new_window(), RULE.new_window()
    for window, told_so in ((in_order, sorted(told_in)), (late, [*sorted(others), *ends])):
        for at, outcome in told_so:
            window.add(100_000, [seen(at, outcome)])

    assert late.read(100_000) == in_order.read(100_000)


def test_the_late_twin_of_an_end_does_not_take_the_place_of_another_end_at_the_same_time() -> None:
    first, second = (msgspec.structs.replace(seen(3.0, "ended"), event_id=event_id) for event_id in ("a", "b"))
    window = RULE.new_window()
    window.add(4_000, [first, second])

    window.add(100_000, [first])

    assert [each.event_id for each in window.examples()] == ["b"]
