"""Laws of the backtest.

Of where reading begins: from where windows are full it says the same as one that reads all history, of each kind.
Of the comparison: each incident is told of once at most, itself is no difference, and it reads both ways.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS, Happening, made_event
from tests.unit.test_backtest import lived

from flowgauge.processors.backtest import Found, Interval, differences, fills_ms, found_in
from flowgauge.processors.detector import AHEAD_MAX_MS
from flowgauge.processors.kinds import KINDS, Change, ConsecutiveFailures, Duration, Late, Missed, PrefectTrigger
from flowgauge.processors.kinds.prefect import SEEN_MS
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import CompiledRule, RuleSet, parse_rules
from flowgauge.schemas.transition import Transition

UNTIL_MS = 1_000
MIRRORED = {
    "more": "fewer",
    "fewer": "more",
    "earlier": "later",
    "later": "earlier",
    "longer": "shorter",
    "shorter": "longer",
}


@st.composite
def histories(draw: st.DrawFn, name: str) -> Found:
    """Draw incidents of one key as a detector makes them: one after the other, the last perhaps open."""
    moments = sorted(draw(st.sets(st.integers(0, UNTIL_MS), max_size=12)))
    shared = draw(st.booleans())  # ids are of the moment of opening: those of both rule sets may be the same
    spans = [
        (f"{'' if shared else name}{fired}", fired, ended)
        for fired, ended in zip(moments[::2], [*moments[1::2], None], strict=False)
    ]
    return found_in(lived(*spans))


def moments(found: Found) -> list[set[int]]:
    """Return the moments of each incident, its ends included."""
    return [set(range(each.fired_ms, each.last_ms(UNTIL_MS) + 1)) for each in found.intervals]


@given(histories("a"), histories("b"))
def test_each_incident_is_told_of_once_at_most_and_only_what_meets_is_compared(one: Found, other: Found) -> None:
    told = differences(one, other, UNTIL_MS)

    for side, found in (([each.interval for each in told], one), ([each.against for each in told], other)):
        ids = [each.told.incident_id for each in side if each]
        assert len(ids) == len(set(ids))
        assert set(ids) <= {each.told.incident_id for each in found.intervals}
    for each in told:
        if each.interval and each.against:
            (ours,), (theirs,) = moments(Found([each.interval])), moments(Found([each.against]))
            assert ours & theirs


@given(histories("a"), histories("b"))
def test_what_meets_nothing_of_the_other_is_more_or_fewer(one: Found, other: Found) -> None:
    told = differences(one, other, UNTIL_MS)
    mine, others = moments(one), moments(other)

    more = {each.interval.told.incident_id for each in told if each.what == "more" and each.interval}
    fewer = {each.against.told.incident_id for each in told if each.what == "fewer" and each.against}
    alone = {
        each.told.incident_id
        for each, span in zip(one.intervals, mine, strict=True)
        if not any(span & theirs for theirs in others)
    }
    assert alone <= more
    assert len(one.intervals) - len(more) == len(other.intervals) - len(fewer)


@given(histories("a"), histories("b"))
def test_it_reads_both_ways(one: Found, other: Found) -> None:
    told = {(each.what, name(each.interval), name(each.against)) for each in differences(one, other, UNTIL_MS)}
    back = {
        (MIRRORED[each.what], name(each.against), name(each.interval)) for each in differences(other, one, UNTIL_MS)
    }

    assert told == back


def name(interval: Interval | None) -> str:
    return interval.told.incident_id if interval else ""


@given(histories("a"))
def test_nothing_differs_from_itself(one: Found) -> None:
    assert differences(one, one, UNTIL_MS) == []


# ── where reading begins ──

RULES = """
  - {name: each, match: {state: crashed}, for_each: [flow], when: {event: {}}}
  - name: often
    match: {state: failed}
    for_each: [flow]
    when: {event: {times: 2, within: 30s}}
    allowed_lateness: 0s
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 60s, min_samples: 2, clear_below: 10%}}
    for: 5s
    keep_firing_for: 10s
    no_data: resolve
  - {name: empty, for_each: [flow], when: {failure_rate: {above: 50%, within: 20s, min_samples: 1}}, no_data: fire}
  - name: burning
    for_each: [flow]
    when:
      burn_rate:
        objective: 90%
        pairs: [{above: 4, within: 60s, short: 20s}, {above: 2, within: 4m, short: 30s}]
        min_samples: 2
  - {name: in a row, for_each: [flow], when: {consecutive_failures: {times: 2, within: 40s}}, no_data: fire}
  - {name: in a row ever, for_each: [flow], when: {consecutive_failures: {times: 2}}}
  - {name: late, for_each: [flow], when: {late: {after: 20s, within: 60s}}}
  - {name: missed, for_each: [flow], when: {missed: {every: 2h, grace: 15m}}, for: 5s}
  - {name: silent, match: {state: completed}, for_each: [flow], when: {absence: {after: 30s}}, for: 5s}
  - {name: run silent, match: {state: [running, late]}, for_each: [run], when: {absence: {after: 20s}}}
  - {name: run long, for_each: [run], when: {duration: {above: 20s}}, keep_firing_for: 5s}
  - {name: long, for_each: [flow], when: {duration: {above: 45s}}, for: 5s, allowed_lateness: 4s}
  - name: slow
    for_each: [flow]
    when: {duration: {above: 30s, quantile: 50%, within: 2m, min_samples: 1, clear_below: 20s}}
    no_data: fire
  - name: more
    for_each: [flow]
    when: {change: {of: failures, within: 20s, trailing: 80s, min_samples: 1, sigma: 0.5}}
  - name: slower
    for_each: [flow]
    when:
      change: {of: duration, within: 20s, trailing: 40s, factor: 1.1, sigma: 0, min_samples: 1, min_windows: 2}
  - name: in order
    for_each: [flow]
    when:
      sequence:
        steps: [{state: running}, {state: [completed, running]}, {state: [failed, crashed]}]
        within: 60s
  - name: not ended
    for_each: [flow]
    when: {sequence: {steps: [{state: running}, {state: [completed, failed]}], within: 30s, fires_when: incomplete}}
  - name: both
    for_each: [flow]
    when:
      all_of:
        within: 45s
        conditions:
          - {match: {state: failed}, when: {event: {times: 2, within: 30s}}, for: 3s}
          - {when: {sequence: {steps: [{state: running}, {state: failed}], within: 20s}}, keep_firing_for: 5s}
  - name: one of
    for_each: [flow]
    for: 3s
    when:
      any_of:
        conditions:
          - {match: {state: crashed}, when: {event: {times: 1, within: 20s}}, for: 7s}
          - {match: {state: completed}, when: {event: {times: 2, within: 60s}}}
  - name: counted
    when:
      prefect:
        posture: Reactive
        expect: [flow-run.failed]
        for_each: [prefect.resource.id]
        threshold: 2
        within: 30s
