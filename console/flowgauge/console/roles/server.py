"""The ClickHouse server that roles share."""

import asyncio

from flowgauge.console.clickhouse import open_store
from flowgauge.console.role import Opened
from flowgauge.schemas.errors import InvalidSettings
from flowgauge.sinks.clickhouse.store import ClickHouseStore


async def open_server(opened: Opened) -> ClickHouseStore:
    """Connect to the server and make the tables that are missing; it is closed before the log.

    Raises InvalidSettings where the settings name none: the ClickHouse within flowgauge belongs to one process.
    """
    if not opened.settings.clickhouse.url:
        raise InvalidSettings(
            "clickhouse.url is not set: roles share a ClickHouse server "
            '(write [clickhouse] url = "http://HOST:8123", or set FLOWGAUGE_CLICKHOUSE_URL)'
        )
    store = await asyncio.to_thread(open_store, opened.settings)
    opened.closing.push_async_callback(asyncio.to_thread, store.close)
    await asyncio.to_thread(store.apply_schema)
    return store
