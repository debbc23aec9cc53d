"""The spool: events that wait on disk while the server is away, for this process or the next.

    FOLDER/OWNER.lock            held (flock) by the process whose files these are, for as long as it lives
    FOLDER/OWNER.000000001.ndjson   events, one a line, the oldest first; a file is removed once all of it is answered

A queue under crashes at any byte: what comes out again is a prefix of what went in, in its order. Events of a file that
was answered in part come out again, under the same ids. A line that a crash cut is no event: dropped and counted.
Files whose owner is gone are adopted, owner by owner, the oldest first, and come before our own; those of a living
process are left alone. What is written survives the process at once, the machine's power as its file system decides.
Nothing is written before the first event is. One thread at a time; read `spooled_buffer` for who calls this.
"""

import errno
import fcntl
import hashlib
import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count as counting
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.transport import wall_clock

SPOOL_BYTES_MAX = 256 * 1_048_576  # of one folder, whoever wrote them: a night of a busy worker, and no full disk
SEGMENT_BYTES = 1_048_576  # of one file: what comes out again after a crash, and one or two requests
FILES_MAX = 10_000  # of events, in one folder: a job each minute leaves that many in a week
LOOK_AGAIN_S = 60.0  # how often a process that goes on looks for what others left

_NAME = re.compile(r"\d{16}-\d+-[0-9a-f]{8}\.(\d{9}\.ndjson|lock)")
_EVENTS: Final = ".ndjson"
_owners = counting()  # of this process: several may begin within one ms
_READ_BYTES_MAX: Final = SEGMENT_BYTES + EVENT_BYTES_MAX + 1
_PASSES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}  # troubles of the process, not of a file


class Segment(NamedTuple):
    """A file of the spool, and how many events it holds; -1 of one that was adopted."""

    file: Path
    events: int = -1


