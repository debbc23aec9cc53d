"""A process that was frozen in the middle of a step and wakes when another has its partitions: one line, and the end.

The role is the real one, as a process of its own; it stops itself at a place of a transaction (`frozen_role`). What it
has not committed by then counts no more, and nothing of it shows.
"""

import asyncio
import re
from collections.abc import Iterator

import pytest
from tests.contract.contract_log import output, take_assigned
from tests.integration.frozen_detectors import Frozen, frozen_detectors
from tests.integration.frozen_role import PLACES
from tests.integration.own_log import opened
from tests.integration.role_processes import WAIT_S
from tests.integration.up_process import wait_for

from flowgauge.schemas.topics import SAMPLES, TRANSITIONS

PUT_OUT = r"another process (has taken|took) over"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def zombies(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Frozen]]:
    """Start one for each place."""
    short = {"FLOWGAUGE_KAFKA_SESSION": "1500ms", "FLOWGAUGE_KAFKA_HEARTBEAT": "300ms"}
    with frozen_detectors(kafka, PLACES, tmp_path_factory, settings=short) as found:
        yield found


@pytest.mark.parametrize("place", PLACES)
async def test_a_former_owner_that_wakes_ends_with_one_line_and_changes_nothing(
    place: str, zombies: dict[str, Frozen]
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
