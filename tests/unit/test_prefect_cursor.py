"""The cursor of a bridge: what it notes outlives a kill, and one bridge at a time uses it."""

import contextlib
import resource
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge.producers.prefect.cursor import KEEP_US, Cursor, Durable
from flowgauge.schemas.errors import BadEnvironment, DataFolderLocked

BEGIN_US = 1_790_000_000_000_000
EVENTS = st.lists(st.builds(Durable, st.integers(BEGIN_US, BEGIN_US + 100), st.binary(min_size=16, max_size=16)))


@contextlib.contextmanager
def opened(folder: Path, begin_us: int = BEGIN_US) -> Generator[Cursor]:
    """Open it until the block ends, which for the file is as a kill: what is noted is written at once."""
    cursor = Cursor(folder / "state" / "events.cursor", begin_us=begin_us)
    try:
        yield cursor
    finally:
        cursor.close()


def events(*numbers: int) -> list[Durable]:
    return [Durable(BEGIN_US + number, number.to_bytes(16)) for number in numbers]


def test_what_was_noted_is_known_after_a_kill_and_a_cut_record_is_dropped(tmp_path: Path) -> None:
    with opened(tmp_path) as cursor:
        cursor.add(events(1, 2, 3))
    file = tmp_path / "state" / "events.cursor"
    file.write_bytes(file.read_bytes()[:-5])

    with opened(tmp_path, begin_us=0) as again:
        assert [again.knows(each.id) for each in events(1, 2, 3, 4)] == [True, True, False, False]
        assert (again.checked_us, again.count(BEGIN_US + 2, BEGIN_US + 4)) == (BEGIN_US, 1)


def test_a_comparison_lets_ids_go_that_no_backfill_repeats(tmp_path: Path) -> None:
    with opened(tmp_path) as cursor:
        cursor.add(events(1, KEEP_US))
        cursor.advance(BEGIN_US + KEEP_US + 2)
        cursor.advance(BEGIN_US)  # never back

    with opened(tmp_path, begin_us=0) as again:
        assert again.checked_us == BEGIN_US + KEEP_US + 2
        assert [again.knows(each.id) for each in events(1, KEEP_US)] == [False, True]


def test_a_second_bridge_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with (
        opened(tmp_path),
        pytest.raises(DataFolderLocked, match=r"another bridge uses it.*--state"),
        opened(tmp_path),
    ):
        pass


def test_a_file_that_is_no_cursor_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "state" / "events.cursor"
    file.parent.mkdir()
    file.write_text("something else that somebody wrote")

    with pytest.raises(BadEnvironment, match="no cursor of a bridge"), opened(tmp_path):
        pass
    assert file.read_text() == "something else that somebody wrote"


def add(cursor: Cursor) -> None:
    cursor.add(events(*range(100)))


def advance(cursor: Cursor) -> None:
    cursor.advance(BEGIN_US + 1)


@pytest.mark.parametrize("note", [add, advance])
def test_a_disk_that_is_full_is_told_with_the_file(tmp_path: Path, note: Callable[[Cursor], None]) -> None:
    with opened(tmp_path) as cursor:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        cursor.add(events(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (30, hard))  # Python ignores SIGXFSZ
        try:
            with pytest.raises(BadEnvironment, match=r"events\.cursor: cannot be used: File too large"):
                note(cursor)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with opened(tmp_path, begin_us=0) as again:
        assert (again.checked_us, again.knows(events(1)[0].id)) == (BEGIN_US, True)


@settings(max_examples=10)  # each syncs a file a few times
@given(batches=st.lists(EVENTS, max_size=4))
def test_after_any_notes_a_cursor_that_is_opened_again_knows_what_it_knew(batches: Sequence[list[Durable]]) -> None:
    with TemporaryDirectory() as folder:
        with opened(Path(folder)) as cursor:
            for batch in batches:
                cursor.add(batch)

        with opened(Path(folder), begin_us=0) as again:
            known = {each.id: each.at_us for batch in batches for each in batch}
            assert all(again.knows(each) for each in known)
            assert again.count(BEGIN_US, BEGIN_US + 101) == len(known)
