"""Turns: how many questions ask ClickHouse at a time, in all and of one tenant.

    asked ──► a turn is free ──► ClickHouse
      │            │ no
      │            └──► wait, in the tenant's line ──► a turn, given round the tenants
      └──► the line is full, or the wait too long ──► TooManyQuestions: HTTP 429

So whoever asks much waits for itself: of the turns in all, other tenants have those that one may not take, and what
becomes free goes to whose turn was longest ago. The bounds are those of one process; another has its own.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flowgauge.console.metrics import REFUSED_QUESTIONS
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import Transient
from flowgauge.schemas.setting_parts import QuestionSettings
from flowgauge.schemas.times import format_duration, parse_duration_ms

RETRY_AFTER_S = 2  # most questions take less: by then turns are free again


class TooManyQuestions(Transient):
    """A tenant asks more than its share. The message says which bound was met."""


class Turns:
    """Gives turns. Of one event loop."""

    def __init__(self, bounds: QuestionSettings) -> None:
        self._bounds = bounds
        self._wait_s = parse_duration_ms(bounds.wait) / 1000
        self._running: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # in the order in which tenants are next

    @property
    def running(self) -> Counter[str]:
        """How many questions of each tenant have a turn now."""
        return +self._running

    @property
    def waiting(self) -> int:
        """How many questions wait for a turn."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncGenerator[None]:
        """Wait for a turn of `tenant`, and have it until the block ends. Raises TooManyQuestions."""
        if self._may_run(tenant) and tenant not in self._lines:
            self._running[tenant] += 1
        else:
            await self._wait(tenant)
        try:
            yield
        finally:
            self._leave(tenant)

    async def _wait(self, tenant: str) -> None:
        line = self._lines.setdefault(tenant, deque())
        if len(line) >= self._bounds.tenant_waiting:
            self._tidy(tenant)
            REFUSED_QUESTIONS.labels("line").inc()
            raise TooManyQuestions(
                f"of tenant {tenant} {counted(self._bounds.tenant_running, 'question')} may be asked at a time, and "
                f"{len(line)} wait: ask again in a moment, or for less at a time (questions.tenant_running, "
                "questions.tenant_waiting)"
            )
        mine = asyncio.get_running_loop().create_future()
        line.append(mine)
        try:
            async with asyncio.timeout(self._wait_s):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._leave(tenant)  # it was given in the very moment
            else:
                if mine in line:
                    line.remove(mine)
                self._tidy(tenant)
            if not isinstance(error, TimeoutError):
                raise
            REFUSED_QUESTIONS.labels("wait").inc()
            waited = format_duration(parse_duration_ms(self._bounds.wait))
            raise TooManyQuestions(
                f"no turn came in {waited}: other questions take long; ask again in a moment, or for less "
                "(questions.running, questions.wait)"
            ) from None

    def _may_run(self, tenant: str) -> bool:
        bounds = self._bounds
        return self._running.total() < bounds.running and self._running[tenant] < bounds.tenant_running

    def _leave(self, tenant: str) -> None:
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]
        while (next_tenant := next(filter(self._may_run, self._lines), None)) is not None:
            line = self._lines.pop(next_tenant)
            turn = line.popleft()
            if line:
                self._lines[next_tenant] = line  # behind all others
            if not turn.done():
                self._running[next_tenant] += 1
                turn.set_result(None)

    def _tidy(self, tenant: str) -> None:
        if tenant in self._lines and not self._lines[tenant]:
            del self._lines[tenant]
