"""The file of prices and teams: what applies now, and what is wrong with what was written last.

A broken file never replaces a good one: it is told in the health banner until it is mended, and the prices go on.
"""

import asyncio
from pathlib import Path
from typing import TypeAlias

import structlog

from flowgauge.schemas.errors import InvalidRules
from flowgauge.sinks.clickhouse.prices import PriceBook, PriceList, prices_of
from flowgauge.transport.health import Health
from flowgauge.transport.patience import pause
from flowgauge.transport.yaml_files import read_document

PART = "prices"  # how the health banner names what is wrong with the file
NOT_APPLIED = "a change was not applied; the prices before it go on"  # all that a tenant sees of it
LOOK_EVERY_MS = 2_000

_State: TypeAlias = tuple[int, ...]

log = structlog.get_logger("flowgauge.prices")


class WatchedPrices:
    """The prices in force; without a file, none."""

    def __init__(self, file: Path | None, health: Health) -> None:
        self._file = file
        self._health = health
        self._book = PriceBook()
        self._seen: _State = ()

    def of(self, tenant: str) -> PriceList:
        """Return what applies to `tenant` now."""
        return self._book.of(tenant)

    def open(self) -> None:
        """Read the file at the start; raise InvalidRules: nobody is told wrong sums from the beginning."""
        if self._file is not None:
            self._seen = _state_of(self._file)
            self._book = prices_of(read_document(self._file))

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
            self._book = prices_of(read_document(self._file))
        except InvalidRules as error:
            first, *others = error.problems
            more = f" and {len(others)} more" if others else ""
            self._health.problems[PART] = NOT_APPLIED
            self._health.operator_problems[PART] = f"{first}{more}; the prices before it go on"
            log.warning("prices not applied", problems=str(error))
            return
        self._health.problems.pop(PART, None)
        self._health.operator_problems.pop(PART, None)
        log.info("prices applied", prices=len(self._book.written.prices), teams=len(self._book.written.teams))


def _state_of(file: Path) -> _State:
    """Return what differs when the file was written or replaced; nothing where it cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
