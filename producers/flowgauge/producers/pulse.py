"""The pulse: each second one record into every events partition, so that an idle partition has a clock too.

A second that the log cannot take is skipped, never made up for: a late pulse would say an old time.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from flowgauge.producers import metrics
from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.errors import Transient
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport import wall_clock
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log, Outgoing

PULSE_EVERY_MS: Final = 1_000

_log = structlog.get_logger("flowgauge.pulse")


async def run_pulse(
    log: Log,
    *,
    stop: asyncio.Event,
    now_ms: Callable[[], int] = wall_clock.now_ms,
    health: Health | None = None,
) -> None:
    """Append a pulse to every events partition now and each second, until `stop` is set."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while not stop.is_set():
        await _pulse(log, now_ms(), health)
        due_s = max(due_s + PULSE_EVERY_MS / 1000, loop.time())
        try:
            async with asyncio.timeout_at(due_s):
                await stop.wait()
        except TimeoutError:
            pass


async def _pulse(log: Log, sent_ms: int, health: Health | None) -> None:
    pulse = encode_record(Pulse(sent_ms=sent_ms, log_id=log.log_id))
    partitions = log.partitions(EVENTS)
    records = [Outgoing(partition, "", pulse, RecordKind.PULSE) for partition in range(partitions)]
    problems = health.problems if health else {}
    try:
        await log.append(EVENTS, records)
    except Transient as transient:
        metrics.PULSES_MISSED.inc()
        if "pulse" not in problems:
            _log.warning("log takes no pulses", reason=str(transient))
        problems["pulse"] = f"the log takes no pulses: {transient}"
    else:
        metrics.PULSES.inc(partitions)
        problems.pop("pulse", None)
