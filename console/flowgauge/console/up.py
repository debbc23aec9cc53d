"""`flowgauge up`: the wiring of all parts in one process. The one place that knows them all.

    start      lock the data folder → bind the port → rules → open ClickHouse and log → history, if asked → run
    run        web (gateway, API, console) ─ pulse ─ matcher ─ detector ─ sink ─ notifier ─ rules watcher ─ retention
    stop       1. intake: the web server ends its requests, the pulse stops
               2. the parts finish and commit the step they are in
               3. log and ClickHouse close, then the lock goes
               all within `shutdown_ms`; then ShutdownOverdue names what hangs

Every part keeps what it needs to go on in the log, so a kill at any moment loses nothing; stopping in order only
makes the next start quicker. A part that fails for good ends the process: nothing runs on half blind.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial

import structlog
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from flowgauge.console.access import egress_policy, limits_of, tokens_of
from flowgauge.console.bounded_http import bounds_of
from flowgauge.console.clickhouse import open_store
from flowgauge.console.ending import SHUTDOWN_MS, Ending, Part, closed_after, run_parts, stop_on_signals
from flowgauge.console.groups import ALL_GROUPS
from flowgauge.console.hook_file import WatchedHooks
from flowgauge.console.incident_context import ContextTeller, links_of
from flowgauge.console.listening import address_of, bind, serve
from flowgauge.console.loading import Load, load, refuse_half_loaded
from flowgauge.console.log_lines import configure_log_lines
from flowgauge.console.metrics import ALL
from flowgauge.console.price_file import WatchedPrices
from flowgauge.console.readiness import Readiness
from flowgauge.console.rule_folder import APPLIED, Applied, RuleFolder
from flowgauge.console.sinking import days_kept, sink_limits
from flowgauge.console.started import Started
from flowgauge.console.token_files import watch_tokens
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.console.web.channel_trials import ChannelTrials
from flowgauge.console.web.probes import probe_routes
from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.processors.ruleset import RuleSet
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.pulse import run_pulse
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.settings import Settings, is_loopback
from flowgauge.schemas.topics import CONTROLS, DELIVERIES, DLQ, EVENTS, RULES, SAMPLES, TRANSITIONS
from flowgauge.sinks.clickhouse.expiring import keep_expired
from flowgauge.sinks.clickhouse.folding import keep_folded
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.webhooks.attempt import Sender, Wording
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.notifier_app import run_notifier
from flowgauge.transport.control_book import ControlBook, run_controls
from flowgauge.transport.data_folder import lock_data_folder
from flowgauge.transport.health import Health
from flowgauge.transport.lag import Lag, run_lag
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log
from flowgauge.transport.patience import Patience, pause
from flowgauge.transport.wall_clock import now_ms

TRIM_EVERY_S = 600
LOADED_POLL_S = 0.1
TRIMMED = (EVENTS, SAMPLES, TRANSITIONS, DELIVERIES, DLQ)

log_lines = structlog.get_logger("flowgauge.up")


@dataclass(frozen=True, slots=True)
class Opened:
    """What the parts share."""

    settings: Settings
    log: Log
    store: ClickHouseStore
    health: Health
    rules: RuleFolder
    prices: WatchedPrices
    hooks: WatchedHooks
    controls: ControlBook
    tokens: TokenTable
    listening: socket.socket


async def run_until_signal(settings: Settings, *, load: Load | None, announce: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM. A second signal ends the process at once, as if it were killed."""
    configure_log_lines(settings.log_level)
    stop = asyncio.Event()
    stop_on_signals(stop)
    await run_up(settings, stop=stop, history=load, ready=lambda started: announce("\n".join(started.lines())))


