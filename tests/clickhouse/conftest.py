"""One engine for the test process (chDB allows one path a process); each test takes a tenant or log of its own."""

from collections.abc import Iterator

import pytest

from flowgauge.sinks.clickhouse.store import ClickHouseStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    opened = ClickHouseStore.open(tmp_path_factory.mktemp("clickhouse"))
    opened.apply_schema()
    yield opened
    opened.close()
