"""The detector's shell: samples in; state, transitions and offsets out as one step, exactly once.

A step that cannot be committed now is kept and tried again; a detector never goes on past what is not durable.
Shutdown: finish the step, let go; what was not committed is as if it never happened.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

from flowgauge.processors import metrics
from flowgauge.processors.detector import Detector, DetectorCounts
from flowgauge.processors.leaving_out import count_left_out
from flowgauge.processors.ruletopic import RuleBook
from flowgauge.schemas.errors import InvariantBroken, Unreadable
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.sample import read_message
from flowgauge.schemas.topics import EVENTS, SAMPLES, STATE, TRANSITIONS
from flowgauge.schemas.transition import Transition, encode_transition
from flowgauge.transport.health import Health
from flowgauge.transport.log import Assigned, Batch, Log, Outgoing, Output, Revoked, Steps
from flowgauge.transport.patience import Patience

GROUP = "detector"
POLL_RECORDS_MAX = 64  # messages, of some thousand samples each at most
POLL_MS = 250


async def run_detector(log: Log, *, stop: asyncio.Event, health: Health) -> None:
    """Detect until `stop`; raise InvariantBroken where samples are missing or the group was taken over."""
    shell = _DetectorShell(log, stop, health)
    await shell.run()


class _DetectorShell:
    def __init__(self, log: Log, stop: asyncio.Event, health: Health) -> None:
        self._log = log
        self._stop = stop
        self._health = health
        self._patiently = Patience(GROUP, health, stop)
        self._book = RuleBook(log)
        self._detectors: dict[int, Detector] = {}

    async def run(self) -> None:
        steps = await self._patiently.unless_stopped(lambda: self._log.open_steps(SAMPLES, GROUP))
        if steps is None:
            return
        poll = partial(steps.poll, records_max=POLL_RECORDS_MAX, timeout_ms=POLL_MS)
        try:
            while not self._stop.is_set():
                for item in await self._patiently(poll):
                    match item:
                        case Assigned():
                            await self._begin(item)
                        case Revoked():
                            self._forget(item.partition)
                        case Batch():
                            await self._apply(steps, item)
        finally:
            await steps.close()

    async def _begin(self, assigned: Assigned) -> None:
        await self._patiently(self._book.refresh)
        try:
            self._detectors[assigned.partition] = Detector(
                log_id=self._log.log_id,
                sources=self._log.partitions(EVENTS),
                rulesets=self._book.rulesets,
                state=assigned.state,
            )
        except Unreadable as error:
            raise InvariantBroken(f"{STATE}, of {SAMPLES} partition {assigned.partition}: {error}") from error
        self._show(assigned.partition)

    def _forget(self, partition: int) -> None:
        """Whoever has the partition now tells of it."""
        if self._detectors.pop(partition, None) is not None:
            metrics.CLOCK_MS.remove(str(partition))
            metrics.KEYS.remove(str(partition))

    async def _apply(self, steps: Steps, batch: Batch) -> None:
        where = f"{SAMPLES} partition {batch.partition} offset"
        messages = [
            read_message(each.value, f"{where} {each.offset}") for each in batch.records if each.value is not None
        ]
        await self._patiently(lambda: self._book.know({message.rules_version for message in messages}))
        outcome = self._detectors[batch.partition].apply(messages)
        await self._patiently(
            lambda: steps.commit(
                batch.partition,
                next_offset=batch.next_offset,
                state=outcome.state,
                outputs=[self._output(transition) for transition in outcome.transitions],
            )
        )
        _count(outcome.counts, outcome.transitions)
        count_left_out(self._health, outcome.counts.left_out)
        self._show(batch.partition)

    def _output(self, transition: Transition) -> Output:
        partition = events_partition(transition.incident_id, self._log.partitions(TRANSITIONS))
        return Output(TRANSITIONS, Outgoing(partition, transition.incident_id, encode_transition(transition)))

    def _show(self, partition: int) -> None:
        clock_ms = min(detector.clock_ms for detector in self._detectors.values())
        self._health.clock_ms = max(clock_ms, 0)
        self._health.source_clocks_ms = slowest([each.source_clocks_ms for each in self._detectors.values()])
        self._health.rules_version = min(detector.active_version for detector in self._detectors.values())
        metrics.CLOCK_MS.labels(str(partition)).set(max(self._detectors[partition].clock_ms, 0))
        metrics.KEYS.labels(str(partition)).set(self._detectors[partition].keys)


def slowest(clocks_ms: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return the clock of each source where it was read least far, in ms; 0 where it was not heard of somewhere."""
    together = enumerate(zip_longest(*clocks_ms, fillvalue=0))
    return {source: max(0, min(by_partition)) for source, by_partition in together}


def _count(counts: DetectorCounts, transitions: Sequence[Transition]) -> None:
    metrics.SAMPLES.inc(counts.samples)
    metrics.LATE.inc(counts.late)
    metrics.SKEWED.inc(counts.skewed)
    metrics.RESENT.inc(counts.resent)
    metrics.KEYS_REFUSED.inc(counts.keys_refused)
    metrics.SLOTS_REFUSED.inc(counts.slots_refused)
    for transition in transitions:
        metrics.TRANSITIONS.labels(transition.to_state).inc()
