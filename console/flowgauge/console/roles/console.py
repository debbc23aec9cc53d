"""`flowgauge console`: pages and answers for people and programs, and the door for rules and acts. It takes no events.

Detection runs elsewhere: what the console says of it, it reads from the log. A group that does not keep up is named,
with the command that would.
"""

import asyncio

from flowgauge.console.access import tokens_of
from flowgauge.console.bounded_http import bounds_of
from flowgauge.console.groups import ALL_GROUPS, DETECTOR, MATCHER, NOTIFIER, SINK
from flowgauge.console.kafka_rules import put_in_force
from flowgauge.console.listening import serve
from flowgauge.console.metrics import Knows
from flowgauge.console.price_file import WatchedPrices
from flowgauge.console.readiness import Readiness
from flowgauge.console.role import Opened, Role, Work
from flowgauge.console.roles.server import open_server
from flowgauge.console.rule_folder import Applied
from flowgauge.console.token_files import watch_tokens
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.console.web.probes import probe_routes
from flowgauge.processors.detection_watch import run_detection_watch
from flowgauge.processors.ruletopic import RuleBook
from flowgauge.schemas.settings import is_loopback
from flowgauge.transport.control_book import ControlBook, run_controls
from flowgauge.transport.health import Health
from flowgauge.transport.patience import Patience, pause

LOOK_EVERY_MS = 2_000
BEHIND_SHOWN_S = 30.0  # as long as detection may be behind before it counts as unknown
COMMANDS = {MATCHER: "match", DETECTOR: "detect", NOTIFIER: "notify", **dict.fromkeys(SINK, "sink")}


async def _open(opened: Opened) -> Work:
    settings, log, health = opened.settings, opened.log, opened.health
    tokens = tokens_of(settings)
    prices = WatchedPrices(settings.prices, health)
    prices.open()
    store = await open_server(opened)
    book = RuleBook(log)
    controls = ControlBook(log, health)

    async def apply_rules(texts: dict[str, str]) -> Applied:
        return await put_in_force(log, texts, settings)

    app = web_app(
        Answers(
            store,
            health,
            tokens,
            rules=lambda: book.current,
            operator=settings.operator,
            bounds=settings.questions,
            prices=prices.of,
            run_url=settings.run_url,
            controls=controls,
        ),
        probe_routes(opened.readiness),
        apply_rules,
        only_loopback=is_loopback(settings.host),
        knows=opened.readiness.knows,
    )
    bounds = bounds_of(settings.limits)
    return Work(
        web=("web", lambda stop: serve(app, opened.listening, stop, bounds)),
        parts=[
            ("detection watch", lambda stop: run_detection_watch(log, stop=stop, health=health)),
            ("rules", lambda stop: _read_rules(book, health, stop)),
            ("controls", lambda stop: run_controls(controls, stop=stop, health=health)),
            ("prices", prices.watch),
            ("tokens", lambda stop: watch_tokens(settings, tokens, health, stop)),
            ("groups", lambda stop: _tell_lags(opened.readiness, stop)),
        ],
    )


async def _read_rules(book: RuleBook, health: Health, stop: asyncio.Event) -> None:
    """Know which rules are in force."""
    patiently = Patience("rules", health, stop)
    while not stop.is_set():
        await patiently(book.refresh)
        health.rules_version = book.current_version
        await pause(stop, LOOK_EVERY_MS)


async def _tell_lags(readiness: Readiness, stop: asyncio.Event) -> None:
    """Show in health which groups do not keep up."""
    health = readiness.health
    while not stop.is_set():
        for lag in readiness.others:
            name = COMMANDS[lag.topic, lag.group]
            part = f"{name} {lag.topic.rpartition('.')[2]}"
            if lag.seconds > BEHIND_SHOWN_S:
                readiness.told_of_others.add(part)
                asks = ", and does ClickHouse answer it" if name == "sink" else ""
                health.problems[part] = f"{lag.seconds:.0f} s behind: is `flowgauge {name}` running{asks}?"
            else:
                health.problems.pop(part, None)
            if (lag.topic, lag.group) == SINK[0]:
                health.sink_behind = lag.records or 0
        await pause(stop, LOOK_EVERY_MS)


CONSOLE = Role("console", 4290, _open, watches=ALL_GROUPS, knows=Knows(detection=True, deliveries=False), believes=True)
