"""Which ClickHouse: the server that the settings name, else chDB in the data folder."""

import os

from flowgauge.console.access import read_text
from flowgauge.schemas.settings import Settings, resolve_password
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.store import ClickHouseStore


def open_store(settings: Settings) -> ClickHouseStore:
    """Open or connect to it; blocks up to some seconds.

    Raises InvalidSettings when its password is not where the settings say, BadEnvironment when it cannot be used.
    """
    named = settings.clickhouse
    if not named.url:
        return ClickHouseStore.open(settings.data / "clickhouse")
    password = resolve_password(settings, os.environ, read_text)
    server = Server(named.url, named.user, password, named.database, named.ca, named.cluster)
    return ClickHouseStore.connect(server)
