"""How far a bridge has come: up to when all was compared, and the ids that are durable since. A small file.

    file     24 bytes a record: a time in µs (8, big endian), an id (16)
             first    the time up to which all was compared, and an id of zeros
             then     each event that flowgauge has answered for; a last record that is cut is dropped
    seen     those of KEEP_US before that time, and all after it

A record that a crash loses only means that its event is sent again, under the same id. Threads may share a cursor.
"""

import fcntl
import os
import struct
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import Final, NamedTuple

from flowgauge.schemas.errors import BadEnvironment, DataFolderLocked

KEEP_US: Final = 15 * 60_000_000  # as far as Prefect's own backfill goes back: it repeats that on each connection
SEEN_MAX = 300_000  # ids, about 150 bytes each; beyond it the oldest are forgotten, and perhaps sent again
_RECORD: Final = struct.Struct(">q16s")
_ZEROS: Final = bytes(16)


class Durable(NamedTuple):
    """An event that flowgauge has answered for."""

    at_us: int
    id: bytes


def furthest_us(cursors: Iterable[Path]) -> int:
    """Return up to when the one of these files that is furthest compared all; 0 where there is none.

    Raises BadEnvironment for what cannot be read or is no cursor.
    """
    return max((_begun_us(file) for file in cursors), default=0)


class Cursor:
    """The cursor in `file`, which no other process may use meanwhile; a new one begins at `begin_us`.

    Raises DataFolderLocked while another process has it, BadEnvironment where it cannot be read or written.
    """

    def __init__(self, file: Path, *, begin_us: int) -> None:
        self._path = file
        self._lock = threading.Lock()
        self._seen: dict[bytes, int] = {}
        self.forgotten = 0
        with _told(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._held = (file.parent / f"{file.name}.lock").open("ab")
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.checked_us = self._read() or begin_us
                self._out = self._rewritten()
            except BaseException:
                self._held.close()
                raise

    def close(self) -> None:
        """Let another process use it. Nothing waits to be written but what a full disk refused, which was told."""
        with suppress(OSError):
            self._out.close()
        self._held.close()

    def knows(self, event_id: bytes) -> bool:
        """Tell whether the event of this id is durable."""
        with self._lock:
            return event_id in self._seen

    def count(self, since_us: int, until_us: int) -> int:
        """Return how many durable events lie in [since, until)."""
        with self._lock:
            return sum(since_us <= at_us < until_us for at_us in self._seen.values())

    def add(self, events: Iterable[Durable]) -> None:
        """Note events that flowgauge has answered for. Raises BadEnvironment where the disk is full."""
        added = list(events)
        with self._lock:
            self._seen.update((each.id, each.at_us) for each in added)
            while len(self._seen) > SEEN_MAX:
                self._seen.pop(next(iter(self._seen)))
                self.forgotten += 1
        with _told(self._path):
            self._out.write(b"".join(_RECORD.pack(*each) for each in added))
            self._out.flush()

    def advance(self, checked_us: int) -> None:
        """Note that all before `checked_us` was compared and is durable. Raises BadEnvironment as `add` does."""
        with self._lock:
            self.checked_us = max(self.checked_us, checked_us)
            keep_us = self.checked_us - KEEP_US
            self._seen = {event_id: at_us for event_id, at_us in self._seen.items() if at_us >= keep_us}
        with _told(self._path):
            self._out.close()
            self._out = self._rewritten()

    def _read(self) -> int:
        if not self._path.exists():
            return 0
        content = self._path.read_bytes()
        whole = content[: len(content) // _RECORD.size * _RECORD.size]
        records = [Durable(*each) for each in _RECORD.iter_unpack(whole)]
        if not records or records[0].id != _ZEROS:
            raise _no_cursor(self._path)
        self._seen = {each.id: each.at_us for each in records[1:]}
        return records[0].at_us

    def _rewritten(self) -> BufferedWriter:
        new = self._path.with_name(f"{self._path.name}.new")
        with self._lock, new.open("wb") as out:
            out.write(_RECORD.pack(self.checked_us, _ZEROS))
            out.writelines(_RECORD.pack(at_us, event_id) for event_id, at_us in self._seen.items())
            out.flush()
            os.fsync(out.fileno())
        new.replace(self._path)
        return self._path.open("ab")


def _begun_us(file: Path) -> int:
    with _told(file), file.open("rb") as content:
        first = content.read(_RECORD.size)
    if len(first) < _RECORD.size or first[-len(_ZEROS) :] != _ZEROS:
        raise _no_cursor(file)
    return Durable(*_RECORD.unpack(first)).at_us


@contextmanager
def _told(file: Path) -> Generator[None]:
    """Raise what the block fails with as errors that name the file."""
    try:
        yield
    except BlockingIOError:
        raise DataFolderLocked(f"{file}: another bridge uses it: end that one, or choose another --state") from None
    except OSError as error:
        raise BadEnvironment(f"{file}: cannot be used: {error.strerror or error}") from None


def _no_cursor(file: Path) -> BadEnvironment:
    return BadEnvironment(f"{file}: no cursor of a bridge: choose another --state, or move the file away")
