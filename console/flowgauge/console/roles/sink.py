"""`flowgauge sink`: everything that is to be asked into the ClickHouse server, exactly once."""

from flowgauge.console.groups import SINK
from flowgauge.console.role import Opened, Role, Work
from flowgauge.console.roles.server import open_server
from flowgauge.sinks.clickhouse.folding import keep_folded
from flowgauge.sinks.clickhouse.sink_app import run_sink


async def _open(opened: Opened) -> Work:
    store = await open_server(opened)
    return Work(
        parts=[
            ("sink", lambda stop: run_sink(opened.log, store, stop=stop, health=opened.health)),
            ("folding", lambda stop: keep_folded(store, stop=stop)),
        ]
    )


SINK_ROLE = Role("sink", 4294, _open, groups=SINK)
