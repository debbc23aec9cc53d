"""When a key's state is written, and how long the samples behind it are kept. Pure: it says what to write.

    samples of a step ──► chunk w/N      kept until every key they touched was written after they were applied
    key evaluated     ──► written at once if its alert changed, else at most CHECKPOINT_MS of the clock later

So a busy key is written every five minutes and not at each pane. After a stop the detector loads keys as written,
takes the kept samples of panes after each key's last evaluation, and evaluates again up to the clock: the result is
the same, because evaluation is a function of samples alone. Nothing is emitted again: what was emitted was committed.

A key that is blank (nothing open, nothing held) is written blank first, and deleted only once no kept chunk can hold a
sample of it: else those few would make another window after a restart.
"""

from collections.abc import Iterator, Mapping

from flowgauge.processors.detector_state import Kept, KeptFrom, chunk_name, chunks_of, key_name, parts_of
from flowgauge.processors.key_state import Key, KeyState

CHECKPOINT_MS = 300_000  # of the detector's clock: what a restart evaluates again, 1 s of CPU at 200 M events a day

Place = tuple[str, Key]  # (rule uid, key)


class KeyStore:
    """What of the keys is stored, what is not yet, and which samples stand in for that."""

    __slots__ = ("_blank", "_chunks", "_kept", "_next_chunk", "_now", "_parts", "_since")

    def __init__(self) -> None:
        self._parts: dict[Place, int] = {}  # as stored
        self._since: dict[Place, int] = {}  # not stored → when it was first evaluated since; oldest first
        self._now: set[Place] = set()  # to be written in this step
        self._blank: dict[Place, int] = {}  # written blank → when it was last evaluated; oldest first
        self._kept: list[KeptFrom] = []  # samples of this step
        self._chunks: dict[int, tuple[int, int]] = {}  # number → from and to which clock its samples are applied
        self._next_chunk = 0

    def keep(self, first_ms: int, last_ms: int, kept: Kept) -> None:
        """Store samples that wait: none is applied before the clock is at `first_ms`, all once it is at `last_ms`."""
        self._kept.append((first_ms, last_ms, kept))

    def evaluated(self, place: Place, final_ms: int, *, has_changed: bool, is_blank: bool) -> None:
        """Note that a key was evaluated for a pane final at `final_ms`. Calls come in the order of that time."""
        self._since.setdefault(place, final_ms)
        self._blank.pop(place, None)
        if is_blank:
            self._blank[place] = final_ms
        if has_changed:
            self._now.add(place)

    def is_blank(self, place: Place, final_ms: int) -> None:
        """Note that a restored key is blank, last evaluated for a pane final at `final_ms`."""
        self._blank[place] = final_ms

    def write_now(self, place: Place) -> None:
        """Write a key in this step: what changed does not follow from its kept samples."""
        self._now.add(place)

    def write_all(self) -> None:
        """Write every key in this step: the rules changed, and nothing may be evaluated again across that."""
        self._now.update(self._since)

    def step(self, keys: dict[Place, KeyState], clock_ms: int, *, keeps_all: bool) -> dict[str, bytes | None]:
        """Return what to write for this step; forget keys of `keys` that are blank and stored so for good.

        `keeps_all` keeps every chunk: some samples stand aside and are not judged yet.
        """
        written: dict[str, bytes | None] = {}
        for place in self._due(clock_ms):
            self._since.pop(place, None)
            self._write(place, keys.get(place), written)
        self._now.clear()
        self._write_chunks(written)
        if not keeps_all:
            self._drop_chunks(written, clock_ms)
        self._forget_blank(keys, written)
        return written

    def restore(self, parts: Mapping[Place, int], chunks: Mapping[int, tuple[int, int]]) -> None:
        """Take over what is stored: each key's parts, and for each chunk from when to when its samples are applied."""
        self._parts = dict(parts)
        self._chunks = dict(chunks)
        self._next_chunk = max(chunks, default=-1) + 1

    def _due(self, clock_ms: int) -> list[Place]:
        due = list(self._now)
        for place, since_ms in self._since.items():
            if since_ms > clock_ms - CHECKPOINT_MS:
                break
            if place not in self._now:
                due.append(place)
        return due

    def _write(self, place: Place, state: KeyState | None, written: dict[str, bytes | None]) -> None:
        stored = self._parts.pop(place, 0)
        if state is None:
            written.update(_deletions(place, stored))
            return
        name = state.stored_name = state.stored_name or key_name(*place)
        records, self._parts[place] = parts_of(name, state.record(), stored)
        written.update(records)

    def _write_chunks(self, written: dict[str, bytes | None]) -> None:
        for chunk, first_ms, last_ms in chunks_of(self._kept):
            written[chunk_name(self._next_chunk)] = chunk
            self._chunks[self._next_chunk] = (first_ms, last_ms)
            self._next_chunk += 1
        self._kept.clear()

    def _drop_chunks(self, written: dict[str, bytes | None], clock_ms: int) -> None:
        unstored_ms = next(iter(self._since.values()), clock_ms + 1)
        gone = [
            number for number, (_, last_ms) in self._chunks.items() if last_ms <= clock_ms and last_ms < unstored_ms
        ]
        for number in gone:
            del self._chunks[number]
            written[chunk_name(number)] = None

    def _forget_blank(self, keys: dict[Place, KeyState], written: dict[str, bytes | None]) -> None:
        first_kept_ms = min((first_ms for first_ms, _ in self._chunks.values()), default=None)
        for place in list(self._blank_before(first_kept_ms)):
            if place in self._since:
                return  # written soon
            del self._blank[place]
            state = keys.get(place)
            if state is not None and state.is_blank:
                del keys[place]
                written.update(_deletions(place, self._parts.pop(place, 0)))

    def _blank_before(self, first_kept_ms: int | None) -> Iterator[Place]:
        for place, final_ms in self._blank.items():
            if first_kept_ms is not None and final_ms >= first_kept_ms:
                return
            yield place


def _deletions(place: Place, parts: int) -> dict[str, bytes | None]:
    if not parts:
        return {}
    name = key_name(*place)
    return {f"{name}/{number}": None for number in range(parts)}
