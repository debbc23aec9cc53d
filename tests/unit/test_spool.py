"""The spool's folder: who owns what in it, and what a bad one costs."""

import os
import resource
import stat
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from flowgauge.producers import spool as spool_module
from flowgauge.producers.spool import Spool


def filled(folder: Path, *events: bytes) -> Spool:
    """Return a spool of a living owner that holds events."""
    spool = Spool(folder)
    assert spool.append(events) == len(events)
    return spool


def drained(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    while events := spool.peek(events_max=100, bytes_max=1_000_000):
        found += events
        spool.discard(len(events))
    return found


def events_on(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.ndjson"))


@contextmanager
def full_disk(bytes_max: int) -> Generator[None]:
    """Let a file size limit stand for a full disk: a write is cut at it, then refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_an_owner_left_is_adopted_before_our_own_the_oldest_first(tmp_path: Path) -> None:
    for event in (b"1", b"2"):
        filled(tmp_path / "spool", event).leave()
    ours = filled(tmp_path / "spool", b"3")

    assert drained(ours) == [b"1", b"2", b"3"]
    ours.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_living_owner_has_is_left_alone(tmp_path: Path) -> None:
    living = filled(tmp_path / "spool", b"1")

    assert drained(Spool(tmp_path / "spool")) == []
    assert drained(living) == [b"1"]
    living.close()


def test_a_spool_that_is_closed_half_sent_comes_out_again(tmp_path: Path) -> None:
    first = filled(tmp_path / "spool", b"1", b"2")
    first.peek(events_max=1, bytes_max=9)
    first.discard(1)
    first.close()

    second = Spool(tmp_path / "spool")
    second.peek(events_max=9, bytes_max=9)
    second.close()

    assert drained(Spool(tmp_path / "spool")) == [b"1", b"2"]


def test_nothing_is_written_before_an_event_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")

    assert (spool.peek(events_max=9, bytes_max=9), len(spool)) == ([], 0)
    spool.close()
    assert not (tmp_path / "spool").exists()


def test_only_this_user_may_look_into_it(tmp_path: Path) -> None:
    spool = filled(tmp_path / "all" / "spool", b"1")

    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "all").rglob("*") if file.is_file()}
    folders = {stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path / "all", tmp_path / "all" / "spool")}
    assert (modes, folders) == ({0o600}, {0o700})
    spool.close()


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_folder_that_others_may_write_to_is_neither_used_nor_read(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "spool"
    if kind == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "a link":
        folder.symlink_to(tmp_path)
    else:
        folder.touch()
    spool = Spool(folder)

    with pytest.raises(PermissionError, match="no folder of this user alone"):
        spool.append([b"1"])
    with pytest.raises(PermissionError, match="no folder of this user alone"):
        spool.peek(events_max=1, bytes_max=9)


def test_a_write_that_fails_leaves_no_half_line_and_a_later_one_goes_on(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", b"first")
    with full_disk(10), pytest.raises(OSError, match="too large"):
        spool.append([b"second", b"third"])

    spool.append([b"second", b"third"])

    assert (drained(spool), spool.torn, spool.spooled) == ([b"first", b"second", b"third"], 0, 3)
    spool.close()


def test_a_lock_that_a_crash_has_left_alone_is_tidied_away(tmp_path: Path) -> None:
    crashed = filled(tmp_path / "spool", b"1")
    drained(crashed)
    crashed.leave()
    (lock,) = (tmp_path / "spool").iterdir()

    assert (lock.suffix, drained(Spool(tmp_path / "spool"))) == (".lock", [])
    assert list((tmp_path / "spool").iterdir()) == []


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", b"1")
    (tmp_path / "spool" / "notes.ndjson").write_text("mine\n", encoding="utf-8")

    assert drained(spool) == [b"1"]
    spool.close()
    assert [file.name for file in (tmp_path / "spool").iterdir()] == ["notes.ndjson"]


def test_files_that_were_cleared_away_are_no_trouble(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", b"1")
    for file in (tmp_path / "spool").glob("*.ndjson"):
        file.unlink()

    assert (drained(spool), len(spool)) == ([], 0)
    spool.close()


def test_a_disk_that_stays_full_is_not_filled_with_empty_files(tmp_path: Path) -> None:
    spool = filled(tmp_path / "spool", b"first")
    before = events_on(tmp_path / "spool")
    with full_disk(10):
        for _ in range(5):
            with pytest.raises(OSError, match="too large"):
                spool.append([b"second", b"third"])

    assert events_on(tmp_path / "spool") == before
    spool.append([b"second", b"third"])
    assert drained(spool) == [b"first", b"second", b"third"]
    spool.close()


def test_as_many_jobs_fit_as_the_folder_may_have_files_of_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "FILES_MAX", 3)
    for event in (b"1", b"2", b"3"):
        filled(tmp_path / "spool", event).leave()
    fourth = Spool(tmp_path / "spool")

    assert fourth.append([b"4"]) == 0
    assert drained(fourth) == [b"1", b"2", b"3"]
    assert fourth.append([b"4"]) == 1
    fourth.close()


def test_a_folder_that_is_cleared_while_events_are_in_flight_costs_no_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 5)  # three of these fill a file
    spool = filled(tmp_path / "spool", b"1", b"2", b"3")  # sent from memory, and moved to disk meanwhile
    for file in (tmp_path / "spool").glob("*.ndjson"):
        file.unlink()
    spool.append([b"4", b"5", b"6"])

    assert spool.discard(3) == 3
    assert drained(spool) == [b"4", b"5", b"6"]
    spool.close()


def test_what_many_owners_left_is_found_by_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [b"%d" % number for number in range(20)]
    for event in events:
        filled(tmp_path / "spool", event).leave()
    looks: list[Path] = []
    scandir = os.scandir

    def look(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        looks.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", look)

    assert drained(Spool(tmp_path / "spool")) == events
    assert looks == [tmp_path / "spool"]


@pytest.mark.parametrize("closed", ["what is written", "what was adopted"])
def test_a_child_that_is_forked_while_a_file_is_closed_closes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """What a child does first, `leave`, is done here between the close and what comes after it."""
    spool = filled(tmp_path / "spool", b"1")
    if closed == "what was adopted":
        spool.leave()
        spool = Spool(tmp_path / "spool")
    others: list[int] = []
    close = os.close

    def close_and_fork(descriptor: int) -> None:
        close(descriptor)
        if not others:
            others.append(os.open(os.devnull, os.O_RDONLY))  # of another thread: it gets the number that is free now
            spool.leave()

    monkeypatch.setattr(os, "close", close_and_fork)
    assert drained(spool) == [b"1"]

    assert os.fstat(others[0]).st_rdev == Path(os.devnull).stat().st_rdev
    close(others[0])
