"""The sensor's cursor: it forgets no run before it is told whole, and none that may still change unseen."""

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.dagster.position import OVERLAP_S, Position, RunPosition, decoded, encoded

TIMES = st.floats(0, 4e9)
RUNS = st.dictionaries(
    st.text(max_size=4), st.builds(RunPosition, st.none() | st.text(max_size=4), st.none() | TIMES, st.booleans())
)
POSITIONS = st.builds(Position, TIMES, RUNS)


@given(POSITIONS)
def test_a_cursor_is_read_as_it_was_written(position: Position) -> None:
    assert decoded(encoded(position), 0) == position


def test_a_cursor_that_is_none_of_ours_begins_anew() -> None:
    assert decoded(None, 7.0) == decoded("{}", 7.0) == decoded("another sensor's", 7.0) == Position(7.0)


@given(POSITIONS)
def test_only_a_run_that_is_told_whole_and_ended_before_the_overlap_is_forgotten(position: Position) -> None:
    gone = position.runs.keys() - position.forgotten().runs.keys()

    def may_go(run: RunPosition) -> bool:
        return run.whole and run.ended is not None and run.ended < position.updated - OVERLAP_S

    assert gone == {name for name, run in position.runs.items() if may_go(run)}


@given(POSITIONS, st.dictionaries(st.text(max_size=4), st.tuples(TIMES, st.booleans())))
def test_a_run_that_is_seen_again_keeps_its_cursor_and_is_to_be_told(
    position: Position, seen: dict[str, tuple[float, bool]]
) -> None:
    after = position.seen(seen)

    assert after.runs.keys() == seen.keys()
    assert after.updated >= position.updated
    assert not any(run.whole for run in after.runs.values())
    assert all(after.runs[name].cursor == run.cursor for name, run in position.runs.items() if name in seen)


def test_the_run_that_was_told_last_comes_last() -> None:
    position = Position(0).seen({"a": (1.0, False), "b": (2.0, True)}).told("a", "c1", whole=False)

    assert list(position.runs) == ["b", "a"]
    assert position.told("b", "c2", whole=True).runs["b"] == RunPosition("c2", 2.0, whole=True)
