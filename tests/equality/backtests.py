"""The history as backtests tell of it: of a file, by the command, and of ClickHouse, as the command reads it."""

import asyncio
import time
from collections.abc import Iterator
from os import getpid
from pathlib import Path
from typing import Any

import msgspec
from tests.equality.comparison import Said, incident_line, lines_of
from tests.equality.costs import cost_so_far
from tests.equality.ways import UP_ENV, History, printed, up_arguments
from tests.equality.week import TENANTS
from tests.integration.up_process import running_up

from flowgauge.console.ask import Place
from flowgauge.console.past_events import Span
from flowgauge.console.stored_events import stored_events
from flowgauge.processors.ruleset import RuleSet, load_rules
from flowgauge.schemas.event import DEFAULT_TENANT
from flowgauge.schemas.transition import Transition

WHOSE = (DEFAULT_TENANT, *(f"team-{number:02d}" for number in range(TENANTS)))


def backtest_of_file(history: History) -> Said:
    """Return the incidents that `flowgauge rules backtest --events` tells of."""
    began = time.monotonic()
    arguments = ("--events", str(history.file), "--format", "json")
    out, counted, cost = printed("rules", "backtest", str(history.rules), *arguments)
    body: dict[str, Any] = msgspec.json.decode(out)
    incidents = [incident_line(each) for each in body["incidents"]]
    return Said(incidents, time.monotonic() - began, cost, {"counted": counted})


def backtest_of_clickhouse(history: History, folder: Path) -> Said:
    """Start `flowgauge up` again on the data in `folder`; return what a backtest of each tenant goes through."""
    began, rules = time.monotonic(), load_rules([history.rules])
    before = cost_so_far([getpid()])
    with running_up(folder / "data", *up_arguments(history), env=UP_ENV) as up:
        place = Place(up.url, None, folder / "data")
        told = [each for tenant in WHOSE for each in _told_of(tenant, history, rules, place)]
        cost = cost_so_far([up.process.pid, getpid()])
    cost = cost._replace(cpu_s=cost.cpu_s - before.cpu_s)
    return Said(lines_of(told), time.monotonic() - began, cost, {"tenants": len(WHOSE)})


def _told_of(tenant: str, history: History, rules: RuleSet, place: Place) -> Iterator[Transition]:
    span = Span(history.begin_ms, history.end_ms)
    stored = asyncio.run(stored_events(place, rules.rules, span, {"tenant": tenant}, into=place.data.parent))
    assert stored.span == span, "ClickHouse does not have all of it"
    yield from stored.past.replay(rules, until_ms=span.until_ms).transitions()
