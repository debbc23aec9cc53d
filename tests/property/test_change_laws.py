"""Changes against a slow oracle that makes every figure of every window anew from the list of samples."""

import random
from collections.abc import Sequence
from statistics import fmean, stdev
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS, Happening, Line, event_at, in_order, records, rules, run_whole

from flowgauge.processors.kinds import Change
from flowgauge.processors.panes import pane_end
from flowgauge.processors.reading import Verdict
from flowgauge.processors.replay import Replay
from flowgauge.schemas.sample import Sample

WITHIN_MS, PANE_MS, WINDOWS = 20_000, 5_000, 5
BEGIN_MS = START_MS - START_MS % PANE_MS
LAST_MS = BEGIN_MS + 300_000
END_MS = START_MS + 600_000
RULESET = rules("""
rules:
  - name: more failures
    for_each: [flow]
    when: {change: {of: failures, within: 20s, trailing: 100s, min_samples: 2, sigma: 1}}
    keep_firing_for: 7s
  - name: other times
    when: {change: {of: duration, within: 20s, trailing: 100s, min_samples: 1, sigma: 0.5, direction: both}}
    no_data: resolve
    allowed_lateness: 5s
  - name: fewer events
    for_each: [flow]
    when: {change: {of: events, within: 20s, trailing: 80s, min_samples: 3, sigma: 0, direction: down}}
  - name: slow
    for_each: [flow]
    when: {duration: {above: 2s, quantile: 80%, within: 30s, min_samples: 3, clear_below: 1500ms}}
    no_data: fire
  - name: long
    for_each: [flow]
    when: {duration: {above: 3s}}
    for: 2s
""")
RULES = tuple(
    Change.model_validate(
        {"of": of, "within": "20s", "trailing": "100s", "min_samples": least, "direction": to, "sigma": sigma}
    )
    for of, least, to, sigma in (
        ("failures", 2, "up", 1.0),
        ("runs", 2, "both", 0.5),
        ("events", 3, "down", 0.0),
        ("failure_rate", 1, "both", 0.5),
        ("duration", 1, "up", 1.0),
    )
)
Taken = tuple[int, bool, int]  # of what counts: when, whether it failed, µs it took


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str, str]]:
    """Draw (ms, outcome, run) in the order of their times: panes of some runs, and a stretch of other habits."""
    runs_of_panes = draw(st.lists(st.sampled_from((0, 1, 1, 2, 2)), min_size=10, max_size=45))
    first, last = sorted(draw(st.tuples(st.integers(0, 45), st.integers(0, 45))))
    factor, chance = draw(st.sampled_from((0, 1, 4))), random.Random(draw(st.integers(0, 2**32)))
    found: list[tuple[int, str, str]] = []
    for pane, runs in enumerate(runs_of_panes):
        is_other = first <= pane < last
        for number in range(runs * factor if is_other else runs):
            begin_ms = BEGIN_MS + pane * PANE_MS + chance.randrange(PANE_MS)
            took_ms = chance.randrange(100, 2_000) * (8 if is_other else 1)
            outcome = "failed" if chance.random() < (0.9 if is_other else 0.2) else "finished"
            found.append((begin_ms, "started", f"{pane}-{number}"))
            found.append((begin_ms + took_ms, outcome, f"{pane}-{number}"))
    return sorted(found)


def samples_of(rule: Change, history: Sequence[tuple[int, str, str]]) -> list[Sample]:
    """Return the samples that such a rule would have of it."""
    found: list[Sample] = []
    for number, (at_ms, outcome, run) in enumerate(history):
        if rule.of == "duration":
            outcome = outcome if outcome == "started" else "finished"
        elif outcome == "started":
            continue
        elif rule.of == "events":
            outcome = "seen"
        found.append(Sample(number, 0, 0, ("t",), at_ms * 1000, outcome, f"{number:03}", run))
    return found


def readings(
    rule: Change, samples: list[Sample], *, stored_after: frozenset[int] = frozenset()
) -> list[tuple[Verdict, float | None]]:
    """Return verdict and value at each pane end."""
    window = rule.new_window()
    panes: dict[int, list[Sample]] = {}
    for sample in samples:
        panes.setdefault(pane_end(sample.occurred_us // 1000, PANE_MS), []).append(sample)
    found: list[tuple[Verdict, float | None]] = []
    for number, end_ms in enumerate(range(BEGIN_MS + PANE_MS, LAST_MS + 1, PANE_MS)):
        if end_ms in panes:
            window.add(end_ms, panes[end_ms])
        reading = window.read(end_ms)
        found.append((reading.verdict, reading.value))
        if number in stored_after:
            window = rule.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))
    return found


