"""Patience: do one thing until it works, while the outside is in trouble; say so meanwhile, lose nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from flowgauge.schemas.errors import Transient
from flowgauge.transport.health import Health

PAUSE_MS = 200
PAUSE_MAX_MS = 5_000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Does what `part` asks for until it works or `stop` is set; trouble stands in `health.problems` meanwhile."""

    part: str
    health: Health
    stop: asyncio.Event

    async def __call__(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `action` returns, trying again after each Transient with growing pauses.

        Once `stop` is set the next Transient is raised.
        """
        pause_ms = PAUSE_MS
        while True:
            try:
                found = await action()
            except Transient as error:
                self.health.problems[self.part] = str(error)
                if self.stop.is_set():
                    raise
                await pause(self.stop, pause_ms)
                pause_ms = min(2 * pause_ms, PAUSE_MAX_MS)
            else:
                self.health.problems.pop(self.part, None)
                return found

    async def unless_stopped(self, action: Callable[[], Awaitable[_T]]) -> _T | None:
        """Do the same; return None when `stop` comes first: `action` is cancelled then.

        For what may take as long as others like, such as a group that lets nobody in until all of it has joined.
        """
        doing, stopping = asyncio.ensure_future(self(action)), asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else None
        finally:
            doing.cancel()
            stopping.cancel()
            await asyncio.gather(doing, stopping, return_exceptions=True)


async def pause(stop: asyncio.Event, pause_ms: int) -> None:
    """Wait `pause_ms`, or until `stop` is set."""
    try:
        async with asyncio.timeout(pause_ms / 1000):
            await stop.wait()
    except TimeoutError:
        return