"""
COMPILED = {item.name: item for item in parse_rules("rules.yaml", f"rules:{RULES}").rules}
FLOWS = ("a", "a", "a", "b")
STATES = ("failed", "failed", "failed", "completed", "completed", "running", "running", "crashed", "late", "scheduled")
STEP_MS = 1_000
ENDS = {"completed", "failed", "crashed"}


@dataclass(frozen=True)
class Story:
    """What happened to one rule, in order of append, where reading begins, and from where on windows are full."""

    rule: CompiledRule
    happened: Sequence[Happening]

    @property
    def full_ms(self) -> int:
        return START_MS + fills_ms(self.rule)

    @property
    def end_ms(self) -> int:
        return START_MS + 4 * fills_ms(self.rule) + 600_000

    def told(self, *, all_of_it: bool) -> list[Transition]:
        """Return what a backtest tells of all of it, or of what was appended from START_MS on."""
        read = [each for each in self.happened if all_of_it or each.append_ms >= START_MS]
        lines = [b'{"_append":%d,%b' % (each.append_ms, each.value[1:]) for each in read]
        return list(Replay(lambda: lines, RuleSet((self.rule,), 1), until_ms=self.end_ms).transitions())


@st.composite
def stories(draw: st.DrawFn, rule: CompiledRule) -> Story:
    """Draw events that lie about the moments that matter: reading begins, windows are full, and in between."""
    fills = fills_ms(rule)
    near_ms = max(rule.window_ms, rule.kind.look_back_ms, rule.pane_ms)
    anchors = st.sampled_from((-near_ms, 0, 0, fills - rule.kind.look_back_ms, fills // 2, fills - near_ms, fills))
    drawn = draw(
        st.lists(
            st.tuples(
                st.builds(int.__add__, anchors, st.integers(-near_ms, near_ms) | st.integers(-5, 5)),
                st.just(0) | st.integers(-AHEAD_MAX_MS, rule.lateness_ms + 2_000),  # append after it happened
                st.sampled_from(FLOWS),
                st.integers(0, 2),
                st.sampled_from(STATES),
                st.none() | st.sampled_from((-20_000, -1, 0, 30_000)) | st.integers(0, rule.kind.look_back_ms),  # due
            ),
            max_size=draw(st.sampled_from((4, 8, 30))),
        )
    )
    happened = [
        Happening(
            START_MS + at_ms,
            START_MS + at_ms + delay_ms,
            made_event(number, at_ms, flow, run, state, None if due_ms is None else at_ms + due_ms),
        )
        for number, (at_ms, delay_ms, flow, run, state, due_ms) in enumerate(drawn)
    ]
    return Story(rule, sorted(happened, key=lambda each: each.append_ms))


def test_every_kind_is_among_those_that_begin_to_be_read() -> None:
    assert {item.kind.name for item in COMPILED.values()} == KINDS.keys()


@pytest.mark.parametrize("name", COMPILED)
@given(st.data())
def test_from_where_windows_are_full_it_says_the_same_as_one_that_reads_all_history(
    name: str, data: st.DataObject
) -> None:
    assert_told_the_same(data.draw(stories(COMPILED[name])))


def assert_told_the_same(story: Story) -> None:
    whole, part = by_key(story.told(all_of_it=True)), by_key(story.told(all_of_it=False))

    for key in {*whole, *part}:
        told = whole.get(key, []), part.get(key, [])
        if not any(is_open_at(story.full_ms, each) for each in told) and not goes_back_further(story, key):
            assert after(story.full_ms, told[1]) == after(story.full_ms, told[0])


HOUR_MS = 3_600_000
SLOT_MS = -(START_MS % (2 * HOUR_MS))  # of `missed`, after START_MS
Told = tuple[int, str, int | None, int]  # when, after START_MS; state; for when; how long before that it was appended


@pytest.mark.parametrize(
    ("name", "told"),
    [
        # Few failures: that its key is known for longer than its baseline hangs on one before the baseline.
        ("more", [(-30_000, "failed", None, 0), (60_000, "failed", None, 0), (140_000, "failed", None, 0)]),
        # A run that starts just after a slot, for the next one: only the one after that is missed.
        ("missed", [(SLOT_MS + 1, "running", SLOT_MS + 2 * HOUR_MS, 0)]),
        # By a worker's clock that is ahead an event lies in a window that begins after it was appended.
        ("often", [(9_999, "failed", None, 10_000), (39_000, "failed", None, 0)]),
    ],
)
def test_what_was_told_otherwise_once_is_told_the_same(name: str, told: Sequence[Told]) -> None:
    happened = [
        Happening(
            START_MS + at_ms,
            START_MS + at_ms - ahead_ms,
            made_event(number, at_ms, "a", number, state, due_ms),
        )
        for number, (at_ms, state, due_ms, ahead_ms) in enumerate(told)
    ]
    assert_told_the_same(Story(COMPILED[name], sorted(happened, key=lambda each: each.append_ms)))


def by_key(told: Sequence[Transition]) -> dict[str, list[Transition]]:
    found: dict[str, list[Transition]] = {}
    for each in told:
        key = {name: value for name, value in each.key.items() if name != "event_id"}
        found.setdefault(next(iter(key.values()), ""), []).append(each)
    return found


def is_open_at(at_ms: int, told: Sequence[Transition]) -> bool:
    """Tell whether an incident is open, or may become one: that has no bound in time."""
    states = [each.to_state for each in told if each.at_ms <= at_ms and "event_id" not in each.key]
    return bool(states) and states[-1] not in {"resolved", "inactive"}


def after(at_ms: int, told: Sequence[Transition]) -> list[Transition]:
    return [each for each in told if each.at_ms > at_ms]


# What has no bound, kind by kind, as docs/backtest.md tells it: `unread` came before reading began, `read` since.


def goes_back_further(story: Story, key: str) -> bool:
    mine = [each for each in story.happened if key in {each.event.flow, each.event.run, each.event.resource["id"]}]
    unread = [each for each in mine if each.append_ms < START_MS]
    read = [each for each in mine if each.append_ms >= START_MS]
    match story.rule.kind:
        case ConsecutiveFailures():
            return is_a_row_going_on(story, unread, read)
        case Late():
            return any(is_told_ahead(each) for each in unread)
        case Missed() | Duration(quantile=float()) | Change(of="duration"):
            return not {each.event.run for each in unread}.isdisjoint(each.event.run for each in read)
        case PrefectTrigger():
            return any(each.append_ms > START_MS - SEEN_MS for each in unread)
        case _:
            return False


def is_told_ahead(each: Happening) -> bool:
    """Tell whether a run is scheduled for later than when that was told."""
    return each.event.scheduled_for is not None and each.event.scheduled_for > each.event.occurred


def is_a_row_going_on(story: Story, unread: Sequence[Happening], read: Sequence[Happening]) -> bool:
    """Tell whether a run ended before reading began, and since then none has succeeded before windows are full."""
    last_ms = max((each.occurred_ms for each in unread if each.event.state in ENDS), default=0)
    succeeded = (
        each.event.state == "completed"
        and each.append_ms - each.occurred_ms <= story.rule.lateness_ms
        and last_ms < each.occurred_ms < story.full_ms - STEP_MS
        for each in read
    )
    return last_ms > 0 and not any(succeeded)
