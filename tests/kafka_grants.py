"""Gives users of a test broker the rights that lines of kafka-acls arguments name, without its JVM for each line."""

import argparse
from collections.abc import Iterable, Iterator
from typing import Any, cast

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from flowgauge.transport.access_reader import Operation

RESOURCES = {"topic": 2, "group": 3, "transactional_id": 5}
PATTERNS = {"literal": 3, "prefixed": 4}
ALLOW = 3


async def grant(bootstrap: str, lines: Iterable[str]) -> None:
    """Create what the lines name, as somebody who may do everything at `bootstrap`."""
    admin = cast("Any", AIOKafkaAdminClient)(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for line in lines:
            for each in _acls(line):
                answer = await admin._send_request(each)  # aiokafka has no call for it
                assert [code for code, _ in answer.creation_responses] == [0]
    finally:
        await admin.close()


def _acls(line: str) -> Iterator[CreateAclsRequest]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--allow-principal")
    parser.add_argument("--resource-pattern-type", default="literal")
    parser.add_argument("--operation", action="append")
    for name in RESOURCES:
        parser.add_argument(f"--{name.replace('_', '-')}", action="append", default=[])
    asked = parser.parse_args(line.split())
    for name, kind in RESOURCES.items():
        for resource in getattr(asked, name):
            for operation in asked.operation:
                pattern = PATTERNS[asked.resource_pattern_type]
                code = Operation[operation]
                yield CreateAclsRequest(kind, resource, pattern, asked.allow_principal, "*", code, ALLOW)
