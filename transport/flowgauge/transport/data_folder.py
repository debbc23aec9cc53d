"""The lock of the data folder: one server owns it, and others are told who and where.

The lock is the kernel's (flock), so it ends with its process however that ends; the file only names the owner: its
process id, and in a second line the address at which it answers.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Generator
from pathlib import Path

from flowgauge.schemas.errors import BadEnvironment, DataFolderLocked

LOCK_FILE_NAME = "lock"
_OWNER_BYTES_MAX = 1_024  # a process id and a URL


@contextlib.contextmanager
def lock_data_folder(folder: Path) -> Generator[Callable[[str], None]]:
    """Own `folder`, creating it if missing, until the context ends; a folder made for nothing is removed again.

    Yields what notes the address at which the owner answers. Raises DataFolderLocked, naming the owner, when another
    process (or this one) owns it, and BadEnvironment when the folder cannot be written.
    """
    is_ours_alone = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        remedy = "make it writable, or choose another with --data or FLOWGAUGE_DATA"
        raise BadEnvironment(f"cannot write the data folder {folder}: {error.strerror}; {remedy}") from error

    def note_address(url: str) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n{url}".encode(), 0)

    try:
        _lock(descriptor, folder)
        try:
            note_address("")
            yield note_address
        finally:
            os.ftruncate(descriptor, 0)
            if is_ours_alone:
                _remove_unused(folder)
    finally:
        os.close(descriptor)


def address_of_owner(folder: Path) -> str:
    """Return the address at which the living owner of `folder` answers, "" where there is none.

    The file is only read: to try the lock would stand in the way of a server that starts.
    """
    try:
        with (folder / LOCK_FILE_NAME).open("rb") as file:
            process, _, url = file.read(_OWNER_BYTES_MAX).decode(errors="replace").partition("\n")
        return url if _lives(int(process)) else ""
    except (OSError, ValueError, OverflowError):
        return ""


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody else's
    return True


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, _OWNER_BYTES_MAX, 0).decode(errors="replace") or "unknown"
        process, _, url = owner.partition("\n")
        who = f"process {process}" + (f", which answers at {url}" if url else "")
        raise DataFolderLocked(
            f"the data folder {folder} is used by {who}: stop it, or choose another with --data or FLOWGAUGE_DATA"
        ) from error


def _remove_unused(folder: Path) -> None:
    """Remove a folder that holds nothing but the lock, which is still held."""
    with contextlib.suppress(OSError):
        if [each.name for each in folder.iterdir()] == [LOCK_FILE_NAME]:
            (folder / LOCK_FILE_NAME).unlink()
            folder.rmdir()
