"""The kind `prefect`: matching, buckets and firings, case by case. Times are seconds after START."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from tests.property.detection import START_MS, Happening, rules, run_whole

from flowgauge.processors.kinds.prefect import PrefectTrigger
from flowgauge.processors.kinds.prefect_buckets import SILENCES_MAX
from flowgauge.processors.kinds.prefect_match import covers_name, covers_resources, field_of, is_one_of, label_getter
from flowgauge.schemas.event import Event
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import EPOCH

Row = tuple[float, str] | tuple[float, str, float]  # when the log got it, its name, when it happened


def event(name: str = "x", at: float = 0, number: int = 1, **fields: object) -> Event:
    occurred = EPOCH + timedelta(milliseconds=START_MS + round(at * 1000))
    base = {"id": UUID(int=number), "tenant": "t", "occurred": occurred, "event": name, "resource": {"id": "r"}}
    return msgspec.convert(base | fields, Event)


def fired(trigger: str, rows: Sequence[Row], until: float = 600) -> list[tuple[float, int]]:
    """Return when it fired, and after which event (0 for none)."""
    happened = [
        Happening(0, START_MS + round(row[0] * 1000), event(row[1], row[-1] if len(row) == 3 else row[0], number))
        for number, row in enumerate(rows, 1)
    ]
    ruleset = rules(f"rules: [{{name: a, when: {{prefect: {{{trigger}}}}}}}]")
    return [
        ((item.at_ms - START_MS) / 1000, UUID(item.key["event_id"]).int if item.key["event_id"] else 0)
        for item in run_whole(ruleset, happened, START_MS + round(until * 1000))
    ]


def at(*times: float) -> list[Row]:
    return [(time, "x") for time in times]


@pytest.mark.parametrize(
    ("trigger", "rows", "expected"),
    [
        # Case 4: it fires at once and is mute until the bucket ends.
        ("posture: Reactive, threshold: 3, within: 10s", at(0, 1, 2, 3, 4, 5, 11, 12, 13), [(2, 3), (13, 9)]),
        # Case 5: buckets tumble, so five events in four seconds may be two and three.
        ("posture: Reactive, threshold: 5, within: 60s", at(0, 58, 59, 60, 61, 62), []),
        # Case 1: the first event looks back 15 minutes, whatever `within`.
        (
            "posture: Reactive, threshold: 3, within: 60s",
            [(0, "x"), (1, "x", -800), (2, "x", -700)],
            [(2, 3)],
        ),
        # Case 3: without `within` each event that meets the threshold fires.
        ("posture: Reactive", at(0, 0.001, 7), [(0, 1), (0.001, 2), (7, 3)]),
        # Case 2: only what follows an event of `after` counts, once.
        (
            "posture: Reactive, after: s, expect: x, within: 10s",
            [(0, "x"), (1, "s"), (2, "x"), (3, "x"), (4, "s"), (15, "x")],
            [(2, 3)],
        ),
        # Case 8: a timer without keys and `after` first fires long after the last event, then each `within`.
        ("posture: Proactive, within: 60s", at(10), [(190, 0), (250, 0), (310, 0)]),
        # Case 6, told by a run on the grid of 5 s.
        (
            "posture: Proactive, after: s, expect: x, for_each: [prefect.resource.id], within: 60s",
            [(12, "s")],
            [(75, 1)],
        ),
        (
            "posture: Proactive, after: s, expect: x, for_each: [prefect.resource.id], within: 60s",
            [(12, "s"), (20, "x")],
            [],
        ),
        # Case 9: each heartbeat begins anew.
        (
            "posture: Proactive, after: s, expect: [s, x], for_each: [prefect.resource.id], within: 60s",
            [(0, "s"), (50, "s"), (100, "s")],
            [(160, 3)],
        ),
        # Per key and without `after` nothing is ever missed: the bucket that has its event is dropped.
        ("posture: Proactive, for_each: [prefect.resource.id], within: 60s", at(10), []),
    ],
)
def test_buckets_are_those_of_prefect(trigger: str, rows: list[Row], expected: list[tuple[float, int]]) -> None:
    assert fired(trigger, rows, 310) == expected


def test_an_event_counts_once_in_thirty_minutes() -> None:
    ruleset = rules("rules: [{name: a, when: {prefect: {posture: Reactive}}}]")
    happened = [Happening(0, START_MS + round(each * 1000), event(at=0)) for each in (0, 1_799.999, 1_800)]

    assert [item.at_ms - START_MS for item in run_whole(ruleset, happened, START_MS + 4_000_000)] == [0, 1_800_000]


@pytest.mark.parametrize(
    ("expect", "after", "name", "is_covered"),
    [
        ([], [], "anything", True),
        ([], [], "prefect.log.write", False),
        (["a.*.z"], [], "a.b.z", True),
        (["a.*"], [], "a.", False),  # a star is at least one character
        (["a.?"], [], "a.b", False),  # and nothing else is wild where events are looked for
        (["a"], [], "ab", False),
        (["!a"], [], "b", False),
        (["a"], ["b"], "b", True),
    ],
)
def test_names_are_covered_as_prefect_does(expect: list[str], after: list[str], name: str, is_covered: bool) -> None:
    assert covers_name(expect, after)(name) is is_covered


def test_many_stars_are_told_at_once() -> None:
    covers = covers_name(["*a*a*a*a*a*a*a*a?"], [])  # tried place by place this takes longer than anybody waits

    assert not covers("a" * 1_024)
    assert covers("a" * 1_023 + "?")


@pytest.mark.parametrize(
    ("text", "patterns", "is_met"),
    [
        ("a", ["!a", "!b"], True),  # an alternative each: together they are all
        ("dev-1", ["dev-*", "!dev-1"], True),
        (None, ["!x"], False),
        ("A", ["a"], False),
        ("a", ["[ab]"], True),
    ],
)
def test_labels_are_met_as_prefect_does(text: str | None, patterns: list[str], is_met: bool) -> None:
    assert is_one_of(text, patterns) is is_met


def test_each_specification_needs_one_related_resource_that_meets_all_of_it() -> None:
    some = event(related=[{"id": "a", "role": "tag", "env": "x"}, {"id": "b", "role": "flow", "env": "y"}])

    def covered(*specifications: dict[str, list[str]]) -> bool:
        return covers_resources({}, specifications)(some)

    tag, flow = {"prefect.resource.role": ["tag"], "env": ["x"]}, {"prefect.resource.role": ["flow"]}
    assert covered(tag, flow)
    assert not covered({"prefect.resource.role": ["tag"], "env": ["y"]})


def test_a_related_label_is_that_of_the_first_resource_in_its_role() -> None:
    some = event(related=[{"id": "a", "role": "tag"}, {"id": "b", "role": "tag", "env": "x"}])

    assert [label_getter(f"related:tag:{label}")(some) for label in ("prefect.resource.id", "env")] == ["a", ""]
    assert field_of("related:tag:prefect.resource.id") == "related.tag.id"
    assert field_of("prefect.resource.name") == "resource.name"


MONTH_S = 30 * 86_400


@pytest.mark.parametrize(
    ("trigger", "rows"),
    [
        ("posture: Proactive, within: 10s", at(0)),
        ("posture: Proactive, within: 10s, after: s", [(0, "s")]),
        ("posture: Proactive, within: 10s, for_each: [prefect.resource.id], threshold: 2", at(0)),
    ],
)
def test_silence_is_told_a_thousand_times_in_a_row_and_again_after_the_next_event(
    trigger: str, rows: Sequence[Row]
) -> None:
    before = fired(trigger, rows, until=MONTH_S)
    after = fired(trigger, [*rows, (MONTH_S, rows[0][1])], until=2 * MONTH_S)

    assert len(before) == SILENCES_MAX
    assert after[:SILENCES_MAX] == before
    assert len(after) == 2 * SILENCES_MAX
    assert MONTH_S < after[SILENCES_MAX][0] <= MONTH_S + 100


def test_what_is_told_no_more_says_so_and_is_counted() -> None:
    kind = PrefectTrigger.model_validate({"posture": "Proactive", "within": "10s"})
    window = kind.new_window()
    window.add(START_MS + 1_000, [Sample(0, START_MS, 0, ("t",), START_MS * 1_000, "[false,true]", "1")])
    reading = window.read(START_MS + 86_400_000)

    counted = (window.take_refused(), window.take_refused())

    assert [firing.reason for firing in reading.firings[-2:]] == [
        "fewer events than expected came in time",
        "fewer events than expected came in time, for the 1,000th time in a row: no more is told before one comes",
    ]
    assert counted == (1, 0)
    assert window.next_change_ms() is None