def taken(rule: Change, samples: Sequence[Sample]) -> list[Taken]:
    """Return what counts."""
    if rule.of != "duration":
        return [(each.occurred_us // 1000, each.outcome == "failed", 0) for each in samples]
    found: list[Taken] = []
    open_since: dict[str, int] = {}
    for each in sorted(samples, key=lambda each: (each.occurred_us, each.outcome != "started", each.event_id)):
        if each.outcome == "started":
            open_since.setdefault(each.run, each.occurred_us)
        elif each.run in open_since:
            found.append((each.occurred_us // 1000, False, each.occurred_us - open_since.pop(each.run)))
    return found


def figure(rule: Change, counted: Sequence[Taken]) -> float | None:
    failed = sum(has_failed for _, has_failed, _ in counted)
    if rule.of in {"runs", "events"}:
        return len(counted)
    if rule.of == "failures":
        return failed
    if not counted:
        return None
    return failed / len(counted) if rule.of == "failure_rate" else sum(us for _, _, us in counted) / len(counted) / 1e6


def expected(rule: Change, samples: Sequence[Sample]) -> list[tuple[Verdict, float | None]]:
    counted = taken(rule, samples)
    known_ms: int | None = None
    found: list[tuple[Verdict, float | None]] = []
    for end_ms in range(BEGIN_MS + PANE_MS, LAST_MS + 1, PANE_MS):
        kept = [each for each in counted if end_ms - WITHIN_MS * (WINDOWS + 1) <= each[0] < end_ms]
        if not kept:
            known_ms = None
        elif known_ms is None:
            known_ms = kept[0][0] // PANE_MS * PANE_MS
        found.append(_judged(rule, kept, end_ms, known_ms))
    return found


def _judged(rule: Change, kept: Sequence[Taken], end_ms: int, known_ms: int | None) -> tuple[Verdict, float | None]:
    windows = [
        [each for each in kept if until_ms - WITHIN_MS <= each[0] < until_ms]
        for until_ms in (end_ms - back * WITHIN_MS for back in range(WINDOWS + 1))
        if until_ms == end_ms or (known_ms is not None and until_ms - WITHIN_MS >= known_ms)
    ]
    now = figure(rule, windows[0])
    if now is None:
        return Verdict.EMPTY, None
    if not rule.is_count and len(windows[0]) < rule.min_samples:
        return Verdict.HELD, now
    figures = [figure(rule, each) for each in windows[1:] if rule.is_count or len(each) >= rule.min_samples]
    baseline = [each for each in figures if each is not None]
    if len(baseline) < rule.min_windows:
        is_full = known_ms is not None and known_ms <= end_ms - WITHIN_MS * (WINDOWS + 1)
        return (Verdict.HELD if is_full else Verdict.CLEAR), now
    has_changed = _has_changed(rule, now, baseline, len(windows[0]))
    return (Verdict.BREACH if has_changed else Verdict.CLEAR), now


def _has_changed(rule: Change, now: float, baseline: Sequence[float], samples: int) -> bool:
    mean = fmean(baseline)
    if rule.is_count and max(now, mean) < rule.min_samples:
        return False
    chance = {"failure_rate": (mean * (1 - mean) / samples) ** 0.5 if samples else 0.0, "duration": 0.0}
    deviation = max(stdev(baseline), chance.get(rule.of, mean**0.5))
    more = now > mean * rule.factor and now > mean + rule.sigma * deviation
    less = now < mean / rule.factor and now < mean - rule.sigma * deviation
    return (more and rule.direction != "down") or (less and rule.direction != "up")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.of)
@given(history=histories())
def test_a_change_is_what_a_look_at_every_window_finds(rule: Change, history: list[tuple[int, str, str]]) -> None:
    samples = samples_of(rule, history)

    found, wanted = readings(rule, samples), expected(rule, samples)

    assert [verdict for verdict, _ in found] == [verdict for verdict, _ in wanted]
    assert [value for _, value in found] == [pytest.approx(value) for _, value in wanted]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.of)
@given(history=histories(), stored_after=st.frozensets(st.integers(0, 60), max_size=8))
def test_a_window_stored_and_restored_midway_is_the_same(
    rule: Change, history: list[tuple[int, str, str]], stored_after: frozenset[int]
) -> None:
    samples = samples_of(rule, history)

    assert readings(rule, samples, stored_after=stored_after) == readings(rule, samples)


def happenings_of(history: Sequence[tuple[int, str, str]], chance: random.Random) -> list[Happening]:
    """Return it as events, each appended up to 4 s after it happened."""
    states, runs = {"started": "running", "finished": "completed", "failed": "failed"}, dict[str, int]()
    found: list[Happening] = []
    for number, (at_ms, outcome, name) in enumerate(history):
        run = runs.setdefault(name, len(runs))
        event = event_at(UUID(int=number), at_ms - START_MS, states[outcome], run)
        found.append(Happening(at_ms, at_ms + chance.randrange(4_000), event))
    return sorted(found, key=lambda each: each.append_ms)


@given(history=histories(), seed=st.integers(0, 2**32))
def test_lifelike_runs_are_told_the_same_over_stops_and_in_a_replay(
    history: list[tuple[int, str, str]], seed: int
) -> None:
    chance = random.Random(seed)
    happened = happenings_of(history, chance)
    whole = run_whole(RULESET, happened, END_MS)
    line, rest = Line(RULESET), records(happened)
    while rest:
        size = chance.randint(1, 12)
        line.feed(0, rest[:size])
        rest = rest[size:]
        if chance.random() < 0.3:
            line.crash()
    lines = [b'{"_append":%d,%b' % (item.append_ms, item.value[1:]) for item in happened]

    assert line.end(END_MS) == whole
    assert in_order(list(Replay(lambda: lines, RULESET, until_ms=END_MS).transitions())) == whole
