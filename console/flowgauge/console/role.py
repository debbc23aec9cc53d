"""A role: one process of the production profile, on the Kafka log that the settings name.

    start    bind the port → check the topics → open the log → what the role needs → run
    run      the role's parts ─ lag ─ probes (/livez, /readyz, /metrics)
    stop     1. intake ends: the web server of gateway and console
             2. the parts finish and commit the step they are in
             3. the probes end, then log and ClickHouse close
             all within SHUTDOWN_MS

Roles share the log and nothing else: each is restarted, moved and multiplied alone. The file of a role in roles/ says
what it runs; it is imported by its own command only.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from flowgauge.console.access import read_text
from flowgauge.console.bounded_http import bounds_of
from flowgauge.console.ending import Ending, Part, closed_after, run_parts, stop_on_signals
from flowgauge.console.listening import address_of, bind, serve
from flowgauge.console.log_lines import configure_log_lines, quiet_library, tell_left_behind, tell_library_lines
from flowgauge.console.metrics import ITSELF, Knows
from flowgauge.console.readiness import Readiness
from flowgauge.console.web.probes import probe_app
from flowgauge.schemas.errors import BadEnvironment, Transient
from flowgauge.schemas.settings import Settings, is_loopback
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.kafka_settings import connection_of
from flowgauge.transport.lag import Lag, run_lag
from flowgauge.transport.topic_admin import require_topics
from flowgauge.transport.topic_plan import Sizes
from flowgauge.transport.wall_clock import now_ms

KAFKA_LIBRARY = "aiokafka"

log_lines = structlog.get_logger("flowgauge.role")


@dataclass(frozen=True, slots=True)
class Opened:
    """What a role is given: the log, and what it says of itself."""

    settings: Settings
    log: KafkaLog
    health: Health
    readiness: Readiness
    listening: socket.socket
    closing: AsyncExitStack  # closes what the role opens beside the log, before the log


@dataclass(frozen=True, slots=True)
class Work:
    """What a role runs. With `web`, its intake, its probes are answered there and end first."""

    parts: Sequence[Part] = ()
    web: Part | None = None


Open: TypeAlias = Callable[[Opened], Awaitable[Work]]


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of process."""

    name: str
    port: int  # where it answers when no setting says so
    open: Open
    groups: Sequence[tuple[str, str]] = ()  # topic and group that it takes part in
    watches: Sequence[tuple[str, str]] = ()  # of others, whose lag it tells too
    knows: Knows = ITSELF
    believes: bool = False  # it takes what is sent to it: others may reach it only with tokens


async def run_until_signal(role: Role, settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Run the role until SIGINT or SIGTERM. A second signal ends the process at once, as if it were killed."""
    configure_log_lines(settings.log_level, role=role.name, instance=instance_of(settings))
    quiet_library(KAFKA_LIBRARY)  # what goes wrong at the start is told once, by us
    tell_left_behind(KAFKA_LIBRARY)
    stop = asyncio.Event()
    stop_on_signals(stop)
    await run_role(role, settings, Ending(stop), ready=announce)


async def run_role(role: Role, settings: Settings, ending: Ending, ready: Callable[[str], None]) -> None:
    """Run the role until `ending.stop`; `ready` is told a line once it answers.

    Raises InvalidSettings, or BadEnvironment with the remedy, before anything runs; ShutdownOverdue at the end; and
    what a part fails with, which ends the role.
    """
    if role.believes:
        settings.refuse_open_host()
    connection = connection_of(settings.kafka, os.environ, read_text, host=socket.gethostname())
    with bind(settings.host, port_of(role, settings)) as listening:
        closing = AsyncExitStack()
        async with closed_after("the log", closing.aclose, ending.shutdown_ms):
            log = await _open(connection, settings)
            closing.push_async_callback(log.close)
            readiness = _readiness(role, connection, log, ending)
            opened = Opened(settings, log, readiness.health, readiness, listening, closing)
            work = await role.open(opened)
            tell_library_lines(KAFKA_LIBRARY)
            log_lines.info("started", url=address_of(listening), log_id=log.log_id)
            line = f"flowgauge: {role.name} at {address_of(listening)}"
            await run_parts(_stages(opened, work), ending, lambda: ready(line))
    log_lines.info("ended")


def port_of(role: Role, settings: Settings) -> int:
    """Return where the role listens: as the settings say, else at its own port."""
    return settings.port if "port" in settings.model_fields_set else role.port


def instance_of(settings: Settings) -> str:
    """Return who this process is among those of its role."""
    return settings.kafka.instance or socket.gethostname()


@asynccontextmanager
async def opened_log(settings: Settings) -> AsyncGenerator[KafkaLog]:
    """Open the log that the settings name, for a command that does one thing and ends."""
    quiet_library(KAFKA_LIBRARY)
    log = await _open(connection_of(settings.kafka, os.environ, read_text, host=socket.gethostname()), settings)
    try:
        yield log
    finally:
        await log.close()


async def _open(connection: Connection, settings: Settings) -> KafkaLog:
    """Open the log; raise BadEnvironment when no broker answers in time or its topics are not as wanted."""
    sizes = Sizes(
        partitions=settings.partitions,
        samples_partitions=settings.samples_partitions,
        retention_ms=settings.retention_ms,
        replication=settings.kafka.replication,
    )
    try:
        await require_topics(connection, sizes)
        return await open_kafka_log(connection)
    except Transient as error:
        raise BadEnvironment(str(error).removesuffix("; trying again")) from error


def _readiness(role: Role, connection: Connection, log: KafkaLog, ending: Ending) -> Readiness:
    own, others = ([Lag(*each) for each in groups] for groups in (role.groups, role.watches))
    health = Health(started_ms=now_ms())
    return Readiness(role.name, connection.instance, health, log.owned, own, others, ending.stop, role.knows)


def _stages(opened: Opened, work: Work) -> Sequence[Sequence[Part]]:
    readiness = opened.readiness

    def lag(stop: asyncio.Event) -> Coroutine[None, None, None]:
        return run_lag(opened.log, readiness.lags, stop=stop, health=readiness.health)

    bounds = bounds_of(opened.settings.limits)

    def probes(stop: asyncio.Event) -> Coroutine[None, None, None]:
        return serve(
            probe_app(readiness, only_loopback=is_loopback(opened.settings.host)), opened.listening, stop, bounds
        )

    parts = [*work.parts, *([("lag", lag)] if readiness.lags else [])]
    return [[work.web], parts] if work.web else [parts, [("probes", probes)]]
