"""Detectors on logs of their own that freeze themselves in their first step: processes as their users run them."""

import asyncio
import sys
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from tests.integration.fenced_blocks import ROOT
from tests.integration.own_log import made, opened
from tests.integration.role_processes import RoleProcess, Roles, kafka_environment

from flowgauge.schemas.sample import SampleMessage, encode_message
from flowgauge.schemas.topics import SAMPLES
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.log import Outgoing

INSTANCE = "frozen"


@dataclass(frozen=True, slots=True)
class Frozen:
    """One of them, and the way to its log under another instance's name."""

    process: RoleProcess
    connection: Connection


@contextmanager
def frozen_detectors(
    bootstrap: str,
    places: Collection[str],
    folders: pytest.TempPathFactory,
    *,
    settings: Mapping[str, str],
    transaction_ms: int = 15_000,
) -> Generator[dict[str, Frozen]]:
    """Start one for each of `places` (`frozen_role`), all at once, with `settings`; end them with the block.

    `transaction_ms` is what others on the same log ask for.
    """
    found: dict[str, Frozen] = {}
    try:
        for place in places:
            connection = asyncio.run(_with_a_sample(bootstrap, transaction_ms))
            found[place] = Frozen(_started(connection, place, folders, settings), connection)
        yield found
    finally:
        for each in found.values():
            each.process.kill()


async def _with_a_sample(bootstrap: str, transaction_ms: int) -> Connection:
    connection = await made(bootstrap, transaction_ms=transaction_ms)
    async with opened(connection) as log:
        message = SampleMessage(log.log_id, 0, 0, 1, 1_000, 0, 0, [])
        await log.append(SAMPLES, [Outgoing(0, "", encode_message(message))])
    return connection


def _started(
    connection: Connection, place: str, folders: pytest.TempPathFactory, settings: Mapping[str, str]
) -> RoleProcess:
    env = kafka_environment(connection.bootstrap, connection.prefix, partitions=1, samples_partitions=1)
    env |= {"PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "tests.integration.frozen_role", place]
    folder = folders.mktemp(INSTANCE)
    return RoleProcess("detect", INSTANCE, Roles(env, folder).env, folder, command=command)
