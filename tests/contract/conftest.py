"""The adapters of the `Log` port, each under the same tests."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.contract_log import PARTITIONS, OpenLog
from tests.kafka_topics import create_topics

from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log

HEARTBEAT_MS = 200  # how soon a member that was replaced learns of it


@pytest.fixture(params=["local", pytest.param("kafka", marks=[pytest.mark.integration, pytest.mark.timeout(120)])])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Return where the broker is, "" for the adapter that needs none."""
    return request.getfixturevalue("kafka") if request.param == "kafka" else ""


@pytest.fixture
async def open_log(bootstrap: str, tmp_path: Path) -> AsyncIterator[OpenLog]:
    opened: list[Log] = []
    made: set[str] = set()
    here = uuid.uuid4().hex

    async def open_local(name: str = "log") -> Log:
        opened.append(await open_local_log(tmp_path / name, partitions=PARTITIONS))
        return opened[-1]

    async def open_kafka(name: str = "log") -> Log:
        connection = Connection(
            bootstrap=bootstrap,
            prefix=f"{here}-{name}",
            instance="contract",
            heartbeat_ms=HEARTBEAT_MS,
        )
        if name not in made:
            made.add(name)
            await create_topics(connection, PARTITIONS)
        opened.append(await open_kafka_log(connection))
        return opened[-1]

    yield open_kafka if bootstrap else open_local
    for log in opened:
        await log.close()


@pytest.fixture
async def log(open_log: OpenLog) -> Log:
    return await open_log()
