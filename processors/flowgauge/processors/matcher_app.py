"""The matcher's shell: events in, samples out, at least once.

Order of a step: read, match, append the messages, then commit the source offsets with the matcher's state. A crash
before the commit sends the same ranges again, and the detector drops what it has. Shutdown: finish the step, let go.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from flowgauge.processors import metrics
from flowgauge.processors.leaving_out import count_left_out
from flowgauge.processors.matcher import MatchCounts, Matcher, MatcherState
from flowgauge.processors.ruletopic import RuleBook, announced_versions
from flowgauge.schemas.clock import ClockState
from flowgauge.schemas.errors import Unreadable
from flowgauge.schemas.sample import encode_message
from flowgauge.schemas.topics import EVENTS, SAMPLES
from flowgauge.transport.health import Health
from flowgauge.transport.log import Assigned, Batch, Committed, Log, Outgoing, Revoked
from flowgauge.transport.patience import Patience

GROUP = "matcher"
POLL_RECORDS_MAX = 5_000
POLL_MS = 250

_encode_state = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(MatcherState).decode


async def run_matcher(log: Log, *, stop: asyncio.Event, health: Health) -> None:
    """Match until `stop`; raise InvariantBroken where the log is not what it was."""
    shell = _MatcherShell(log, stop, health)
    await shell.run()


class _MatcherShell:
    def __init__(self, log: Log, stop: asyncio.Event, health: Health) -> None:
        self._log = log
        self._stop = stop
        self._health = health
        self._patiently = Patience(GROUP, health, stop)
        self._book = RuleBook(log)
        self._matchers: dict[int, Matcher] = {}

    async def run(self) -> None:
        reader = await self._patiently.unless_stopped(lambda: self._log.open_reader(EVENTS, GROUP))
        if reader is None:
            return
        poll = partial(reader.poll, records_max=POLL_RECORDS_MAX, timeout_ms=POLL_MS)
        try:
            while not self._stop.is_set():
                batches: list[Batch] = []
                for item in await self._patiently(poll):
                    match item:
                        case Assigned():
                            await self._begin(item)
                        case Revoked():
                            self._matchers.pop(item.partition, None)
                        case Batch():
                            batches.append(item)
                if batches:
                    await self._send([record for batch in batches for record in await self._match(batch)])
                    done = {batch.partition: self._committed(batch) for batch in batches}
                    await self._patiently(partial(reader.commit, done))
        finally:
            await reader.close()

    async def _begin(self, assigned: Assigned) -> None:
        if assigned.metadata:
            state = noted_state(assigned.committed, assigned.partition)
        else:
            await self._patiently(self._book.refresh)
            clock_ms, version = self._book.begin_of(assigned.partition)
            state = MatcherState(ClockState(clock_ms), version)
        await self._patiently(lambda: self._book.know([state.rules_version]))
        self._matchers[assigned.partition] = Matcher(
            log_id=self._log.log_id,
            source=assigned.partition,
            samples_partitions=self._log.partitions(SAMPLES),
            rulesets=self._book.rulesets,
            state=state,
        )

    async def _match(self, batch: Batch) -> list[Outgoing]:
        announced = announced_versions(batch.records, batch.partition)
        await self._patiently(lambda: self._book.know(announced))
        matched = self._matchers[batch.partition].match(batch.records)
        _count(matched.counts)
        count_left_out(self._health, matched.counts.left_out)
        return [
            Outgoing(partition, "", encode_message(message))
            for partition, messages in enumerate(matched.messages)
            for message in messages
        ]

    async def _send(self, records: Sequence[Outgoing]) -> None:
        await self._patiently(lambda: self._log.append(SAMPLES, records))

    def _committed(self, batch: Batch) -> Committed:
        state = self._matchers[batch.partition].state
        return Committed(batch.next_offset, _encode_state(state).decode())


def noted_state(noted: Committed, partition: int) -> MatcherState:
    """Return what was noted with the offset; another version's is not passed over: its rules would be unknown."""
    if not noted.metadata:
        return MatcherState()
    try:
        return _decode_state(noted.metadata)
    except msgspec.DecodeError as error:
        where = f"{EVENTS} partition {partition} offset {noted.next_offset}"
        raise Unreadable(f"what group {GROUP} noted at {where}", error) from error


def _count(counts: MatchCounts) -> None:
    metrics.EVENTS.inc(counts.events)
    metrics.INVALID.inc(counts.invalid)
    metrics.MISSING_KEY.inc(counts.missing_key)
