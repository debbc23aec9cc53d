"""A broker that is killed and comes back: groups stand where they stood."""

import asyncio

import pytest
from tests.kafka_broker import Broker, mortal_broker
from tests.kafka_topics import create_topics

from flowgauge.schemas.errors import FlowgaugeError
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Committed

PARTITIONS = {EVENTS: 4}
GROUP = "matcher"
PAUSE_S = 0.02

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


async def answers_of(log: KafkaLog, wanted: dict[int, Committed]) -> list[dict[int, Committed]]:
    """Ask where the group stands from now until that is `wanted`; return every answer that came."""
    answers: list[dict[int, Committed]] = []
    while not answers or answers[-1] != wanted:
        try:
            answers.append(dict(await log.committed(EVENTS, GROUP)))
        except FlowgaugeError:  # it is away
            await asyncio.sleep(PAUSE_S)
    return answers


def test_a_group_that_a_broker_is_still_loading_does_not_look_new() -> None:
    with mortal_broker() as broker:
        answers, wanted = asyncio.run(asked_of_a_new_life(broker))

    assert all(answer == wanted for answer in answers), answers


async def asked_of_a_new_life(
    broker: Broker,
) -> tuple[list[dict[int, Committed]], dict[int, Committed]]:
    """Commit, let the broker die and come back, and return what it says from then on, and what it should say."""
    connection = Connection(bootstrap=broker.bootstrap, instance="one")
    await create_topics(connection, PARTITIONS)
    log = await open_kafka_log(connection)
    reader = await log.open_reader(EVENTS, GROUP)
    await reader.poll(records_max=1, timeout_ms=100)
    wanted = {partition: Committed(0, f"noted {partition}") for partition in range(4)}
    await reader.commit(wanted)
    await reader.close()
    answers = await asked_while_it_restarts(broker, log, wanted)
    await log.close()
    return answers, wanted


async def asked_while_it_restarts(
    broker: Broker, log: KafkaLog, wanted: dict[int, Committed]
) -> list[dict[int, Committed]]:
    """Kill the broker, start it again, and ask all the while."""
    broker.kill()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(answers_of(log, wanted))
        await asyncio.to_thread(broker.start)
    return asking.result()
