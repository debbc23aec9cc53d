"""The clock of detection, read from the log by who runs no detector."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowgauge.processors.detection_watch import DetectionWatch
from flowgauge.processors.detector_app import GROUP
from flowgauge.processors.growing import announce_sources
from flowgauge.schemas.sample import SampleMessage, encode_message
from flowgauge.schemas.topics import EVENTS, RULES, SAMPLES
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Committed, Log, Outgoing


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = await open_local_log(tmp_path, partitions={EVENTS: 2, SAMPLES: 2, RULES: 1})
    yield opened
    await opened.close()


async def tell(log: Log, partition: int, source: int, clock_ms: int, *, version: int = 0) -> None:
    message = SampleMessage(log.log_id, source, 0, 1, clock_ms, version, 0, [])
    await log.append(SAMPLES, [Outgoing(partition, "", encode_message(message))])


async def pass_messages(log: Log, up_to: dict[int, int]) -> None:
    """Let the detectors stand there."""
    reader = await log.open_reader(SAMPLES, GROUP)
    await reader.commit({partition: Committed(offset) for partition, offset in up_to.items()})
    await reader.close()


async def test_the_clock_is_that_of_the_slowest_source_in_the_slowest_partition(log: Log) -> None:
    for partition, source, clock_ms in ((0, 0, 50), (0, 1, 40), (1, 0, 30), (1, 1, 60), (0, 0, 90)):
        await tell(log, partition, source, clock_ms)
    watch = DetectionWatch(log)

    await pass_messages(log, {0: 3, 1: 2})

    assert await watch.look() == 30
    assert watch.source_clocks_ms() == {0: 30, 1: 40}


async def test_what_the_detectors_have_not_passed_does_not_count(log: Log) -> None:
    for partition in (0, 1):
        for source, clock_ms in ((0, 10), (1, 10), (0, 20), (1, 20)):
            await tell(log, partition, source, clock_ms)
    watch = DetectionWatch(log)

    await pass_messages(log, {0: 4, 1: 3})
    before = await watch.look()
    await pass_messages(log, {1: 4})

    assert (before, await watch.look()) == (10, 20)


async def test_sources_that_join_with_a_rule_set_leave_it_unknown_until_they_are_heard_of(log: Log) -> None:
    watch = DetectionWatch(log)
    for partition in (0, 1):
        for source in (0, 1):
            await tell(log, partition, source, 10)
    await pass_messages(log, {0: 2, 1: 2})
    before = await watch.look()
    version = await announce_sources(log, 3)

    for partition in (0, 1):
        await tell(log, partition, 0, 20, version=version)
    await pass_messages(log, {0: 3, 1: 3})
    joining = await watch.look()
    for partition in (0, 1):
        await tell(log, partition, 2, 15, version=version)
    await pass_messages(log, {0: 4, 1: 4})

    assert (before, joining, await watch.look()) == (10, 0, 10)


async def test_a_source_that_was_not_heard_of_leaves_it_unknown(log: Log) -> None:
    await tell(log, 0, 0, 10)
    await tell(log, 0, 1, 10)
    await tell(log, 1, 0, 10)
    await pass_messages(log, {0: 2, 1: 1})

    watch = DetectionWatch(log)
    assert await watch.look() == 0
    assert watch.source_clocks_ms() == {0: 10, 1: 0}
