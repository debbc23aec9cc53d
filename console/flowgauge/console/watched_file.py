"""A file that people write and that is read again when it changes: what it says now, and what is wrong with it.

A broken file never replaces a good one: it is told in the health banner until it is mended, and what was before goes
on.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import structlog

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.yaml_places import Document
from flowgauge.transport.health import Health
from flowgauge.transport.patience import pause
from flowgauge.transport.yaml_files import read_document

LOOK_EVERY_MS = 2_000

_State: TypeAlias = tuple[int, ...]
_Said = TypeVar("_Said")

log = structlog.get_logger("flowgauge.files")


class WatchedFile(Generic[_Said]):
    """What a file says; without a file, what it says from the start. `part` is how the banner names it."""

    def __init__(
        self, file: Path | None, health: Health, part: str, *, read: Callable[[Document], _Said], nothing: _Said
    ) -> None:
        self.said = nothing
        self._file = file
        self._health = health
        self._part = part
        self._read = read
        self._seen: _State = ()

    def open(self) -> None:
        """Read the file at the start; raise InvalidRules: nobody begins with what is wrong."""
        if self._file is not None:
            self._seen = _state_of(self._file)
            self.said = self._read(read_document(self._file))

    async def watch(self, stop: asyncio.Event) -> None:
        """Put each good change in force until `stop`."""
        if self._file is None:
            await stop.wait()
        while not stop.is_set():
            await asyncio.to_thread(self.look)
            await pause(stop, LOOK_EVERY_MS)

    def look(self) -> None:
        """Read the file again where it is another than the one that was seen last."""
        if self._file is None or (state := _state_of(self._file)) == self._seen:
            return
        self._seen = state
        try:
            self.said = self._read(read_document(self._file))
        except InvalidRules as error:
            first, *others = error.problems
            more = f" and {len(others)} more" if others else ""
            self._health.problems[self._part] = not_applied(self._part)
            self._health.operator_problems[self._part] = f"{first}{more}; the {self._part} before it go on"
            log.warning("file not applied", part=self._part, problems=str(error))
            return
        self._health.problems.pop(self._part, None)
        self._health.operator_problems.pop(self._part, None)
        log.info("file applied", part=self._part)


def not_applied(part: str) -> str:
    """Return all that a tenant sees of a change that was not applied."""
    return f"a change was not applied; the {part} before it go on"


def _state_of(file: Path) -> _State:
    """Return what differs when the file was written or replaced; nothing where it cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
