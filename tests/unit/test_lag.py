"""How far a group is behind: in records, and in seconds of the log's own time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.health import Health
from flowgauge.transport.lag import PART, Lag, run_lag
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Committed, Log, Outgoing

NOW_MS = 1_000_000


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = await open_local_log(tmp_path, partitions={EVENTS: 2})
    yield opened
    await opened.close()


async def append(log: Log, partition: int, *ages_s: int) -> None:
    await log.append(EVENTS, [Outgoing(partition, "", b"{}", append_ms=NOW_MS - 1_000 * age) for age in ages_s])


async def test_a_group_that_never_was_there_is_behind_by_everything(log: Log) -> None:
    await append(log, 0, 30, 20)
    await append(log, 1, 40)
    lag = Lag(EVENTS, "sink")

    await lag.look(log, NOW_MS)

    assert (lag.records, lag.seconds) == (3, 40.0)


async def test_the_first_record_that_was_not_passed_counts(log: Log) -> None:
    await append(log, 0, 30, 20, 10)
    reader = await log.open_reader(EVENTS, "sink")
    await reader.commit({0: Committed(1)})
    lag = Lag(EVENTS, "sink")

    await lag.look(log, NOW_MS)

    assert (lag.records, lag.seconds) == (2, 20.0)


async def test_a_group_that_passed_the_last_end_keeps_up(log: Log) -> None:
    await append(log, 0, 30)
    reader = await log.open_reader(EVENTS, "sink")
    lag = Lag(EVENTS, "sink")
    await lag.look(log, NOW_MS)
    await reader.commit({0: Committed(1)})
    await append(log, 0, 1)

    await lag.look(log, NOW_MS)

    assert (lag.records, lag.seconds) == (1, 0.0)


class AwayLag(Lag):
    """Asks a log that is away."""

    async def look(self, log: Log, now_ms: int) -> None:  # noqa: ARG002  # as Lag has it
        raise BadEnvironment("no broker answers")


async def test_a_log_that_is_away_is_told_and_ends_nothing(log: Log) -> None:
    lag, health, stop = AwayLag(EVENTS, "sink"), Health(), asyncio.Event()

    looking = asyncio.ensure_future(run_lag(log, [lag], stop=stop, health=health))
    while PART not in health.problems:  # noqa: ASYNC110  # a dict that tells nobody
        await asyncio.sleep(0)
    stop.set()
    await looking

    assert (health.problems[PART], lag.records) == ("no broker answers", None)
