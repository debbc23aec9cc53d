"""The sensor's cursor: it forgets no run before it is told whole, and none that may still change unseen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.dagster.position import OVERLAP_S, Position, RunPosition, Seen, decoded, encoded

TIMES = st.floats(0, 4e9)
RUNS = st.dictionaries(
    st.text(max_size=4), st.builds(RunPosition, st.none() | st.text(max_size=4), st.none() | TIMES, st.booleans())
)
SEEN = st.dictionaries(st.text(max_size=4), st.builds(Seen, TIMES, st.booleans()))
POSITIONS = st.builds(Position, TIMES, RUNS)


@given(POSITIONS)
def test_a_cursor_is_read_as_it_was_written(position: Position) -> None:
    assert decoded(encoded(position)) == position


@pytest.mark.parametrize("cursor", ["{}", "another sensor's", '{"updated": "soon"}', ""])
def test_a_cursor_that_is_none_of_ours_is_no_position(cursor: str) -> None:
    assert decoded(cursor) is None


@given(POSITIONS)
def test_only_a_run_that_is_told_whole_and_ended_before_the_overlap_is_forgotten(position: Position) -> None:
    gone = position.runs.keys() - position.forgotten().runs.keys()

    def may_go(run: RunPosition) -> bool:
        return run.whole and run.ended is not None and run.ended < position.updated - OVERLAP_S

    assert gone == {name for name, run in position.runs.items() if may_go(run)}


@given(POSITIONS, SEEN, SEEN, st.integers(0, 3))
def test_a_run_that_is_seen_again_keeps_its_cursor_and_is_to_be_told(
    position: Position, known: dict[str, Seen], changed: dict[str, Seen], runs_max: int
) -> None:
    after = position.seen(known, changed, runs_max=runs_max)

    own = position.runs.keys() & known.keys()
    assert own <= after.runs.keys() <= own | changed.keys()
    assert not any(run.whole for run in after.runs.values())
    assert all(after.runs[name] == RunPosition(position.runs[name].cursor, known[name].ended) for name in own)
    assert all(after.runs[name].cursor is None for name in after.runs.keys() - own)


@given(POSITIONS, SEEN, SEEN, st.integers(0, 3))
def test_a_changed_run_is_taken_in_or_the_position_stays_before_it(
    position: Position, known: dict[str, Seen], changed: dict[str, Seen], runs_max: int
) -> None:
    in_order = dict(sorted(changed.items(), key=lambda each: each[1].updated))

    after = position.seen(known, in_order, runs_max=runs_max)

    assert after.updated >= position.updated
    left_out = [one.updated for name, one in changed.items() if name not in after.runs]
    assert all(after.updated <= max(at, position.updated) for at in left_out)
    assert len(after.runs.keys() - position.runs.keys()) <= runs_max


def test_runs_that_wait_for_room_are_told_though_one_that_goes_on_changes_meanwhile() -> None:
    runs = {"long": Seen(1.0, is_ended=False)} | {f"r{n:02}": Seen(300.0 * n, is_ended=True) for n in range(1, 13)}

    position, told = told_by_ticks(runs, long_at=100_000.0)

    assert told == runs.keys()
    assert position.updated == 100_000.0
    assert position.runs.keys() == {"long"}


def test_more_runs_than_there_is_room_for_may_end_within_the_overlap() -> None:
    runs = {"long": Seen(1.0, is_ended=False)} | {f"r{n:02}": Seen(2.0 + n, is_ended=True) for n in range(12)}

    _, told = told_by_ticks(runs, long_at=15.0)

    assert told == runs.keys()


def told_by_ticks(runs: dict[str, Seen], long_at: float) -> tuple[Position, set[str]]:
    """Return the position and the runs told after some ticks with room for 5. The long run changes after the first."""
    position, told = Position(0.0), set[str]()
    for _ in range(8):
        after = position.updated - OVERLAP_S
        changed = sorted((each for each in runs.items() if each[1].updated > after), key=lambda each: each[1].updated)
        known = {name: runs[name] for name in position.runs}
        position = position.seen(known, dict(changed[: len(known) + 5]), runs_max=5)
        for name in list(position.runs):
            position = position.told(name, "end", whole=True)
            told.add(name)
        position = position.forgotten()
        runs["long"] = Seen(long_at, is_ended=False)
    return position, told


def test_the_run_that_was_told_last_comes_last() -> None:
    seen = {"a": Seen(1.0, is_ended=False), "b": Seen(2.0, is_ended=True)}
    position = Position(0).seen({}, seen, runs_max=2).told("a", "c1", whole=False)

    assert list(position.runs) == ["b", "a"]
    assert position.told("b", "c2", whole=True).runs["b"] == RunPosition("c2", 2.0, whole=True)
