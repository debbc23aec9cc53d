"""The notifier in a process of its own, killed or frozen once at a place of its step that the log's port shows.

    python -m tests.integration.killed_notifier LOG PLACES.yaml START_MS SIGNAL PLACE NTH [loading]

LOG is a folder, or `kafka BOOTSTRAP PREFIX INSTANCE`.
Nothing of the product is another than in service: the port it gets passes all on, and counts what passes. Its clock is
SPEED times as fast as the wall's, so that schedules of minutes end within a test.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from flowgauge.schemas import topics
from flowgauge.schemas.delivery import decode_delivery
from flowgauge.sinks.webhooks.actions.action import parse_actions
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.channels import parse_channels
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.notifier_app import run_notifier
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Assigned, Batch, Log, Output, Revoked, Steps
from flowgauge.transport.wall_clock import now_ms

SPEED = 30
ALERT_AGE_MS_MAX = 12 * 3_600_000
NEVER = "never"
SESSION_MS = 1_500  # on Kafka: who was silent for so long is put out
# In the order of a step. What is killed while a request is out, its receiver kills.
RESTORED, READ = "what was committed is restored", "transitions are read, nothing is committed"
BEFORE_STARTED, AFTER_STARTED = "before `started` is committed", "`started` is committed, the request is not sent"
BEFORE_OUTCOME, AFTER_OUTCOME = "the answer came, its commit did not", "the outcome is committed"
PLACES = (RESTORED, READ, BEFORE_STARTED, AFTER_STARTED, BEFORE_OUTCOME, AFTER_OUTCOME)


def fast_clock(start_ms: int) -> Callable[[], int]:
    """Return a clock that was right at `start_ms` and has been too fast since."""
    return lambda: start_ms + (now_ms() - start_ms) * SPEED


class Fate:
    """What strikes at the `nth` passing of a place."""

    def __init__(self, strike: Callable[[], None], place: str, nth: int = 1) -> None:
        self._strike = strike
        self._place = place
        self._left = nth

    def pass_by(self, *places: str) -> None:
        """Strike when the place is among `places` and was spared often enough."""
        if self._place in places:
            self._left -= 1
            if self._left == 0:
                self._strike()


class _Steps:
    def __init__(self, steps: Steps, fate: Fate) -> None:
        self._steps = steps
        self._fate = fate

    async def poll(self, *, records_max: int, timeout_ms: int) -> Sequence[Assigned | Revoked | Batch]:
        items = await self._steps.poll(records_max=records_max, timeout_ms=timeout_ms)
        for item in items:
            self._fate.pass_by(RESTORED if isinstance(item, Assigned) else READ)
        return items

    async def commit(
        self, partition: int, *, next_offset: int | None, state: Mapping[str, bytes | None], outputs: Sequence[Output]
    ) -> None:
        told = {
            decode_delivery(each.record.value or b"").outcome for each in outputs if each.topic == topics.DELIVERIES
        }
        begins, ends = "started" in told, bool(told - {"started"})
        self._fate.pass_by(*[BEFORE_STARTED] * begins, *[BEFORE_OUTCOME] * ends)
        await self._steps.commit(partition, next_offset=next_offset, state=state, outputs=outputs)
        self._fate.pass_by(*[AFTER_STARTED] * begins, *[AFTER_OUTCOME] * ends)

    async def close(self) -> None:
        await self._steps.close()


class _Log:
    def __init__(self, log: Log, fate: Fate) -> None:
        self._log = log
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def open_steps(self, topic: str, group: str) -> _Steps:
        return _Steps(await self._log.open_steps(topic, group), self._fate)


def watched(log: Log, fate: Fate) -> Log:
    """Return the same log, whose steps pass by a fate."""
    return cast("Log", _Log(log, fate))


def read_places(file: Path) -> Places:
    """Return the channels and actions that stand in a file."""
    text = file.read_text(encoding="utf-8")
    return Places(parse_channels(str(file), text), parse_actions(str(file), text))


async def _opened(where: str) -> LocalLog | KafkaLog:
    if not where.startswith("kafka "):
        return await open_local_log(Path(where), partitions={})
    _, bootstrap, prefix, instance = where.split(" ")
    return await open_kafka_log(
        Connection(bootstrap=bootstrap, prefix=prefix, instance=instance, session_ms=SESSION_MS, heartbeat_ms=300)
    )


async def main(*arguments: str) -> None:
    """Run until SIGTERM."""
    where, places_file, start_ms, name, place, nth, *loading = arguments
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    places = read_places(Path(places_file))
    fate = Fate(lambda: os.kill(os.getpid(), signal.Signals[name]), place, int(nth))
    log = await _opened(where)
    await run_notifier(
        watched(log, fate),
        lambda: places,
        egress=Egress(EgressPolicy(("127.0.0.1",))),
        stop=stop,
        health=Health(clock_ms=1 << 60, loading=bool(loading)),
        max_alert_age_ms=ALERT_AGE_MS_MAX,
        now_ms=fast_clock(int(start_ms)),
    )
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
