"""Changes against the slow oracle that makes every figure of every window anew from the list of samples."""

import random
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles.change import ChangeOracle, Counted
from tests.oracles.told import Told
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


def counted(rule: Change, samples: Sequence[Sample]) -> list[Counted]:
    """Return what counts."""
    if rule.of != "duration":
        return [Counted(each.occurred_us // 1000, each.outcome == "failed") for each in samples]
    found: list[Counted] = []
    open_since: dict[str, int] = {}
    for each in sorted(samples, key=lambda each: (each.occurred_us, each.outcome != "started", each.event_id)):
        if each.outcome == "started":
            open_since.setdefault(each.run, each.occurred_us)
        elif each.run in open_since:
            took_us = each.occurred_us - open_since.pop(each.run)
            found.append(Counted(each.occurred_us // 1000, took_us=took_us))
    return found


def expected(rule: Change, samples: Sequence[Sample]) -> list[Told]:
    fields = (rule.of, WITHIN_MS, WINDOWS, rule.direction, rule.factor, rule.sigma, rule.min_samples, rule.min_windows)
    ends = range(BEGIN_MS + PANE_MS, LAST_MS + 1, PANE_MS)
    return list(ChangeOracle(*fields).readings(counted(rule, samples), ends))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.of)
@given(history=histories())
def test_a_change_is_what_a_look_at_every_window_finds(rule: Change, history: list[tuple[int, str, str]]) -> None:
    samples = samples_of(rule, history)

    found, wanted = readings(rule, samples), expected(rule, samples)

    assert [verdict for verdict, _ in found] == [Verdict(told.verdict) for told in wanted]
    assert [value for _, value in found] == [pytest.approx(told.value) for told in wanted]


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
