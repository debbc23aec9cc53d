"""A burst of Prefect's own client through a real Prefect server and the plugin to a real gateway: none is lost."""

import asyncio
import os
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.integration.prefect_server import REDIS, PrefectServer, need_prefect
from tests.integration.prefect_target import over_http, read_events, running_target
from tests.integration.redis_server import running_redis
from tests.integration.up_process import end

EVENTS = int(os.environ.get("FLOWGAUGE_BURST_EVENTS", "1000"))  # `make torture` emits more

pytestmark = [pytest.mark.prefect, pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[dict[str, str]]:
    """Return what is to be said of the broker that the plugin wraps."""
    need_prefect()
    with ExitStack() as running:
        if request.param == "memory":
            yield {}
        else:
            yield {REDIS: running.enter_context(running_redis(tmp_path / "redis")).url}


def test_all_events_of_a_burst_are_in_the_log(tmp_path: Path, broker: dict[str, str]) -> None:
    with running_target(tmp_path / "flowgauge") as up:
        with PrefectServer(tmp_path / "prefect", over_http(up.url) | broker).serving() as prefect:
            emitted = prefect.burst(EVENTS)
        assert end(up.process) == 0

    told = {event["id"] for event in asyncio.run(read_events(tmp_path / "flowgauge" / "data"))}
    assert (len(emitted), emitted - told) == (EVENTS, set())
    assert "not told to flowgauge" not in prefect.log
