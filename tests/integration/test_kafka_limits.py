"""Brokers that allow less than we ask for, and a step that takes longer than they wait: one line, nothing by halves.

The broker is the tests' own: it allows short transactions only, and looks often for those that take too long.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.contract.contract_log import events, output, take_assigned
from tests.integration.frozen_detectors import INSTANCE, Frozen, frozen_detectors
from tests.integration.own_log import made, opened
from tests.integration.role_processes import WAIT_S
from tests.integration.test_kafka_faults import set_max_bytes
from tests.integration.up_process import wait_for
from tests.kafka_broker import java_broker
from tests.torture.transactions import Transactions

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.kafka_client import Connection

ALLOWED_MS = 10_000
PROPERTIES = f"""
transaction.max.timeout.ms={ALLOWED_MS}
transaction.abort.timed.out.transaction.cleanup.interval.ms=100
"""
STALLED = ("before its records", "before it is committed", "while it is committed")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def impatient() -> Iterator[str]:
    with java_broker(PROPERTIES) as bootstrap:
        yield bootstrap


async def test_a_transaction_that_is_longer_than_brokers_allow_is_told_with_both_settings(impatient: str) -> None:
    connection = await made(impatient, transaction_ms=ALLOWED_MS + 1)
    said = (
        r"begin transactions of flowgauge\.samples partition 0: it allows no transaction of 10001 ms: lower "
        r"kafka\.transaction_timeout, or raise the brokers' transaction\.max\.timeout\.ms"
    )
    async with opened(connection) as log:
        for _ in range(2):
            with pytest.raises(BadEnvironment, match=said):
                await log.open_steps(SAMPLES, "detector")


async def test_a_step_with_what_a_broker_refuses_as_too_large_is_told_with_the_remedy_and_undone(
    impatient: str,
) -> None:
    connection = await made(impatient, transaction_ms=ALLOWED_MS)
    await set_max_bytes(connection, "1000")
    said = r"cannot commit a step of flowgauge\.samples partition 0, group detector: too large .*max\.message\.bytes"
    async with opened(connection) as log:
        await log.append(SAMPLES, events(b"a"))
        steps = await log.open_steps(SAMPLES, "detector")
        await take_assigned(steps)

        with pytest.raises(BadEnvironment, match=said):
            await steps.commit(
                0,
                next_offset=1,
                state={"sum": b"1"},
                outputs=[output(TRANSITIONS, b"small"), output(EVENTS, os.urandom(8_000))],
            )
        with pytest.raises(BadEnvironment, match=said):  # of no more use: the process ends
            await steps.poll(records_max=1, timeout_ms=0)
        await steps.close()

        again = await take_assigned(await log.open_steps(SAMPLES, "detector"))
        assert (again[0].next_offset, dict(again[0].state)) == (0, {})
        assert await log.read(TRANSITIONS, 0, 0, 10) == []


@pytest.fixture(scope="module")
def stalled(impatient: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Frozen]]:
    """Let nobody take over from detectors that stop in their first step."""
    patience = {"FLOWGAUGE_KAFKA_TRANSACTION_TIMEOUT": "500ms"}
    detectors = frozen_detectors(impatient, STALLED, tmp_path_factory, settings=patience, transaction_ms=ALLOWED_MS)
    with detectors as found:
        yield found


@pytest.mark.parametrize("place", STALLED)
def test_a_detector_that_stood_still_for_longer_than_its_transaction_ends_and_the_next_start_goes_on(
    place: str, stalled: dict[str, Frozen], impatient: str
) -> None:
    process, connection = stalled[place].process, stalled[place].connection
    transactions, name = Transactions(impatient), f"{connection.prefix}.detector.samples.0"
    wait_for(process.is_stopped, "the stop")
    wait_for(lambda: name not in transactions.open(), "the broker's patience")
    transactions.close()

    process.wake()
    code = process.process.wait(WAIT_S)

    (said,) = [line["text"] for line in process.log() if "text" in line]
    assert (code, "Traceback" in process.text()) == (1, False), process.text()
    assert re.match(r"flowgauge: .*(this one stood still for too long|kafka\.transaction_timeout)", said), said
    begun = asyncio.run(restored(replace(connection, instance=INSTANCE)))
    assert begun == (0, {}, [])


async def restored(connection: Connection) -> tuple[int, dict[str, bytes], list[bytes | None]]:
    """Return where the next start begins, with what state, and what was told."""
    async with opened(connection) as log:
        assigned = (await take_assigned(await log.open_steps(SAMPLES, "detector")))[0]
        told = [record.value for record in await log.read(TRANSITIONS, 0, 0, 10)]
        return assigned.next_offset, dict(assigned.state), told
