"""Ways to the same store: chDB in this process, the HTTP interface of a front in another, a real server in a container.

chDB allows one path a process, so there is one of each; each test takes a tenant or log of its own, and each file
begins with empty tables: parts that nobody asks for any more cost every mutation and fold.
"""

import asyncio
from collections.abc import Iterator

import pytest
from tests.clickhouse_container import engine_answers, real_server
from tests.clickhouse_front import Front

from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.store import ClickHouseStore

_opened: list[ClickHouseStore] = []


@pytest.fixture(scope="module", autouse=True)
def empty_tables() -> None:
    for opened in _opened:
        asyncio.run(_empty(opened))


async def _empty(opened: ClickHouseStore) -> None:
    query = (
        "SELECT name FROM system.tables WHERE database = {database:String} AND name != 'schema_versions' "
        "AND engine LIKE '%MergeTree' AND total_rows > 0"
    )
    for (name,) in (await opened.look(query, {"database": opened.database})).rows:
        await opened.command(f"TRUNCATE TABLE {opened.database}.{name}", {})


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseStore]:
    opened = ClickHouseStore.open(tmp_path_factory.mktemp("clickhouse"))
    opened.apply_schema()
    _opened.append(opened)
    yield opened
    _opened.remove(opened)
    opened.close()


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("front")) as running:
        yield running


@pytest.fixture(scope="session")
def served(front: Front) -> Iterator[ClickHouseStore]:
    connected = ClickHouseStore.connect(Server(front.url, front.user, front.password))
    connected.apply_schema()
    _opened.append(connected)
    yield connected
    _opened.remove(connected)
    connected.close()


@pytest.fixture(scope="session")
def contained() -> Iterator[ClickHouseStore]:
    with real_server() as server:
        connected = ClickHouseStore.connect(server)
        connected.apply_schema()
        yield connected
        connected.close()


@pytest.fixture(scope="session", params=["embedded", "served", *["contained"] * engine_answers()])
def store(request: pytest.FixtureRequest) -> ClickHouseStore:
    opened: ClickHouseStore = request.getfixturevalue(request.param)
    return opened
