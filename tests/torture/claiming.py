"""What a ClickHouse leaves behind that was killed between noting an insert's token and having its rows.

No kill can be aimed at that moment. So an insert gets no answer, the sinks are killed, then ClickHouse, and those parts
go from its disk that hold only rows of inserts whose end no sink has committed: ClickHouse comes back and claims to
have them. Nothing is merged meanwhile: a part with other rows in it would have to stay.
"""

import shutil
from pathlib import Path

from tests.clickhouse_front import Front

from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.intent import read_position
from flowgauge.sinks.clickhouse.sink_app import GROUP
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.log import Log

PARTS = """
SELECT path FROM system.parts WHERE database = 'flowgauge' AND table = 'events' AND active AND name IN
(SELECT _part FROM flowgauge.events GROUP BY _part HAVING countIf(NOT ({is_pending})) = 0)
"""


async def stop_merges(front: Front) -> None:
    """Let parts of events stay as they are inserted, until ClickHouse starts again."""
    store = ClickHouseStore.connect(Server(front.url, front.user, front.password))
    try:
        await store.command("SYSTEM STOP MERGES flowgauge.events", {})
    finally:
        store.close()


async def pending_parts(log: Log, front: Front) -> list[Path]:
    """Return the folders of the parts whose rows are pending, every one."""
    spans: list[str] = []
    for partition, committed in (await log.committed(EVENTS, GROUP)).items():
        intent = read_position(committed).intent
        if intent is not None:
            spans.append(f"(_partition = {partition} AND _offset >= {intent.start} AND _offset < {intent.end})")
    if not spans:
        return []
    store = ClickHouseStore.connect(Server(front.url, front.user, front.password))
    try:
        found = await store.query(PARTS.format(is_pending=" OR ".join(spans)), seen=EVERY_TENANT)
    finally:
        store.close()
    return [Path(str(row[0])) for row in found.rows]


def remove(parts: list[Path]) -> None:
    """Take the parts away; ClickHouse must not run."""
    for part in parts:
        shutil.rmtree(part)
