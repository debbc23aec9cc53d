"""Brokers that allow less than we ask for, and a step that takes longer than they wait: one line, nothing by halves.

The broker is the tests' own: it allows short transactions only, and looks often for those that take too long.
"""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.contract_log import events, output, take_assigned
from tests.integration.fenced_blocks import ROOT
from tests.integration.own_log import made, opened
from tests.integration.role_processes import WAIT_S, RoleProcess, Roles, kafka_environment
from tests.integration.test_kafka_faults import set_max_bytes
from tests.integration.up_process import wait_for
from tests.kafka_broker import java_broker
from tests.torture.transactions import Transactions

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.sample import SampleMessage, encode_message
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Outgoing

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
def stalled(impatient: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RoleProcess]]:
    """Detectors that stop in their first step, all started at once; nobody takes over from them."""
    found: dict[str, RoleProcess] = {}
    try:
        for place in STALLED:
            found[place] = asyncio.run(started(impatient, tmp_path_factory.mktemp("stalled"), place))
        yield found
    finally:
        for each in found.values():
            each.kill()


async def started(bootstrap: str, folder: Path, place: str) -> RoleProcess:
    connection = await made(bootstrap, transaction_ms=ALLOWED_MS)
    async with opened(connection) as log:
        message = SampleMessage(log.log_id, 0, 0, 1, 1_000, 0, 0, [])
        await log.append(SAMPLES, [Outgoing(0, "", encode_message(message))])
    env = kafka_environment(bootstrap, connection.prefix, partitions=1, samples_partitions=1)
    env |= {"FLOWGAUGE_KAFKA_TRANSACTION_TIMEOUT": "500ms", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.integration.frozen_role", place]
    return RoleProcess("detect", "stalled", Roles(env, folder).env, folder, command=command)


@pytest.mark.parametrize("place", STALLED)
def test_a_detector_that_stood_still_for_longer_than_its_transaction_ends_and_the_next_start_goes_on(
    place: str, stalled: dict[str, RoleProcess], impatient: str
) -> None:
    process = stalled[place]
    transactions, name = Transactions(impatient), f"{process.env['FLOWGAUGE_KAFKA_PREFIX']}.detector.samples.0"
    wait_for(process.is_stopped, "the stop")
    wait_for(lambda: name not in transactions.open(), "the broker's patience")
    transactions.close()

    process.wake()
    code = process.process.wait(WAIT_S)

    (said,) = [line["text"] for line in process.log() if "text" in line]
    assert (code, "Traceback" in process.text()) == (1, False), process.text()
    assert re.match(r"flowgauge: .*(this one stood still for too long|kafka\.transaction_timeout)", said), said
    begun = asyncio.run(restored(process, impatient))
    assert begun == (0, {}, [])


async def restored(process: RoleProcess, bootstrap: str) -> tuple[int, dict[str, bytes], list[bytes | None]]:
    """Return where the next start begins, with what state, and what was told."""
    connection = Connection(
        bootstrap=bootstrap,
        prefix=process.env["FLOWGAUGE_KAFKA_PREFIX"],
        instance="stalled",
        heartbeat_ms=200,
        transaction_ms=ALLOWED_MS,
    )
    async with opened(connection) as log:
        assigned = (await take_assigned(await log.open_steps(SAMPLES, "detector")))[0]
        told = [record.value for record in await log.read(TRANSITIONS, 0, 0, 10)]
        return assigned.next_offset, dict(assigned.state), told
