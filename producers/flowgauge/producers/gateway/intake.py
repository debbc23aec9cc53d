"""What every way in ends with: events of one tenant checked, the good ones in the log, the bad ones in the dlq.

    raw events ─► event_record ─┬► EVENTS, durable
                                └► DLQ, with the reason, for what is refused

A way in (a door) tells events apart, or makes them of what its senders speak, and hands them to `Intake.take`.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import structlog

from flowgauge.producers import metrics
from flowgauge.producers.pulse import pulses_if_due
from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX, DeadLetter, encode_dead_letter
from flowgauge.schemas.errors import InvalidEvent, Transient
from flowgauge.schemas.refusal import refusal
from flowgauge.schemas.topics import DLQ, EVENTS
from flowgauge.transport import wall_clock
from flowgauge.transport.event_record import event_record
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log, Outgoing

APPEND_S_MAX = 5.0  # for all of one hand-in; a sender that is told to come again by then has not given up itself
BYTES_HELD_MAX = 256 * 1_048_576  # bodies and frames of all senders at work; one above it is told to come again
TENANT_BYTES_HELD_MAX = BYTES_HELD_MAX // 2  # bodies of one tenant: whatever it sends, there is room for others
UNVERIFIED_BYTES_HELD_MAX = BYTES_HELD_MAX // 8  # bodies of webhooks that no secret proves yet: of anybody, together
ERRORS_MAX = 1_000  # per-event errors listed in one answer; the rest is in `errors_omitted`, and all are in the dlq
UNVERIFIED: Final = ""  # whose bodies those are that no secret proves yet; no tenant is called so
DETAIL_CHARS_MAX = 300  # of an error's detail: enough for any of our sentences
TURN_BYTES = 262_144  # about 10 ms of ordinary events; then the loop's other tasks have a turn
EVENT_COST_BYTES = 512  # what an event, however small, counts towards a turn: telling that it is bad costs as much
HERE_BYTES_MAX = 131_072  # a body to cut or an event to check above it may take seconds: it is done in a thread
APART_MAX = 2  # threads at such work, of all requests; the rest waits its turn, and bodies at work are bounded anyway

_T = TypeVar("_T")
_log = structlog.get_logger("flowgauge.gateway")


@dataclass(frozen=True, slots=True)
class Unfit:
    """What a door could make no event of: the bytes as they came, and why."""

    raw: bytes
    invalid: InvalidEvent


@dataclass(slots=True)
class Taken:
    """What became of the events that were handed in together, in their order."""

    accepted: list[Outgoing] = field(default_factory=list[Outgoing])
    letters: list[Outgoing] = field(default_factory=list[Outgoing])
    errors: list[dict[str, object]] = field(default_factory=list[dict[str, object]])  # the first ERRORS_MAX
    reasons: Counter[str] = field(default_factory=Counter[str])

    def answer(self) -> dict[str, object]:
        """Return the counts and errors as senders are told them."""
        answer: dict[str, object] = {
            "accepted": len(self.accepted),
            "rejected": len(self.letters),
            "errors": self.errors,
        }
        if len(self.letters) > ERRORS_MAX:
            answer["errors_omitted"] = len(self.letters) - ERRORS_MAX
        return answer


class Intake:
    """Where all doors of a process hand in. `health` is told what came, and of a log that takes nothing."""

    def __init__(self, log: Log, health: Health, now_ms: Callable[[], int] = wall_clock.now_ms) -> None:
        self.bytes_held = 0  # each door adds what it holds, and takes it off again
        self._bytes_held_of: Counter[str] = Counter()
        self.health = health
        self._log = log
        self._now_ms = now_ms
        self._apart = asyncio.Semaphore(APART_MAX)

    async def take(self, tenant: str, events: Sequence[bytes | Unfit]) -> Taken:
        """Return what became of `events` once all of it is durable.

        Raises Transient when the log takes none now, or has not within APPEND_S_MAX: it may hold them all the same, or
        later, so they come again under the same ids.
        """
        taken = await self._sort(tenant, events)
        await self._append(taken)
        self._count(tenant, taken)
        return taken

    def count_limited(self, tenant: str, limit: str) -> None:
        """Count a request of `tenant` that was over the bound `limit`."""
        for health in (self.health, self.health.of(tenant)):
            health.limited += 1
        metrics.REQUESTS_LIMITED.labels(limit).inc()

    def hold(self, tenant: str, count: int) -> None:
        """Count bytes as held for `tenant`, or UNVERIFIED; a negative count lets them go."""
        self.bytes_held += count
        self._bytes_held_of[tenant] += count
        if not self._bytes_held_of[tenant]:
            del self._bytes_held_of[tenant]

    @contextmanager
    def holding(self, tenant: str, count: int) -> Generator[None]:
        """Hold bytes until the block is left."""
        self.hold(tenant, count)
        try:
            yield
        finally:
            self.hold(tenant, -count)

    def crowded(self, tenant: str) -> str | None:
        """Return what has no room for more bytes of `tenant`: all, tenant or unverified; None where all have."""
        if self.bytes_held > BYTES_HELD_MAX:
            return "all"
        if tenant == UNVERIFIED:
            return "unverified" if self._bytes_held_of[tenant] > UNVERIFIED_BYTES_HELD_MAX else None
        return "tenant" if self._bytes_held_of[tenant] > TENANT_BYTES_HELD_MAX else None

    async def heavy(self, size: int, work: Callable[[], _T], *, here_bytes_max: int = HERE_BYTES_MAX) -> _T:
        """Return what `work` on `size` bytes returns: apart, when it could keep the loop from other requests."""
        if size <= here_bytes_max:
            return work()
        async with self._apart:
            return await asyncio.to_thread(work)

    async def _append(self, taken: Taken) -> None:
        try:
            async with asyncio.timeout(APPEND_S_MAX):
                if taken.accepted:
                    await self._append_events(taken.accepted)
                if taken.letters:
                    await self._log.append(DLQ, taken.letters)
        except TimeoutError:
            raise self._noted(Transient(f"no answer within {APPEND_S_MAX:g} s; trying again")) from None
        except Transient as transient:
            raise self._noted(transient) from None
        self.health.problems.pop("gateway", None)

    def _noted(self, transient: Transient) -> Transient:
        self.health.problems["gateway"] = f"the log takes no events: {transient}"
        _log.warning("log takes no events", reason=str(transient))
        return transient

    async def _append_events(self, events: list[Outgoing]) -> None:
        sent_ms = self._now_ms()
        if pulses := pulses_if_due(self._log, self.health, sent_ms):
            await self._log.append(EVENTS, [*pulses, *events])
            self.health.pulse_ms = max(self.health.pulse_ms, sent_ms)
            metrics.PULSES.inc(len(pulses))
        else:
            await self._log.append(EVENTS, events)

    async def _sort(self, tenant: str, events: Sequence[bytes | Unfit]) -> Taken:
        taken = Taken()
        now_ms = self._now_ms()
        partitions = self._log.partitions(EVENTS)
        turn = 0
        for event in events:
            raw = event.raw if isinstance(event, Unfit) else event
            turn += len(raw) + EVENT_COST_BYTES
            if turn > TURN_BYTES:
                turn = 0
                await asyncio.sleep(0)
            try:
                if isinstance(event, Unfit):
                    raise event.invalid
                if len(raw) > HERE_BYTES_MAX:
                    heavy = partial(event_record, raw, tenant=tenant, append_ms=now_ms, partitions=partitions)
                    record = await self.heavy(len(raw), heavy)
                else:
                    record = event_record(raw, tenant=tenant, append_ms=now_ms, partitions=partitions)
            except InvalidEvent as invalid:
                self._sort_out(taken, tenant, raw, invalid, now_ms=now_ms)
            else:
                taken.accepted.append(record)
        return taken

    def _sort_out(self, taken: Taken, tenant: str, raw: bytes, invalid: InvalidEvent, *, now_ms: int) -> None:
        if len(taken.errors) < ERRORS_MAX:
            invalid = InvalidEvent(invalid.reason, refusal(invalid, raw if len(raw) <= HERE_BYTES_MAX else b""))
            index = len(taken.accepted) + len(taken.letters)
            taken.errors.append(_error(index, raw, invalid))
        taken.reasons[invalid.reason] += 1
        taken.letters.append(self._letter(tenant, raw, invalid, now_ms))

    def _letter(self, tenant: str, raw: bytes, invalid: InvalidEvent, now_ms: int) -> Outgoing:
        letter = DeadLetter(
            tenant=tenant,
            reason=invalid.reason,
            detail=invalid.detail[:DETAIL_CHARS_MAX],
            origin="gateway",
            at_ms=now_ms,
            value=raw[:DEAD_LETTER_BYTES_MAX],
            size=len(raw),
        )
        return Outgoing(zlib.crc32(raw) % self._log.partitions(DLQ), tenant, encode_dead_letter(letter))

    def _count(self, tenant: str, taken: Taken) -> None:
        accepted, rejected = len(taken.accepted), len(taken.letters)
        for health in (self.health, self.health.of(tenant)):
            health.accepted += accepted
            health.refused += rejected
        metrics.EVENTS_ACCEPTED.inc(accepted)
        for reason, count in taken.reasons.items():
            metrics.EVENTS_REFUSED.labels(reason).inc(count)


def _error(index: int, raw: bytes, invalid: InvalidEvent) -> dict[str, object]:
    return {"index": index, "id": _id_of(raw), "reason": invalid.reason, "detail": invalid.detail[:DETAIL_CHARS_MAX]}


class _WithId(msgspec.Struct):
    id: Any = None


_decode_id = msgspec.json.Decoder(_WithId).decode


def _id_of(raw: bytes) -> str | None:
    try:
        found: object = _decode_id(raw).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found[:64] if isinstance(found, str) else None
