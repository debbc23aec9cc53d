"""Durations against slow oracles that look at every event at every pane end, and windows against themselves."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.kinds import Duration
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import Transition

END_MS = START_MS + 600_000
LATENESS_MS = 10_000
STOPS = ("completed", "failed", "crashed", "cancelled")
EACH = rules("rules: [{name: long, for_each: [run], for: 2s, when: {duration: {above: 20s}}}]")
OF_FLOWS = rules("rules: [{name: long, for_each: [flow], when: {duration: {above: 20s}}}]")
MEDIAN = rules("""
rules:
  - name: slow
    for_each: [flow]
    no_data: fire
    when: {duration: {above: 20s, quantile: 60%, within: 60s, min_samples: 2, clear_below: 15s}}
""")
Span = tuple[int, int | None, bool]  # of one run: started, ended ms, and whether that is a finish


def spans(happened: Sequence[Happening], run: str) -> list[Span]:
    """Return from when to when one run ran, by its admitted events."""
    told = sorted(
        (item.occurred_ms, item.event.state in STOPS, item.event.id, item.event.state or "")
        for item in happened
        if item.event.run == run
        and item.event.state in {"running", *STOPS}
        and item.append_ms - item.occurred_ms <= LATENESS_MS
    )
    found: list[Span] = []
    for at_ms, is_end, _, state in told:
        is_open = bool(found) and found[-1][1] is None
        if not is_end and not is_open:
            found.append((at_ms, None, False))
        elif is_end and is_open:
            found[-1] = (found[-1][0], at_ms, state != "cancelled")
    return found


def all_spans(happened: Sequence[Happening], flow: str) -> list[Span]:
    runs = {item.event.run for item in happened if item.event.run and item.event.flow == flow}
    return [span for run in runs for span in spans(happened, run)]


def breaches(found: Sequence[Span], end_ms: int) -> bool:
    """Tell whether a run had run for more than 20 s in the pane before `end_ms`, and fires then."""
    for started_ms, ended_ms, _ in found:
        if started_ms >= end_ms - 20_000:
            continue
        if ended_ms is None or ended_ms >= end_ms:
            return True
        if ended_ms >= end_ms - 1_000 and ended_ms > started_ms + 20_000 and started_ms + 20_000 >= end_ms - 1_000:
            return True
    return False


def changes(found: Sequence[Transition], field: str) -> list[tuple[int, str, str]]:
    return [(item.at_ms, item.key[field], item.to_state) for item in found]


def expected(found: Sequence[Span], name: str, policy: Policy) -> list[tuple[int, str, str]]:
    alert, rows = Alert(), list[tuple[int, str, str]]()
    for end_ms in range(pane_end(START_MS, 1_000), END_MS - LATENESS_MS + 1, 1_000):
        change = step(alert, Verdict.BREACH if breaches(found, end_ms) else Verdict.CLEAR, end_ms, policy)
        if change is not None:
            rows.append((end_ms, name, change.to_state))
    return rows


@given(happened=happenings())
def test_each_run_that_takes_too_long_is_told_as_a_look_at_every_event_finds_it(happened: list[Happening]) -> None:
    found = run_whole(EACH, happened, END_MS)

    runs = {item.event.run for item in happened if item.event.run}
    rows = [row for run in runs for row in expected(spans(happened, run), run, Policy(2_000, 0, "hold"))]
    assert changes(found, "run") == sorted(rows)


@given(happened=happenings())
def test_a_flow_is_told_while_any_of_its_runs_takes_too_long(happened: list[Happening]) -> None:
    found = run_whole(OF_FLOWS, happened, END_MS)

    rows = [row for flow in ("a", "b") for row in expected(all_spans(happened, flow), flow, Policy(0, 0, "hold"))]
    assert changes(found, "flow") == sorted(rows)


@given(happened=happenings(size_max=60))
def test_a_quantile_is_that_of_the_runs_that_a_look_at_every_event_finds(happened: list[Happening]) -> None:
    found = run_whole(MEDIAN, happened, END_MS)

    rows = sorted(row for flow in ("a", "b") for row in _quantiles(happened, flow))
    assert [(*change, item.samples) for change, item in zip(changes(found, "flow"), found, strict=True)] == [
        row[:4] for row in rows
    ]
    for item, row in zip(found, rows, strict=True):
        assert item.value == (None if row[4] is None else pytest.approx(row[4], rel=1 / 64, abs=1e-9))


def _quantiles(happened: Sequence[Happening], flow: str) -> list[tuple[int, str, str, int, float | None]]:
    finished = [(end, end - start) for start, end, is_finish in all_spans(happened, flow) if end and is_finish]
    alert, rows = Alert(), list[tuple[int, str, str, int, float | None]]()
    full_ms = _first_heard(happened, flow) + 60_000  # until then, what has just begun cannot have finished
    for end_ms in range(pane_end(START_MS, 1_000), END_MS - LATENESS_MS + 1, 1_000):
        took_ms = sorted(took for at, took in finished if end_ms - 60_000 <= at < end_ms)
        if not took_ms and end_ms < full_ms and not any(at < end_ms for at, _ in finished):
            continue
        quantile = took_ms[ceil(Fraction(6, 10) * len(took_ms)) - 1] if took_ms else None
        change = step(alert, _verdict(quantile, len(took_ms)), end_ms, Policy(0, 0, "fire"))
        if change is not None:
            value = None if quantile is None else quantile / 1000
            rows.append((end_ms, flow, change.to_state, len(took_ms), value))
    return rows


def _first_heard(happened: Sequence[Happening], flow: str) -> int:
    """Return the end of the pane in which a run of the flow was first heard of."""
    heard_ms = [
        item.occurred_ms
        for item in happened
        if item.event.flow == flow
        and item.event.state in {"running", *STOPS}
        and item.append_ms - item.occurred_ms <= LATENESS_MS
    ]
    return pane_end(min(heard_ms, default=END_MS), 1_000)


def _verdict(took_ms: int | None, finished: int) -> Verdict:
    if took_ms is None:
        return Verdict.EMPTY
    if finished < 2:
        return Verdict.HELD
    if took_ms > 20_000:
        return Verdict.BREACH
    return Verdict.BETWEEN if took_ms >= 15_000 else Verdict.CLEAR


@st.composite
def histories(draw: st.DrawFn) -> list[Sample]:
    """Draw samples in the order of their occurrence, many at the same time."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, 60_000_000) | st.integers(0, 12).map(lambda at: at * 5_000_000),  # occurred, µs
                st.sampled_from(("started", "started", "finished", "ended")),
                st.sampled_from(("a", "b", "c")),
            ),
            max_size=20,
        )
    )
    samples = [
        Sample(number, 0, 0, ("t",), START_MS * 1000 + occurred, outcome, f"{number:02}", run)
        for number, (occurred, outcome, run) in enumerate(drawn)
    ]
    return sorted(samples, key=lambda sample: (sample.occurred_us, sample.event_id))


