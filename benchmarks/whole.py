"""The embedded pipeline: gateway, pulse, matcher, detector, sink and notifier in one process, as `up` runs them.

The sender and the receiver of webhooks are in another process, and are not counted.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from benchmarks.measure import Line, line_of
from benchmarks.rules import fifty_rules
from benchmarks.sockets import address_of, listening
from benchmarks.threads import cpu_by_thread
from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.pulse import run_pulse
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.topics import CONTROLS, DELIVERIES, DLQ, EVENTS, RULES, SAMPLES, TRANSITIONS
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.notifier_app import run_notifier
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.wall_clock import now_ms

TOPICS: dict[str, int] = dict.fromkeys((EVENTS, SAMPLES, TRANSITIONS, DELIVERIES, DLQ, RULES, CONTROLS), 1)
THREADS = {
    "MainThread": "event loop: HTTP, canonical, match, detect, rows",
    "flowgauge-log": "log",
    "asyncio": "log",
    "clickhouse": "insert",
}
MAX_ALERT_AGE_MS = 3_600_000


def bench_whole(events: int) -> Line:
    """From the HTTP request until every event is stored and the detector's clock has passed it."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_bench(Path(folder), events))


async def _bench(folder: Path, events: int) -> Line:
    log = await open_local_log(folder, partitions=TOPICS)
    with closing(ClickHouseStore.open(folder / "clickhouse")) as store:
        store.apply_schema()
        await publish_rules(log, fifty_rules())
        health = Health(started_ms=now_ms())
        async with _running(log, store, health) as url:
            sender = await _sender(url, events)
            before, began = cpu_by_thread(THREADS), time.process_time()
            await _sent_and_stored(sender, log, health, events)
            after, cpu_seconds = cpu_by_thread(THREADS), time.process_time() - began
        transitions = (await log.ends(TRANSITIONS))[0]
    await log.close()
    line = line_of("whole", events, cpu_seconds, {step: after[step] - before[step] for step in after})
    return line.noting(transitions=transitions)


@asynccontextmanager
async def _running(log: LocalLog, store: ClickHouseStore, health: Health) -> AsyncGenerator[str]:
    """Run every part until the block ends; yield the gateway's address."""
    stop = asyncio.Event()
    app = Starlette(routes=gateway_routes(log, tokens=TokenTable(), health=health))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    egress = Egress(EgressPolicy())
    with listening() as socket:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[socket]))
            tasks.create_task(run_pulse(log, stop=stop))
            tasks.create_task(run_matcher(log, stop=stop, health=health))
            tasks.create_task(run_detector(log, stop=stop, health=health))
            tasks.create_task(run_sink(log, store, stop=stop, health=health))
            tasks.create_task(
                run_notifier(log, Places, egress=egress, stop=stop, health=health, max_alert_age_ms=MAX_ALERT_AGE_MS)
            )
            try:
                yield address_of(socket)
            finally:
                stop.set()
                server.should_exit = True


async def _sender(url: str, events: int) -> asyncio.subprocess.Process:
    """Start the sender and wait until it has made its events."""
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.sender", url, str(events), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert sender.stdout is not None
    assert await sender.stdout.readline() == b"ready\n"
    return sender


async def _sent_and_stored(sender: asyncio.subprocess.Process, log: LocalLog, health: Health, events: int) -> None:
    try:
        _, _ = await sender.communicate(b"go\n")
    finally:
        if sender.returncode is None:
            sender.kill()
    assert sender.returncode == 0, "the sender failed"
    done_ms = now_ms()
    while health.stored < events or health.clock_ms < done_ms:
        assert not health.problems, health.problems
        await asyncio.sleep(0.05)
    assert (await log.ends(DLQ))[0] == 0
