"""The window of `late` against a slow oracle, and against itself when it is stored and restored midway."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles.late import STEPS, LateOracle, place
from tests.property.detection import START_MS

from flowgauge.processors.kinds import Late
from flowgauge.processors.panes import pane_end
from flowgauge.schemas.sample import Sample

RULE = Late.model_validate({"after": "30s", "at_least": 2, "within": "60s"})
PANE_MS = RULE.pane_ms
LAST_END_MS = START_MS + 300_000


@st.composite
def histories(draw: st.DrawFn) -> list[Sample]:
    """Draw samples in the order of their occurrence, some at the same time, some runs scheduled again."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, 150_000_000) | st.integers(0, 15).map(lambda at: at * 10_000_000),  # occurred, µs
                st.sampled_from(("scheduled", "late", "started", "went on", "ended")),
                st.sampled_from(("", "a", "b", "c")),  # run
                st.sampled_from((None, 0, 1_000, 20_000, 50_000, 90_000)),  # scheduled_for, ms
            ),
            max_size=25,
        )
    )
    samples = [
        Sample(
            offset=number,
            append_ms=0,
            rule=0,
            key=("t",),
            occurred_us=START_MS * 1000 + occurred,
            outcome=outcome,
            event_id=f"{number:02}",
            run=run,
            flow="f",
            scheduled_ms=None if scheduled is None else START_MS + scheduled,
        )
        for number, (occurred, outcome, run, scheduled) in enumerate(drawn)
        if (run or scheduled is not None) and not (outcome == "scheduled" and scheduled is None)
    ]
    return sorted(samples, key=lambda sample: (sample.occurred_us, sample.event_id))


def counts(samples: list[Sample], *, stored_after: frozenset[int] = frozenset(), lazy: bool = False) -> list[int]:
    """Return the count of late slots at each pane end; `lazy` adds and reads only where kind and window say so."""
    window = RULE.new_window()
    found: list[int] = []
    waiting: dict[int, list[Sample]] = {}
    needed: dict[int, int] = {}
    for number, end_ms in enumerate(range(START_MS + PANE_MS, LAST_END_MS + 1, PANE_MS)):
        pane = [sample for sample in samples if pane_end(sample.occurred_us // 1000, PANE_MS) == end_ms]
        if pane:
            waiting[end_ms] = pane
            needed[end_ms] = min(RULE.needed_by(sample, end_ms) for sample in pane)
        change_ms = window.next_change_ms()
        is_due = (change_ms is not None and change_ms <= end_ms) or min(needed.values(), default=LAST_END_MS) <= end_ms
        if is_due or not lazy:
            for pane_end_ms, pane in waiting.items():
                window.add(pane_end_ms, pane)
            waiting.clear()
            needed.clear()
            found.append(window.read(end_ms).samples)
        else:
            found.append(found[-1] if found else 0)
        if number in stored_after:
            dumped = msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump()))
            window = RULE.load_window(dumped)
    return found


def oracle(samples: list[Sample]) -> list[int]:
    """Return the count of late slots at each pane end, found the slow way."""
    judge, found = LateOracle(after_ms=RULE.after, within_ms=RULE.within, pane_ms=PANE_MS), list[int]()
    in_order = sorted(samples, key=place)
    for end_ms in range(START_MS + PANE_MS, LAST_END_MS + 1, PANE_MS):
        for sample in in_order:
            if pane_end(sample.occurred_us // 1000, PANE_MS) == end_ms:
                judge.hear(sample)
        found.append(judge.count(end_ms))
    return found


@given(samples=histories())
def test_late_slots_are_those_that_a_look_at_everything_finds(samples: list[Sample]) -> None:
    assert counts(samples) == oracle(samples)


@given(samples=histories())
def test_reading_only_where_something_may_change_misses_nothing(samples: list[Sample]) -> None:
    assert counts(samples, lazy=True) == counts(samples)


@given(samples=histories(), stored_after=st.frozensets(st.integers(0, 250), max_size=10))
def test_a_window_stored_and_restored_midway_is_the_same(samples: list[Sample], stored_after: frozenset[int]) -> None:
    assert counts(samples, stored_after=stored_after) == counts(samples)
    assert counts(samples, stored_after=stored_after, lazy=True) == counts(samples)


@given(
    told=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(sorted(STEPS))), max_size=6),
    scheduled_ms=st.sampled_from((None, START_MS, START_MS + 20_000)),
    data=st.data(),
)
def test_of_a_run_with_a_coarse_clock_the_ids_decide_nothing(
    told: list[tuple[int, str]], scheduled_ms: int | None, data: st.DataObject
) -> None:
    def with_ids(ids: list[int]) -> list[Sample]:
        samples = [
            sample_of(START_MS + 10_000 * at, outcome, event_id, scheduled_ms)
            for (at, outcome), event_id in zip(told, ids, strict=True)
            if outcome != "scheduled" or scheduled_ms is not None
        ]
        return sorted(samples, key=lambda each: (each.occurred_us, each.event_id))

    ids = list(range(len(told)))
    other_ids = data.draw(st.permutations(ids))

    assert counts(with_ids(ids)) == counts(with_ids(other_ids))


def test_a_run_that_is_called_late_and_starts_at_the_same_time_has_started() -> None:
    late, started = sample_of(START_MS, "late", 2, None), sample_of(START_MS, "started", 1, None)

    assert set(counts([started, late])) == {0}


def sample_of(occurred_ms: int, outcome: str, event_id: int, scheduled_ms: int | None) -> Sample:
    return Sample(
        offset=event_id,
        append_ms=0,
        rule=0,
        key=("t",),
        occurred_us=occurred_ms * 1000,
        outcome=outcome,
        event_id=f"{event_id:02}",
        run="a",
        flow="f",
        scheduled_ms=scheduled_ms,
    )
