"""A process that was frozen in the middle of a step and wakes when another has its partitions: one line, and the end.

The role is the real one, as a process of its own; it stops itself at a place of a transaction (`frozen_role`). What it
has not committed by then counts no more, and nothing of it shows.
"""

import asyncio
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.contract_log import output, take_assigned
from tests.integration.fenced_blocks import ROOT
from tests.integration.frozen_role import PLACES
from tests.integration.own_log import make_topics, opened
from tests.integration.role_processes import WAIT_S, RoleProcess, Roles, kafka_environment
from tests.integration.up_process import wait_for

from flowgauge.schemas.sample import SampleMessage, encode_message
from flowgauge.schemas.topics import SAMPLES, TRANSITIONS
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Outgoing

PUT_OUT = r"another process (has taken|took) over"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Zombie:
    """A detector on a log of its own that freezes itself in its first step."""

    process: RoleProcess
    connection: Connection


@pytest.fixture(scope="module")
def zombies(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Zombie]]:
    """One for each place, all started at once."""
    found: dict[str, Zombie] = {}
    try:
        for place in PLACES:
            found[place] = asyncio.run(started(kafka, tmp_path_factory.mktemp("zombie"), place))
        yield found
    finally:
        for each in found.values():
            each.process.kill()


async def started(kafka: str, folder: Path, place: str) -> Zombie:
    env = kafka_environment(kafka, f"z{uuid.uuid4().hex[:8]}", partitions=1, samples_partitions=1)
    env |= {"FLOWGAUGE_KAFKA_SESSION": "1500ms", "FLOWGAUGE_KAFKA_HEARTBEAT": "300ms"}
    connection = Connection(bootstrap=kafka, prefix=env["FLOWGAUGE_KAFKA_PREFIX"], instance="successor")
    await make_topics(connection)
    async with opened(connection) as log:
        message = SampleMessage(log.log_id, 0, 0, 1, 1_000, 0, 0, [])
        await log.append(SAMPLES, [Outgoing(0, "", encode_message(message))])
    command = [sys.executable, "-m", "tests.integration.frozen_role", place]
    env |= {"PYTHONPATH": str(ROOT)}
    return Zombie(RoleProcess("detect", "zombie", Roles(env, folder).env, folder, command=command), connection)


@pytest.mark.parametrize("place", PLACES)
async def test_a_former_owner_that_wakes_ends_with_one_line_and_changes_nothing(
    place: str, zombies: dict[str, Zombie]
) -> None:
    zombie = zombies[place]
    await asyncio.to_thread(wait_for, zombie.process.is_stopped, "the freeze")
    async with opened(zombie.connection) as log:
        steps = await log.open_steps(SAMPLES, "detector")
        assigned = await take_assigned(steps)
        await steps.commit(0, next_offset=1, state={}, outputs=[output(TRANSITIONS, b"of the successor")])

        zombie.process.wake()
        code = await asyncio.to_thread(zombie.process.process.wait, WAIT_S)

        told = [record.value for record in await log.read(TRANSITIONS, 0, 0, 10)]
        stands = await log.committed(SAMPLES, "detector")
    text = zombie.process.text()
    (said,) = [line["text"] for line in zombie.process.log() if "text" in line]
    assert (code, "Traceback" in text) == (1, False), text
    assert re.match(rf"flowgauge: .*{PUT_OUT}", said), said
    assert (assigned[0].next_offset, dict(assigned[0].state)) == (0, {})
    assert (told, stands[0].next_offset) == ([b"of the successor"], 1)
