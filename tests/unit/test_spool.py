"""The spool's folder: who owns what in it, and what a bad one costs."""

import resource
import stat
from pathlib import Path

import pytest

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
    """A file size limit stands for a full disk: the write is cut in the middle of a line, then refused."""
    spool = filled(tmp_path / "spool", b"first")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError, match="too large"):
            spool.append([b"second", b"third"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

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
