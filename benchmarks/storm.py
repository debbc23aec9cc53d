"""The storm: many incidents at once into one Slack channel, through the notifier and the local log.

log ──► notifier (measured) ──HTTP──► slow_slack, in another process: one message a second, else 429
"""

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from benchmarks.measure import Line, line_of
from benchmarks.processes import peak_bytes, resident_bytes
from benchmarks.threads import cpu_by_thread
from flowgauge.schemas.ids import events_partition, incident_id, transition_id
from flowgauge.schemas.topics import CONTROLS, DELIVERIES, DLQ, EVENTS, TRANSITIONS
from flowgauge.schemas.transition import ExampleRun, Transition, encode_transition
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.channels import parse_channels
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.notifier_app import run_notifier
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Outgoing
from flowgauge.transport.wall_clock import now_ms

TOPICS: dict[str, int] = dict.fromkeys((TRANSITIONS, DELIVERIES, DLQ, CONTROLS, EVENTS), 1)
THREADS = {"MainThread": "event loop: outbox, messages, HTTP", "flowgauge-log": "log", "asyncio": "log"}
APPEND_AT_ONCE = 500
LOOK_S = 0.1
MIB = 1 << 20
MAX_ALERT_AGE_MS = 3_600_000


def bench_storm(events: int) -> Line:
    """From the first append until every incident is told; `events` counts incidents."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        return asyncio.run(_bench(Path(folder), events))


async def _bench(folder: Path, events: int) -> Line:
    log = await open_local_log(folder, partitions=TOPICS)
    health, stop = Health(clock_ms=1 << 60), asyncio.Event()
    records = _records(events)
    async with _slow_slack() as slack, asyncio.TaskGroup() as tasks:
        places = Places(parse_channels("storm", f"channels: [{{name: ops, slack: {{url: '{slack.url}'}}}}]"))
        egress = Egress(EgressPolicy(("127.0.0.1",)))
        tasks.create_task(
            run_notifier(
                log, lambda: places, egress=egress, stop=stop, health=health, max_alert_age_ms=MAX_ALERT_AGE_MS
            )
        )
        resident = resident_bytes(os.getpid())
        before, began, cpu_began = cpu_by_thread(THREADS), time.monotonic(), time.process_time()
        for at in range(0, events, APPEND_AT_ONCE):
            await log.append(TRANSITIONS, records[at : at + APPEND_AT_ONCE])
        appended_s = time.monotonic() - began
        await _all_told(log, health, events)
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
        after, peak = cpu_by_thread(THREADS), peak_bytes(os.getpid())
        stop.set()
    await log.close()
    counts = slack.counts
    assert counts["incidents"] == events, counts
    line = line_of("storm", events, cpu_seconds, {step: after[step] - before[step] for step in after})
    return line.noting(
        messages=counts["messages"],
        too_many_requests=counts["busy"],
        seconds=seconds,
        appended_seconds=appended_s,
        first_message_seconds=counts["first_ms"] / 1000 - (now_ms() / 1000 - (time.monotonic() - began)),
        peak_mib=peak / MIB,
        grown_mib=(peak - resident) / MIB,
    )


async def _all_told(log: LocalLog, health: Health, events: int) -> None:
    """Return when each incident has two records, begun and delivered, and nothing is owed."""
    while (await log.ends(DELIVERIES))[0] < 2 * events or health.undelivered:
        assert not health.problems, health.problems
        await asyncio.sleep(LOOK_S)


@dataclass
class _Slack:
    url: str = ""
    counts: dict[str, int] = field(default_factory=dict[str, int])


@asynccontextmanager
async def _slow_slack() -> AsyncGenerator[_Slack]:
    slack = _Slack()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.slow_slack", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        slack.url = (await child.stdout.readline()).decode().strip()
        yield slack
        slack.counts = msgspec.json.decode((await child.communicate(b""))[0], type=dict[str, int])
    finally:
        if child.returncode is None:
            child.kill()


def _records(events: int) -> Sequence[Outgoing]:
    at_ms = now_ms()
    return [
        Outgoing(events_partition(each.incident_id, 1), each.incident_id, encode_transition(each))
        for each in (_firing(number, at_ms) for number in range(events))
    ]


def _firing(number: int, at_ms: int) -> Transition:
    """Return an opening as detection writes it: three examples, labels, a summary."""
    rule, key = f"{('orders', 'billing', 'stock')[number % 3]} failing", {"flow": f"flow-{number}"}
    incident = incident_id("acme", rule, list(key.values()), at_ms)
    return Transition(
        transition_id=transition_id(incident, 0, "firing"),
        incident_id=incident,
        seq=0,
        tenant="acme",
        rule=rule,
        rule_kind="failure_rate",
        rules_version=1,
        key=key,
        from_state="inactive",
        to_state="firing",
        at_ms=at_ms,
        opened_at_ms=at_ms,
        reason="value above threshold",
        value=0.6,
        threshold=0.2,
        samples=5,
        window_ms=600_000,
        examples=[ExampleRun(at_ms * 1000, f"{number:032x}", f"run-{each}", key["flow"]) for each in range(3)],
        severity="critical",
        labels={"team": "data"},
        summary="{{ flow }}: {{ value|percent }} of {{ samples }} runs failed",
        notify=["ops"],
    )
