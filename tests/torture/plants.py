"""Faults planted in the roles, each a small patch of the process that runs it: the checker has to find every one.

    python -m tests.torture.plants NAME ROLE [FLAGS…]      runs the role with the fault NAME in it

Each comes with a pause of GAP_S at the place where a kill does harm: kills hit it in a run of a minute, not of a day.
`slow` is that pause in the detector alone, with nothing planted: it has to be found clean.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from flowgauge.console.main import main
from flowgauge.processors.detector import Detector
from flowgauge.processors.matcher_app import _MatcherShell  # pyright: ignore[reportPrivateUsage]
from flowgauge.producers.gateway.intake import Intake
from flowgauge.sinks.clickhouse.batch import Sealed, body_of
from flowgauge.sinks.clickhouse.inserting import Inserter
from flowgauge.sinks.clickhouse.sink_app import TopicSink
from flowgauge.sinks.webhooks.notifier_app import _Finished, _Notifier  # pyright: ignore[reportPrivateUsage]
from flowgauge.sinks.webhooks.schedule import Verdict
from flowgauge.transport import kafka_steps
from flowgauge.transport.kafka_steps import KafkaSteps
from flowgauge.transport.log import Output

GAP_S = 0.3
INSERT_S = 1.5  # the same for the sink, which inserts once a second
STEP_S = 1.0  # so that a step has transitions, and most moments lie in one


def offsets_before_state() -> None:
    """Commit a step's offset in a transaction of its own, before its state and outputs."""
    commit = KafkaSteps.commit

    async def planted(
        self: KafkaSteps,
        partition: int,
        *,
        next_offset: int | None,
        state: Mapping[str, bytes | None],
        outputs: Sequence[Output],
    ) -> None:
        await commit(self, partition, next_offset=next_offset, state={}, outputs=[])
        await asyncio.sleep(GAP_S)
        await commit(self, partition, next_offset=None, state=state, outputs=outputs)

    _replace(KafkaSteps, "commit", planted)


def guard_off_by_one() -> None:
    """Take the first new sample of a message that was partly sent before for one that is known."""
    new_samples = cast("Any", Detector)._new_samples

    def planted(self: Detector, message: Any, position: Any) -> Any:
        found = new_samples(self, message, position)
        if message.start < position.next_offset:
            found = [sample for sample in found if sample.offset > position.next_offset]
        return found

    _replace(Detector, "_new_samples", planted)


def slow_matcher() -> None:
    """Let a matcher pause between its append and its commit, so that a kill makes it send again."""
    send = cast("Any", _MatcherShell)._send

    async def planted(self: Any, records: Any) -> None:
        await send(self, records)
        await asyncio.sleep(GAP_S)

    _replace(_MatcherShell, "_send", planted)


def slow() -> None:
    """Pause before each transaction: whoever is frozen there wakes up as a former owner."""
    transact = cast("Any", KafkaSteps)._transact

    async def planted(self: Any, *arguments: Any) -> None:
        await asyncio.sleep(STEP_S)
        await transact(self, *arguments)

    _replace(KafkaSteps, "_transact", planted)


def no_fencing() -> None:
    """Begin transactions under a name of this process's own, which fences nobody."""
    steps = cast("Any", kafka_steps)
    new_producer = steps.new_producer

    def planted(connection: Any, transaction: str | None = None) -> Any:
        return new_producer(connection, transaction and f"{transaction}.{uuid.uuid4().hex}")

    steps.new_producer = planted
    slow()


def ends_first() -> None:
    """Commit the end of a batch before it is inserted."""
    commit = cast("Any", TopicSink)._commit
    insert = Inserter.insert

    async def planted_commit(self: Any, reader: Any, stored: Any, due: Any) -> None:
        await commit(self, reader, [*stored, *due], [])

    async def planted_insert(self: Any, batch: Any) -> None:
        await asyncio.sleep(INSERT_S)
        await insert(self, batch)

    _replace(TopicSink, "_commit", planted_commit)
    _replace(Inserter, "insert", planted_insert)


def trusts_tokens() -> None:
    """Believe ClickHouse when it says that it has a batch."""

    async def planted(self: Any, batch: Sealed, token: str) -> None:
        await self._writer.insert(self._spec.table, body_of(batch.rows), token)

    _replace(Inserter, "_insert_missing", planted)
    slow_sink()


def slow_sink() -> None:
    """Pause between an insert and the commit of its end."""
    insert = Inserter.insert

    async def planted(self: Any, batch: Any) -> None:
        await insert(self, batch)
        await asyncio.sleep(INSERT_S)

    _replace(Inserter, "insert", planted)


def told_before_sent() -> None:
    """Note a message as delivered, then send it."""

    async def planted(self: Any, outbox: Any, send: Any, channel: Any) -> None:
        self.finished.append(_Finished(outbox, send, Verdict("delivered", status=204), channel))
        await asyncio.sleep(GAP_S)
        await self.sender.attempt(channel, send)

    _replace(_Notifier, "_send", planted)


def acks_first() -> None:
    """Answer the sender before the log has its events."""
    append_events = cast("Any", Intake)._append_events
    running: set[asyncio.Task[None]] = set()

    async def later(self: Any, events: Any) -> None:
        await asyncio.sleep(GAP_S)
        await append_events(self, events)

    async def planted(self: Any, events: Any) -> None:
        running.add(asyncio.create_task(later(self, events)))

    _replace(Intake, "_append_events", planted)


# What is planted, in which roles, and what the checker has to find of it.
PLANTS: dict[str, Callable[[], None]] = {
    "offsets-before-state": offsets_before_state,
    "guard-off-by-one": guard_off_by_one,
    "slow-matcher": slow_matcher,
    "no-fencing": no_fencing,
    "slow": slow,
    "ends-first": ends_first,
    "trusts-tokens": trusts_tokens,
    "slow-sink": slow_sink,
    "told-before-sent": told_before_sent,
    "acks-first": acks_first,
}


def _replace(owner: Any, name: str, planted: Any) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} any more: plant elsewhere"
    setattr(owner, name, planted)


if __name__ == "__main__":
    _, plant, *arguments = sys.argv
    PLANTS[plant]()
    sys.argv = ["flowgauge", *arguments]
    main()
