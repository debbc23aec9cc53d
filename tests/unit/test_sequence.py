"""The kind `sequence`: order, time, and what is overdue. Panes of 1 s, sequences of 20 s; letters name events."""

from uuid import UUID

import msgspec
import pytest
from tests.property.detection import START_MS, Happening, Line, event_at, records, rules

from flowgauge.processors.kinds import EventsInOrder, Window
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.event import Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH

AB: dict[str, object] = {"steps": [{"event": "a"}, {"event": "b"}], "within": "20s"}
ABC: dict[str, object] = {"steps": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "20s"}


def rule_of(fields: dict[str, object], fires_when: str) -> EventsInOrder:
    return EventsInOrder.model_validate(fields | {"fires_when": fires_when})


def sample(at_ms: int, steps: str, number: int = 0) -> Sample:
    return Sample(0, 0, 0, ("t",), at_ms * 1000, steps, f"{steps}@{at_ms}.{number}")


def fed(window: Window, text: str) -> Window:
    """Add `a1 b5`: a at 1.0 s, b at 5.0 s, each in its pane."""
    for word in text.split():
        at_ms = round(float(word[1:]) * 1000)
        window.add(at_ms // 1000 * 1000 + 1000, [sample(at_ms, str("abc".index(word[0])))])
    return window


@pytest.mark.parametrize(
    ("fields", "came", "at_s", "verdict", "reached"),
    [
        (AB, "a1", 2, Verdict.CLEAR, 1),
        (AB, "b1", 2, Verdict.CLEAR, 0),
        (AB, "a1 b5", 6, Verdict.BREACH, 2),
        (AB, "b1 a5", 6, Verdict.CLEAR, 1),  # the wrong order
        (AB, "a1 b21", 22, Verdict.BREACH, 2),  # just in time
        (AB, "a1 b21.001", 22, Verdict.CLEAR, 0),
        (AB, "a1 b5", 25, Verdict.BREACH, 2),  # until `within` has passed
        (AB, "a1 b5", 26, Verdict.CLEAR, 0),
        (AB, "a1 a15 b30", 31, Verdict.BREACH, 2),  # the a that came last is near enough
        (AB, "a1 b5 b15", 30, Verdict.BREACH, 2),  # and again
        (ABC, "a1 c2 b3", 4, Verdict.CLEAR, 2),
        (ABC, "a1 b2 c3", 4, Verdict.BREACH, 3),
        (ABC, "a1 b2 a9 c22", 23, Verdict.CLEAR, 1),  # no b after the second a
        (ABC, "a1 b2 a9 b12 c22", 23, Verdict.BREACH, 3),
    ],
)
def test_a_sequence_is_complete_in_its_order_and_time(  # noqa: PLR0917  # a table
    fields: dict[str, object], came: str, at_s: int, verdict: Verdict, reached: int
) -> None:
    reading = fed(rule_of(fields, "complete").new_window(), came).read(at_s * 1000)

    assert (reading.verdict, reading.value) == (verdict, float(reached))


@pytest.mark.parametrize(
    ("fields", "came", "at_s", "verdict", "reason"),
    [
        (AB, "", 2, Verdict.HELD, "no step has been seen yet"),
        (AB, "b1", 2, Verdict.CLEAR, "every sequence that began is complete"),
        (AB, "a1", 21, Verdict.CLEAR, "step 2 of 2 may still come in time"),  # a b at 21 s is one in time
        (AB, "a1", 22, Verdict.BREACH, "step 2 of 2 did not come in time"),
        (AB, "a1", 2_000, Verdict.BREACH, "step 2 of 2 did not come in time"),
        (AB, "a1 b5", 2_000, Verdict.CLEAR, "every sequence that began is complete"),
        (AB, "a1 b30", 31, Verdict.CLEAR, "every sequence that began is complete"),
        (AB, "a1 a10", 22, Verdict.BREACH, "step 2 of 2 did not come in time"),  # of the first a
        (AB, "a1 a10 b15", 2_000, Verdict.CLEAR, "every sequence that began is complete"),  # it is one of both
        (ABC, "a1 b2", 22, Verdict.BREACH, "step 3 of 3 did not come in time"),
        (ABC, "a1 c2", 22, Verdict.BREACH, "step 2 of 3 did not come in time"),
        (ABC, "a1 b2 a9 c12", 29, Verdict.CLEAR, "step 2 of 3 may still come in time"),
        (ABC, "a1 b2 a9 c12", 30, Verdict.BREACH, "step 2 of 3 did not come in time"),
    ],
)
def test_a_sequence_is_overdue_when_its_time_is_over(  # noqa: PLR0917  # a table
    fields: dict[str, object], came: str, at_s: int, verdict: Verdict, reason: str
) -> None:
    reading = fed(rule_of(fields, "incomplete").new_window(), came).read(at_s * 1000)

    assert (reading.verdict, reading.reason) == (verdict, reason)


@pytest.mark.parametrize(("fires_when", "verdict"), [("complete", Verdict.BREACH), ("incomplete", Verdict.CLEAR)])
def test_of_equal_times_an_earlier_step_counts_as_first(fires_when: str, verdict: Verdict) -> None:
    window = rule_of(AB, fires_when).new_window()

    window.add(2_000, [sample(1_500, "1"), sample(1_500, "0", 1)])  # in the order of their ids

    assert window.read(2_000).verdict is verdict


def test_one_event_is_one_step_of_a_sequence() -> None:
    window = rule_of({"steps": [{"event": "a"}, {"event": "a"}], "within": "20s"}, "complete").new_window()

    window.add(2_000, [sample(1_500, "0 1")])
    once = window.read(2_000).verdict
    window.add(3_000, [sample(2_500, "0 1")])

    assert (once, window.read(3_000).verdict) == (Verdict.CLEAR, Verdict.BREACH)


@pytest.mark.parametrize("fires_when", ["complete", "incomplete"])
@pytest.mark.parametrize("came", ["", "a1", "a1 b2", "a1 b2 a9", "a1 b2 a9 c12"])
def test_a_window_stored_and_restored_reads_the_same(fires_when: str, came: str) -> None:
    rule = rule_of(ABC, fires_when)
    window = fed(rule.new_window(), came)

    restored = rule.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))

    for end_ms in range(13_000, 60_000, 1_000):
        assert (restored.next_change_ms(), restored.is_lasting()) == (window.next_change_ms(), window.is_lasting())
        assert (restored.read(end_ms), restored.examples()) == (window.read(end_ms), window.examples())


