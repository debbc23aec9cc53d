"""The lock of the data folder: one server owns it, and a second one is told who.

The lock is the kernel's (flock), so it ends with its process however that ends; the file only names the owner.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path

from flowgauge.schemas.errors import BadEnvironment, DataFolderLocked

LOCK_FILE_NAME = "lock"


@contextlib.contextmanager
def lock_data_folder(folder: Path) -> Generator[None]:
    """Own `folder`, creating it if missing, until the context ends.

    Raises DataFolderLocked, naming the owner's process id, when another process (or this one) owns it, and
    BadEnvironment when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BadEnvironment(f"cannot write the data folder {folder}: {error.strerror}; make it writable") from error
    try:
        _lock(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
        raise DataFolderLocked(
            f"the data folder {folder} is used by process {owner}: stop it, or set FLOWGAUGE_DATA to another folder"
        ) from error