async def run_up(
    settings: Settings,
    *,
    stop: asyncio.Event,
    history: Load | None = None,
    ready: Callable[[Started], None] = lambda _started: None,
    shutdown_ms: int = SHUTDOWN_MS,
) -> None:
    """Run everything until `stop`; `ready` is told once the console answers.

    Raises InvalidSettings, BadEnvironment or InvalidRules before anything runs, LoadStopped when `stop` comes while
    history is loaded, ShutdownOverdue at the end.
    """
    settings.refuse_open_host()
    tokens = tokens_of(settings)
    egress_policy(settings)
    with lock_data_folder(settings.data) as note_address, bind(settings.host, settings.port) as listening:
        note_address(address_of(listening))
        refuse_half_loaded(settings.data)
        health = Health(started_ms=now_ms())
        rules = RuleFolder(settings.rules or settings.data / APPLIED, health, egress_policy(settings), settings.actions)
        prices = WatchedPrices(settings.prices, health)
        prices.open()
        hooks = WatchedHooks(settings, health)
        hooks.open()
        written = rules.open()  # before log and ClickHouse are made: a refused start leaves nothing behind
        log, store = await _open(settings)
        controls = ControlBook(log, health)
        opened = Opened(settings, log, store, health, rules, prices, hooks, controls, tokens, listening)
        async with closed_after("log or ClickHouse", lambda: _close(opened), shutdown_ms):
            loaded_ms = await _begin(opened, written.ruleset, history, stop)
            started = Started(address_of(listening), settings, str(opened.rules.folder), written)
            await _run_parts(opened, loaded_ms, Ending(stop, shutdown_ms), lambda: ready(started))


def partitions_of(settings: Settings) -> dict[str, int]:
    """Return every topic of this profile with its partitions."""
    return {
        EVENTS: settings.partitions,
        SAMPLES: settings.samples_partitions,
        **dict.fromkeys((TRANSITIONS, DELIVERIES, DLQ, RULES, CONTROLS), 1),
    }


async def _open(settings: Settings) -> tuple[Log, ClickHouseStore]:
    """Open ClickHouse, then the log: a server that is away leaves nothing behind."""
    store = await asyncio.to_thread(open_store, settings)
    try:
        await asyncio.to_thread(store.apply_schema)
        return await open_local_log(settings.data, partitions=partitions_of(settings)), store
    except BaseException:
        await asyncio.to_thread(store.close)
        raise


async def _begin(opened: Opened, ruleset: RuleSet, history: Load | None, stop: asyncio.Event) -> int:
    """Put the rules in force, before the history where there is one; return where the history ends, else 0."""
    loaded_ms = 0
    if history is not None:
        opened.health.loading = True
        loaded_ms = (await load(opened.log, ruleset, history, data=opened.settings.data, stop=stop)).last_append_ms
    opened.rules.in_force_as(await publish_rules(opened.log, ruleset))
    return loaded_ms


async def _run_parts(opened: Opened, loaded_ms: int, ending: Ending, ready: Callable[[], None]) -> None:
    readiness = _readiness(opened, ending)

    def web(stop: asyncio.Event) -> Coroutine[None, None, None]:
        return serve(_web(opened, readiness, stop), opened.listening, stop, bounds_of(opened.settings.limits))

    def pulse(stop: asyncio.Event) -> Coroutine[None, None, None]:
        return run_pulse(opened.log, stop=stop, health=opened.health)

    def history(stop: asyncio.Event) -> Coroutine[None, None, None]:
        return _say_when_loaded(opened.health, loaded_ms, stop)

    intake = [("web", web), ("pulse", pulse)]
    await run_parts([intake, [*_parts(opened, readiness), ("history", history)]], ending, ready)


def _readiness(opened: Opened, ending: Ending) -> Readiness:
    """Return how this process stands, for who starts it: it is in every group, and has all partitions."""

    def owned(topic: str, group: str) -> frozenset[int]:  # noqa: ARG001  # the groups share nothing
        return frozenset(range(opened.log.partitions(topic)))

    lags = [Lag(*each) for each in ALL_GROUPS]
    return Readiness("up", socket.gethostname(), opened.health, owned, lags, (), ending.stop, ALL)


