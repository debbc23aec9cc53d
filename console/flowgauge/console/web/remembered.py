"""Answers that are remembered for a moment, so that a page which ten people look at asks ClickHouse once.

An answer is of one tenant and of one question with all that shapes it; the same question in flight is asked once.
What is kept is bounded by entries and bytes; at a bound the tenant that has most bytes gives up its oldest answer, so
nobody's answers crowd out another's. An error is told to all who wait for it and not kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec

from flowgauge.console.metrics import EVICTED_ANSWERS, REMEMBERED_ANSWERS

ENTRIES_MAX = 2_000  # some hundred people, each with a page of a dozen questions
BYTES_MAX = 32 * 1_048_576  # as JSON; in memory some times as much
ANSWER_BYTES_MAX = BYTES_MAX // 8  # a larger one would put out too many others

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Any
    size: int
    until_ms: int


class Remembered:
    """Answers by tenant and question. Of one event loop. With `fresh_ms` 0 nothing is kept; one in flight is shared."""

    def __init__(
        self,
        fresh_ms: int,
        now_ms: Callable[[], int],
        *,
        entries_max: int = ENTRIES_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.fresh_ms = fresh_ms
        self._now_ms = now_ms
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._answers: dict[str, dict[Hashable, _Entry]] = {}
        self._bytes: dict[str, int] = {}
        self._flying: dict[tuple[str, Hashable], asyncio.Future[Any]] = {}

    @property
    def entries(self) -> int:
        """How many answers are kept."""
        return sum(map(len, self._answers.values()))

    @property
    def size(self) -> int:
        """How many bytes they are, as JSON."""
        return sum(self._bytes.values())

    def moment(self) -> int:
        """Return now, the same for a while: questions that end now are equal for so long."""
        now_ms = self._now_ms()
        return now_ms - now_ms % self.fresh_ms if self.fresh_ms else now_ms

    async def answer(self, tenant: str, question: Hashable, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `ask` answers to `question` of `tenant`, or answered lately. Raises what `ask` raises."""
        key = tenant, question
        while (flying := self._flying.get(key)) is not None:
            await asyncio.wait([flying])
            if not flying.cancelled():  # else who asked went away, and we ask
                REMEMBERED_ANSWERS.labels("joined").inc()
                return cast("_T", flying.result())
        kept = self._answers.get(tenant, {}).get(question)
        if kept is not None and self._now_ms() < kept.until_ms:
            REMEMBERED_ANSWERS.labels("hit").inc()
            return cast("_T", kept.value)
        REMEMBERED_ANSWERS.labels("miss").inc()
        return await self._ask(key, ask)

    async def _ask(self, key: tuple[str, Hashable], ask: Callable[[], Awaitable[_T]]) -> _T:
        flying: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._flying[key] = flying
        try:
            value = await ask()
        except Exception as error:
            flying.set_exception(error)
            flying.exception()  # who asked hears it, whether or not others wait
            raise
        except BaseException:
            flying.cancel()
            raise
        else:
            flying.set_result(value)
            self._keep(key, value)
            return value
        finally:
            del self._flying[key]

    def _keep(self, key: tuple[str, Hashable], value: object) -> None:
        if not self.fresh_ms:
            return
        size = len(value) if isinstance(value, bytes) else len(msgspec.json.encode(value))
        if size > min(ANSWER_BYTES_MAX, self._bytes_max):
            return
        tenant, question = key
        self._drop(tenant, question)
        now_ms = self._now_ms()
        self._answers.setdefault(tenant, {})[question] = _Entry(value, size, now_ms + self.fresh_ms)
        self._bytes[tenant] = self._bytes.get(tenant, 0) + size
        self._drop_stale(now_ms)
        while self.entries > self._entries_max or self.size > self._bytes_max:
            largest = max(self._bytes, key=lambda each: (self._bytes[each], len(self._answers[each])))
            self._drop(largest, next(iter(self._answers[largest])))
            EVICTED_ANSWERS.inc()

    def _drop_stale(self, now_ms: int) -> None:
        """Forget what is too old; the oldest of a tenant come first."""
        for tenant in list(self._answers):
            for question, entry in list(self._answers[tenant].items()):
                if now_ms < entry.until_ms:
                    break
                self._drop(tenant, question)

    def _drop(self, tenant: str, question: Hashable) -> None:
        entry = self._answers.get(tenant, {}).pop(question, None)
        if entry is not None:
            self._bytes[tenant] -= entry.size
            if not self._answers[tenant]:
                del self._answers[tenant], self._bytes[tenant]
