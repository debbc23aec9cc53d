"""The adapters of the `Log` port, each under the same tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.contract_log import PARTITIONS, OpenLog

from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log


@pytest.fixture(params=["local"])
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenLog]:
    opened: list[Log] = []

    async def open_local(name: str = "log") -> Log:
        opened.append(await open_local_log(tmp_path / name, partitions=PARTITIONS))
        return opened[-1]

    yield {"local": open_local}[request.param]
    for log in opened:
        await log.close()


@pytest.fixture
async def log(open_log: OpenLog) -> Log:
    return await open_log()