class Spool:
    """A queue of encoded events in `folder`, at most `bytes_max` with what others left there.

    Its methods raise OSError where the folder is none of ours, or the disk is full or broken; what was returned before
    is true still, and a later call tries again.
    """

    def __init__(self, folder: Path, *, bytes_max: int = SPOOL_BYTES_MAX) -> None:
        self.folder = folder
        self.spooled = 0  # events written here
        self.drained = 0  # events that left, answered; with those that others had left
        self.torn = 0  # lines that a crash cut
        self._bytes_max = bytes_max
        self._bytes = 0  # in the folder, as far as we know
        self._files = 0
        self._lines: deque[bytes] = deque()  # of the file that is being sent
        self._front: Segment | None = None  # that file
        self._own: deque[Segment] = deque()
        self._own_count = 0  # events in _own
        self._adopted: deque[Segment] = deque()
        self._left_behind: deque[tuple[str, list[Path]]] = deque()  # owners that may be gone, and their files
        self._looked_s = float("-inf")
        self._owner = ""
        self._lock = self._adopted_lock = self._writing = -1  # descriptors
        self._writing_bytes = 0
        self._number = 0

    def __len__(self) -> int:
        """Return how many events are here that this process knows of, at least one if it knows of any."""
        return len(self._lines) + self._own_count + len(self._adopted)

    def append(self, events: Sequence[bytes]) -> int:
        """Write events of the start of `events`, as many as fit into a file; return how many. 0: the spool is full."""
        self._open_segment()
        fitting = self._fitting(events)
        if not fitting:
            self._count_files()  # others may have drained theirs
            fitting = self._fitting(events)
        if fitting:
            self._write(b"".join(event + b"\n" for event in fitting))
            file, count = self._own.pop()
            self._own.append(Segment(file, count + len(fitting)))
            self._own_count += len(fitting)
            self.spooled += len(fitting)
        return len(fitting)

    def peek(self, *, events_max: int, bytes_max: int) -> Sequence[bytes]:
        """Return the oldest events, at least one if there is any, else as many as the bounds allow."""
        self._advance()
        oldest: list[bytes] = []
        size = 0
        for event in islice(self._lines, events_max):
            size += len(event)
            if size > bytes_max and oldest:
                break
            oldest.append(event)
        return oldest

    def discard(self, count: int) -> int:
        """Forget the `count` oldest events, which were answered; return how many there were."""
        left = count
        while left and (self._lines or self._load_own()):
            if self._front is not None and not self._lines:
                left -= min(left, self._front.events)  # somebody cleared the folder: what comes next is not of them
            taken = min(left, len(self._lines))
            for _ in range(taken):
                self._lines.popleft()
            left -= taken
            self.drained += taken
            self._forget_empty()
        with suppress(OSError):  # the next peek says so
            self._advance()
        return count - left

    def close(self) -> None:
        """Leave what is here to the next process. Nothing else is to be called afterwards."""
        if not self._own_count and (self._front is None or self._adopted_lock >= 0) and self._owner:
            self._stop_writing()
            for segment in self._own:
                segment.file.unlink(missing_ok=True)
            self._lock_file(self._owner).unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Close what is open and touch no file: in a child after a fork all of it is the parent's."""
        descriptors = self._writing, self._lock, self._adopted_lock
        self._writing = self._lock = self._adopted_lock = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                with suppress(OSError):  # the others are to be closed too
                    os.close(descriptor)

    # Writing.

    def _open_segment(self) -> None:
        if self._writing >= 0 and self._writing_bytes < SEGMENT_BYTES:
            return
        self._stop_writing()
        self._own_folder()
        self._number += 1
        file = self.folder / f"{self._owner}.{self._number:09d}{_EVENTS}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._writing = os.open(file, flags, 0o600)
        self._writing_bytes = 0
        self._own.append(Segment(file, 0))
        self._count_files()

    def _stop_writing(self) -> None:
        descriptor, self._writing = self._writing, -1  # first: a fork may come between
        if descriptor >= 0:
            os.close(descriptor)

    def _fitting(self, events: Sequence[bytes]) -> Sequence[bytes]:
        """Return what the file takes: events until it is large enough, within the bounds of the folder."""
        size, room = 0, self._bytes_max - self._bytes if self._files <= FILES_MAX else 0
        for count, event in enumerate(events):
            if self._writing_bytes + size >= SEGMENT_BYTES or size + len(event) + 1 > room:
                return events[:count]
            size += len(event) + 1
        return events

    def _write(self, data: bytes) -> None:
        """Write all of `data` or none: half a line would spoil the next. Raises OSError."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._writing, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._writing, self._writing_bytes)
            self._stop_writing()  # whatever it holds now: the next file begins anew
            if not self._writing_bytes:
                with suppress(OSError):  # each try would leave one
                    self._own.pop().file.unlink()
            raise
        self._writing_bytes += len(data)
        self._bytes += len(data)

    # Reading.

    def _advance(self) -> None:
        """Have the next events at hand: what others left, then our own."""
        while not self._lines and (self._load(self._adopted) or self._adopt() or self._load_own()):
            self._forget_empty()

    def _load_own(self) -> bool:
        if len(self._own) == 1:
            self._stop_writing()  # what is read is written no more
        try:
            return self._load(self._own)
        finally:
            self._own_count = sum(segment.events for segment in self._own)

    def _load(self, segments: "deque[Segment]") -> bool:
        """Read the next of `segments`; return whether there was one. One that cannot be read is left where it is."""
        if not segments:
            return False
        data = b""
        try:
            with segments[0].file.open("rb") as file:
                data = file.read(_READ_BYTES_MAX)
        except FileNotFoundError:
            pass  # somebody cleared the folder
        except OSError as error:
            if error.errno not in _PASSES:
                segments.popleft()
            raise
        *lines, torn = data.split(b"\n")
        self.torn += bool(torn)
        self._front = segments.popleft()
        self._lines = deque(line for line in lines if line)
        return True

    def _forget_empty(self) -> None:
        """Remove the file of which nothing is left, and the lock of an owner of whom nothing is."""
        if self._lines or self._front is None:
            return
        file, self._front = self._front.file, None
        with suppress(FileNotFoundError):
            self._bytes -= file.stat().st_size
            file.unlink()
        if self._adopted_lock >= 0 and not self._adopted:
            self._release_adopted(_owner_of(file))

    # Owning.

    def _own_folder(self) -> None:
        """Make the folder and the lock that says that our files have an owner who lives."""
        if self._owner:
            return
        make_private(self.folder)
        owner = f"{wall_clock.now_ms():013d}{next(_owners) % 1_000:03d}-{os.getpid()}-{os.urandom(4).hex()}"
        lock = self._locked(owner)
        if lock < 0:
            raise BlockingIOError(f"{self._lock_file(owner)} is taken")
        self._owner, self._lock = owner, lock

    def _adopt(self) -> bool:
        """Take over the files of the oldest owner who is gone; return whether there is one."""
        if not self._left_behind and monotonic() - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = monotonic()
            if not self.folder.exists():
                return False
            check_private(self.folder)
            self._left_behind = deque(sorted(self._files_of_others().items()))
        while self._left_behind:
            owner, files = self._left_behind.popleft()
            lock = self._locked(owner)
            if lock < 0:
                continue
            self._adopted_lock = lock
            self._adopted = deque(map(Segment, files))
            if self._load(self._adopted):
                return True
            self._release_adopted(owner)
        return False

    def _release_adopted(self, owner: str) -> None:
        self._lock_file(owner).unlink(missing_ok=True)
        descriptor, self._adopted_lock = self._adopted_lock, -1  # first: a fork may come between
        os.close(descriptor)

    def _locked(self, owner: str) -> int:
        """Return the descriptor of the lock of `owner`, now ours, or -1 when it is somebody else's."""
        file = self._lock_file(owner)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), file.lstat()):  # else it was removed meanwhile
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return -1

    def _lock_file(self, owner: str) -> Path:
        return self.folder / f"{owner}.lock"

    def _files_of_others(self) -> "dict[str, list[Path]]":
        """Return each other owner's files of events, the oldest first; what one writes later, the next look finds."""
        found: dict[str, list[Path]] = {}
        for file in sorted(file for file, _ in self._entries()):
            of_events = found.setdefault(_owner_of(file), [])
            if file.suffix == _EVENTS:
                of_events.append(file)
        found.pop(self._owner, None)
        return found

    def _count_files(self) -> None:
        sizes = [size for file, size in self._entries() if file.suffix == _EVENTS]
        self._bytes, self._files = sum(sizes), len(sizes)

    def _entries(self) -> "Iterator[tuple[Path, int]]":
        """Yield what is in the folder, and how large it is; locks too, of which a crash may leave one alone."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # its owner drained it meanwhile
                        yield Path(entry.path), entry.stat(follow_symlinks=False).st_size


def folder_for(root: Path, *target: str) -> Path:
    """Return the folder below `root` of events for one target: an address and a token are whose events they are."""
    return root / hashlib.sha256("\0".join(target).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def make_private(folder: Path) -> None:
    """Make `folder` for this user alone. Raises OSError as `check_private` does."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    check_private(folder)


def check_private(folder: Path) -> None:
    """Raise OSError where `folder` is another's, or others may look into it or leave events there."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EACCES, "no folder of this user alone", str(folder))


def _owner_of(file: Path) -> str:
    return file.name.partition(".")[0]
