"""`flowgauge sink`: everything that is to be asked into the ClickHouse server, exactly once."""

import asyncio
from collections.abc import Coroutine

from flowgauge.console.groups import SINK
from flowgauge.console.role import Opened, Role, Work
from flowgauge.console.roles.server import open_server
from flowgauge.console.sinking import days_kept, sink_limits
from flowgauge.sinks.clickhouse.expiring import keep_expired
from flowgauge.sinks.clickhouse.folding import keep_folded
from flowgauge.sinks.clickhouse.sink_app import run_sink


async def _open(opened: Opened) -> Work:
    store = await open_server(opened)
    limits = sink_limits(opened.settings.quarantine)

    def sink(stop: asyncio.Event) -> Coroutine[None, None, None]:
        return run_sink(opened.log, store, stop=stop, health=opened.health, limits=limits)

    days = days_kept(opened.settings)
    return Work(
        parts=[
            ("sink", sink),
            ("folding", lambda stop: keep_folded(store, stop=stop)),
            ("expiring", lambda stop: keep_expired(store, days, stop=stop)),
        ]
    )


SINK_ROLE = Role("sink", 4294, _open, groups=SINK)