FORMS = (
    Duration.model_validate({"above": "20s"}),
    Duration.model_validate({"above": "20s", "quantile": "60%", "within": "60s", "min_samples": 2}),
)


def verdicts(
    rule: Duration, samples: list[Sample], *, stored_after: frozenset[int] = frozenset(), lazy: bool = False
) -> list[Verdict]:
    """Return the verdict at each pane end; `lazy` adds and reads only where kind and window say so.

    Before the first sample there is no key, so nothing is read.
    """
    window, pane_ms, last_ms = rule.new_window(), rule.pane_ms, START_MS + 150_000
    panes: dict[int, list[Sample]] = {}
    for sample in samples:
        panes.setdefault(pane_end(sample.occurred_us // 1000, pane_ms), []).append(sample)
    found: list[Verdict] = []
    waiting: dict[int, list[Sample]] = {}
    needed: dict[int, int] = {}
    unheard = Verdict.CLEAR if rule.quantile is None else Verdict.HELD
    has_begun = False
    for number, end_ms in enumerate(range(START_MS + pane_ms, last_ms + 1, pane_ms)):
        pane = panes.get(end_ms)
        if pane:
            waiting[end_ms] = pane
            needed[end_ms] = min(rule.needed_by(sample, end_ms) for sample in pane)
        change_ms = window.next_change_ms()
        is_due = (change_ms is not None and change_ms <= end_ms) or min(needed.values(), default=last_ms) <= end_ms
        if is_due or (not lazy and (pane or has_begun)):
            has_begun = True
            for pane_end_ms, each in waiting.items():
                window.add(pane_end_ms, each)
            waiting.clear()
            needed.clear()
            found.append(window.read(end_ms).verdict)
        else:
            found.append(found[-1] if found else unheard)
        if number in stored_after:
            window = rule.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))
    return found


@pytest.mark.parametrize("rule", FORMS)
@given(samples=histories())
def test_reading_only_where_something_may_change_misses_nothing(rule: Duration, samples: list[Sample]) -> None:
    assert verdicts(rule, samples, lazy=True) == verdicts(rule, samples)


@pytest.mark.parametrize("rule", FORMS)
@given(samples=histories(), stored_after=st.frozensets(st.integers(0, 150), max_size=8))
def test_a_window_stored_and_restored_midway_is_the_same(
    rule: Duration, samples: list[Sample], stored_after: frozenset[int]
) -> None:
    assert verdicts(rule, samples, stored_after=stored_after) == verdicts(rule, samples)
    assert verdicts(rule, samples, stored_after=stored_after, lazy=True) == verdicts(rule, samples)