def _web(opened: Opened, readiness: Readiness, stop: asyncio.Event) -> ASGIApp:
    async def apply_rules(texts: dict[str, str]) -> Applied:
        if opened.settings.rules is not None:
            raise BadInput(f"this server takes its rules from {opened.settings.rules}: change the files there")
        return await opened.rules.replace(texts, opened.log, stop)

    return web_app(
        Answers(
            opened.store,
            opened.health,
            opened.tokens,
            rules=lambda: opened.rules.ruleset,
            operator=opened.settings.operator,
            bounds=opened.settings.questions,
            prices=opened.prices.of,
            run_url=opened.settings.run_url,
            controls=opened.controls,
            channels=ChannelTrials(lambda: opened.rules.places.channels, _sender(opened), opened.health),
        ),
        [*_intake(opened), *probe_routes(readiness)],
        apply_rules,
        only_loopback=is_loopback(opened.settings.host),
    )


def _intake(opened: Opened) -> list[BaseRoute]:
    limits, hook_of = limits_of(opened.settings), opened.hooks.of
    return gateway_routes(opened.log, tokens=opened.tokens, health=opened.health, limits=limits, hook_of=hook_of)


def _sender(opened: Opened) -> Sender:
    """Return what tries a channel, as the notifier would tell it."""
    egress = Egress(egress_policy(opened.settings), own_ports=_own_ports(opened))
    return Sender(egress, os.environ, now_ms, Wording())


def _own_ports(opened: Opened) -> frozenset[int]:
    return frozenset({int(opened.listening.getsockname()[1])})


def _parts(opened: Opened, readiness: Readiness) -> Iterator[Part]:
    settings, log, health = opened.settings, opened.log, opened.health
    egress = Egress(egress_policy(settings), own_ports=_own_ports(opened))
    limits = sink_limits(settings.quarantine)
    public_url = settings.public_url or address_of(opened.listening)
    teller = ContextTeller(lambda: opened.store, links_of(settings, public_url))
    yield "matcher", lambda stop: run_matcher(log, stop=stop, health=health)
    yield "detector", lambda stop: run_detector(log, stop=stop, health=health)
    yield "sink", lambda stop: run_sink(log, opened.store, stop=stop, health=health, limits=limits)
    yield "folding", lambda stop: keep_folded(opened.store, stop=stop)
    yield "expiring", lambda stop: keep_expired(opened.store, days_kept(settings), stop=stop)
    yield (
        "notifier",
        lambda stop: run_notifier(
            log,
            lambda: opened.rules.places,
            egress=egress,
            stop=stop,
            health=health,
            max_alert_age_ms=settings.max_alert_age_ms,
            wording=Wording(public_url, teller.details),
        ),
    )
    yield "rules", lambda stop: opened.rules.watch(log, stop)
    yield "prices", opened.prices.watch
    yield "tokens", lambda stop: watch_tokens(settings, opened.tokens, health, stop)
    yield "hooks", opened.hooks.watch
    yield "controls", lambda stop: run_controls(opened.controls, stop=stop, health=health)
    yield "retention", lambda stop: _trim(opened, stop)
    yield "lag", lambda stop: run_lag(log, readiness.lags, stop=stop, health=health)


async def _trim(opened: Opened, stop: asyncio.Event) -> None:
    async def trim(topic: str) -> int:
        if not await _is_read(opened.log, topic):
            return 0
        return await opened.log.trim(topic, before_ms=now_ms() - opened.settings.retention_ms)

    patiently = Patience("retention", opened.health, stop)
    while not stop.is_set():
        for topic in TRIMMED:
            trimmed = await patiently(partial(trim, topic))
            if trimmed:
                log_lines.info("log trimmed", topic=topic, records=trimmed)
        await pause(stop, TRIM_EVERY_S * 1000)


async def _is_read(log: Log, topic: str) -> bool:
    """Tell whether every group has begun with each partition: to the log, who never did has nothing left to read."""
    filled = [partition for partition, end in (await log.ends(topic)).items() if end]
    stands = [await log.committed(topic, group) for read, group in ALL_GROUPS if read == topic]
    return all(group[partition].next_offset for group in stands for partition in filled)


async def _say_when_loaded(health: Health, loaded_ms: int, stop: asyncio.Event) -> None:
    """End `loading` once the detector has passed the history."""
    while health.loading and not stop.is_set():
        if health.clock_ms >= loaded_ms:
            health.loading = False
        await asyncio.sleep(LOADED_POLL_S)


async def _close(opened: Opened) -> None:
    await opened.log.close()
    await asyncio.to_thread(opened.store.close)