def test_examples_are_the_events_of_the_sequence() -> None:
    whole = fed(rule_of(ABC, "complete").new_window(), "a1 b2 a3 b4 c5")
    overdue = fed(rule_of(ABC, "incomplete").new_window(), "a1 a2 b3 a4")

    assert [run.event_id[:3] for run in whole.examples()] == ["0@3", "1@4", "2@5"]
    assert [run.event_id[:3] for run in overdue.examples()] == ["0@1", "1@3"]


def test_it_says_when_a_reading_may_change_and_what_must_be_kept() -> None:
    whole = fed(rule_of(AB, "complete").new_window(), "a1 b5")
    overdue = fed(rule_of(AB, "incomplete").new_window(), "a1")

    assert (whole.next_change_ms(), whole.is_lasting()) == (22_000, False)  # the a alone, then both
    whole.read(22_000)
    assert whole.next_change_ms() == 26_000
    whole.read(26_000)
    assert whole.next_change_ms() is None
    assert (overdue.next_change_ms(), overdue.is_lasting()) == (22_000, True)
    assert not fed(overdue, "b30").is_lasting()


def event(**fields: object) -> Event:
    base = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}
    return msgspec.convert(base | fields, Event)


STEPS = [{"event": "deploy.*", "resource.env": "prod"}, {"state": ["failed", "crashed"]}, {"event": "*.done"}]
DEPLOYED = EventsInOrder.model_validate({"steps": STEPS, "within": "1h"})


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"event": "deploy.done", "resource": {"id": "r", "env": "prod"}}, "0 2"),
        ({"event": "deploy.done"}, "2"),
        ({"event": "flow", "state": "failed"}, "1"),
        ({"event": "flow", "state": "completed"}, None),
    ],
)
def test_an_event_is_every_step_that_it_matches(fields: dict[str, object], outcome: str | None) -> None:
    assert DEPLOYED.outcome(event(**fields)) == outcome


@pytest.mark.parametrize(
    ("name", "state", "could_be"),
    [("deploy.begun", None, True), ("flow", "failed", True), ("flow", "running", False), ("flow", None, False)],
)
def test_only_what_could_be_a_step_is_looked_at_closely(name: str, state: str | None, *, could_be: bool) -> None:
    text = """
rules: [{name: x, when: {sequence: {within: 1h, steps: [{event: "deploy.*"}, {state: failed, flow: a}]}}}]
"""

    assert rules(text).rules[0].could_match(name, "other", state) is could_be


STARTED = """
rules:
  - name: started
    for_each: [run]
    when: {sequence: {steps: [{state: running}, {state: [completed, failed]}], within: 20s, fires_when: incomplete}}
"""


def test_a_run_that_does_not_end_in_time_fires_until_it_ends() -> None:
    line = Line(rules(STARTED))
    made = [
        Happening(START_MS + at * 1000, START_MS + at * 1000, event_at(UUID(int=at), at * 1000, state))
        for at, state in [(1, "running"), (50, "completed"), (60, "running"), (70, "failed")]
    ]

    line.feed(0, records(made))

    told = [(item.to_state, (item.at_ms - START_MS) // 1000) for item in line.end(START_MS + 600_000)]
    assert told == [("firing", 22), ("resolved", 51)]


def test_which_kinds_and_states_could_be_a_step_is_known_without_a_name() -> None:
    """What reads stored events asks so: once it was told that none could be one."""
    text = "  - {name: s, when: {sequence: {steps: [{event: a, kind: log}, {event: b, state: failed}], within: 20s}}}\n"
    (rule,) = rules(f"rules:\n{text}").rules

    assert rule.could_look("log", None)
    assert rule.could_look("flow-run", "failed")
    assert not rule.could_look("flow-run", "running")
