"""Ways to the same store: chDB in this process, the HTTP interface of a front in another, a real server in a container.

chDB allows one path a process, so there is one of each; each test takes a tenant or log of its own, and each file
that asks for one begins with empty tables in it: parts that nobody asks for any more cost every mutation and fold.
"""

import asyncio
from collections.abc import Iterator

import pytest
from tests.clickhouse_container import engine_answers, real_server
from tests.clickhouse_front import Front

from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.store import ClickHouseStore

_opened: dict[str, ClickHouseStore] = {}


@pytest.fixture(scope="module", autouse=True)
def empty_tables(request: pytest.FixtureRequest) -> None:
    of_file = [item for item in request.session.items if item.path == request.path]
    asked = {name for item in of_file if isinstance(item, pytest.Function) for name in item.fixturenames}
    for name, opened in _opened.items():
        if asked & {"store", name}:
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
    _opened["embedded"] = opened
    yield opened
    del _opened["embedded"]
    opened.close()


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("front")) as running:
        yield running


@pytest.fixture(scope="session")
def served(front: Front) -> Iterator[ClickHouseStore]:
    connected = ClickHouseStore.connect(Server(front.url, front.user, front.password))
    connected.apply_schema()
    _opened["served"] = connected
    yield connected
    del _opened["served"]
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
