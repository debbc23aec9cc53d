"""Who is told to stop does not wait for what takes as long as others like."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.clickhouse.memory import MemoryLog, MemoryReader, MemoryTables

from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.transport.health import Health
from flowgauge.transport.log import Steps
from flowgauge.transport.patience import Patience

Role = Callable[["Waiting", asyncio.Event, Health], Awaitable[None]]


class Waiting(MemoryLog):
    """A log whose groups let nobody in; it sets `stop` when somebody asks."""

    stop: asyncio.Event

    async def open_reader(self, topic: str, group: str) -> MemoryReader:
        self.stop.set()
        await asyncio.Event().wait()
        return await super().open_reader(topic, group)

    async def open_steps(self, topic: str, group: str) -> Steps:
        self.stop.set()
        await asyncio.Event().wait()
        return await super().open_steps(topic, group)


ROLES: dict[str, Role] = {
    "sink": lambda log, stop, health: run_sink(log, MemoryTables(), stop=stop, health=health),
    "matcher": lambda log, stop, health: run_matcher(log, stop=stop, health=health),
    "detector": lambda log, stop, health: run_detector(log, stop=stop, health=health),
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_that_its_group_does_not_let_in_ends_when_it_is_told_to(role: str) -> None:
    """A sink took longer to end than it is given, while others joined."""
    log = Waiting({EVENTS: 2})
    log.stop = asyncio.Event()

    await ROLES[role](log, log.stop, Health())

    assert log.readers == []


async def test_what_is_done_before_a_stop_is_returned_or_raised() -> None:
    async def answer() -> int:
        return 7

    async def refuse() -> int:
        raise ValueError("as the test wishes")

    patiently = Patience("answer", Health(), asyncio.Event())
    assert await patiently.unless_stopped(answer) == 7
    with pytest.raises(ValueError, match="as the test wishes"):
        await patiently.unless_stopped(refuse)
