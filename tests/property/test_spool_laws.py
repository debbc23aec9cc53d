"""The spool as a queue: in order, nothing lost, nothing new, whatever a crash leaves of the last write."""

import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers import spool as spool_module
from flowgauge.producers.spool import Spool

SEGMENT = 64  # so that a few events fill some files


@pytest.fixture(autouse=True, scope="module")
def small_files() -> Iterator[None]:
    """Let files be full early; a bound is no behaviour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "SEGMENT_BYTES", SEGMENT)
        yield


@contextmanager
def folders() -> Generator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "live", Path(folder) / "crashed"


def drained(spool: Spool, batch: int = 3) -> list[bytes]:
    """Take everything out of a spool."""
    found: list[bytes] = []
    while events := spool.peek(events_max=batch, bytes_max=40):
        found += events
        assert spool.discard(len(events)) == len(events)
    return found


def append_all(spool: Spool, events: Sequence[bytes]) -> int:
    """Write as many as the spool takes; return how many."""
    taken = 0
    while taken < len(events) and (count := spool.append(events[taken:])):
        taken += count
    return taken


STEPS = st.lists(st.one_of(st.tuples(st.just("put"), st.integers(1, 9)), st.tuples(st.just("send"), st.integers(1, 9))))


class Played:
    """What some steps left: how many events went in, and how many were answered."""

    def __init__(self, spool: Spool, steps: Sequence[tuple[str, int]]) -> None:
        self.put = self.answered = 0
        for name, count in steps:
            if name == "put":
                assert append_all(spool, [self.event(self.put + n) for n in range(count)]) == count
                self.put += count
            elif batch := spool.peek(events_max=count, bytes_max=1_000):
                assert batch == [self.event(self.answered + n) for n in range(len(batch))]
                spool.discard(len(batch))
                self.answered += len(batch)

    @staticmethod
    def event(number: int) -> bytes:
        return b'{"id": %d, "pad": "%s"}' % (number, b"x" * (number % 7))


@given(STEPS)
def test_what_goes_in_comes_out_in_order_and_leaves_nothing_behind(steps: list[tuple[str, int]]) -> None:
    with folders() as (folder, _):
        spool = Spool(folder)
        played = Played(spool, steps)

        assert len(spool) == played.put - played.answered
        assert drained(spool) == [Played.event(n) for n in range(played.answered, played.put)]
        assert (len(spool), spool.spooled, spool.drained) == (0, played.put, played.put)
        spool.close()
        assert not folder.exists() or list(folder.iterdir()) == []


@given(STEPS, st.integers(0, 400))
def test_after_a_crash_at_any_byte_a_prefix_of_what_went_in_comes_out_in_order(
    steps: list[tuple[str, int]], cut: int
) -> None:
    with folders() as (live, crashed):
        spool = Spool(live)
        played = Played(spool, steps)
        if live.exists():
            shutil.copytree(live, crashed)
            if files := sorted(crashed.glob("*.ndjson")):
                written = files[-1].read_bytes()
                files[-1].write_bytes(written[:cut])
                lost = written[cut:].count(b"\n")
                torn = bool(cut) and bool(written[cut:]) and written[cut - 1 : cut] != b"\n"
            else:
                lost, torn = 0, False

            after = Spool(crashed)
            numbers = [int(event.split(b",")[0].removeprefix(b'{"id": ')) for event in drained(after)]

            first = numbers[0] if numbers else played.put - lost
            assert numbers == list(range(first, played.put - lost))
            assert first <= played.answered  # what was not answered has not gone
            assert after.torn == torn
            assert list(crashed.iterdir()) == []
        spool.close()


@given(st.lists(st.binary(min_size=1, max_size=30).filter(lambda event: b"\n" not in event)), st.integers(0, 300))
def test_the_bound_holds_the_oldest_are_kept_and_room_comes_back(events: list[bytes], bytes_max: int) -> None:
    with folders() as (folder, _):
        spool = Spool(folder, bytes_max=bytes_max)

        taken = append_all(spool, events)
        assert sum(file.stat().st_size for file in folder.glob("*.ndjson")) <= bytes_max
        assert drained(spool) == events[:taken]
        assert taken == len(events) or sum(len(event) + 1 for event in events[: taken + 1]) > bytes_max
        again = append_all(spool, events)
        assert again == taken
        spool.close()
