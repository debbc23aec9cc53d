"""The pulse: each second one record into every events partition, so that an idle partition has a clock too.

A second that the log cannot take is skipped, never made up for: a late pulse would say an old time.

After a pause of the whole process (a laptop that slept, a long stall) the newest pulse is old, and it caps the append
time of what comes next: events of now would count as far ahead. So who appends events puts `pulses_if_due` before them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from flowgauge.producers import metrics
from flowgauge.schemas.clock import PULSE_SLACK_MS
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
    health = health or Health()
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


def pulses_if_due(log: Log, health: Health, sent_ms: int) -> list[Outgoing]:
    """Return the pulses to append right before events, in one call; none while the newest pulse caps nothing.

    Once they are in the log the caller sets `health.pulse_ms`.
    """
    return _pulses(log, sent_ms) if sent_ms - health.pulse_ms > PULSE_SLACK_MS else []


def _pulses(log: Log, sent_ms: int) -> list[Outgoing]:
    pulse = encode_record(Pulse(sent_ms=sent_ms, log_id=log.log_id))
    return [Outgoing(partition, "", pulse, RecordKind.PULSE) for partition in range(log.partitions(EVENTS))]


async def _pulse(log: Log, sent_ms: int, health: Health) -> None:
    problems = health.problems
    records = _pulses(log, sent_ms)
    try:
        await log.append(EVENTS, records)
    except Transient as transient:
        metrics.PULSES_MISSED.inc()
        if "pulse" not in problems:
            _log.warning("log takes no pulses", reason=str(transient))
        problems["pulse"] = f"the log takes no pulses: {transient}"
    else:
        metrics.PULSES.inc(len(records))
        health.pulse_ms = sent_ms
        problems.pop("pulse", None)
