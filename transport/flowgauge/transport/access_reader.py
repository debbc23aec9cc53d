"""Asks brokers what they let this user do with a log. Nothing is written, read or made to find out.

aiokafka 0.14 ends before the versions of Metadata that tell it (Kafka 2.3), so this file speaks that one itself. Of
transactions brokers tell no more than whether they name the coordinator, which takes Describe.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, cast

from aiokafka import errors as kafka_errors
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from flowgauge.transport.kafka_client import Connection, new_admin, start, told
from flowgauge.transport.topic_plan import ALL


class Operation(IntEnum):
    """Kafka's operations by their codes, which are also the bits in which brokers tell what a user may do."""

    Read = 3
    Write = 4
    Create = 5
    Delete = 6
    Alter = 7
    Describe = 8
    ClusterAction = 9
    DescribeConfigs = 10
    AlterConfigs = 11
    IdempotentWrite = 12


Operations = frozenset[Operation]


@dataclass(frozen=True, slots=True)
class Found:
    """What brokers let a user do, by the names in Kafka; `transactions` are those that it may ask about."""

    topics: Mapping[str, Operations]
    groups: Mapping[str, Operations] = field(default_factory=dict[str, Operations])
    transactions: frozenset[str] = frozenset()
    cluster: Operations = field(default_factory=frozenset[Operation])


AGAIN_S = 0.2  # between questions to a coordinator that is not there yet
_GROUP, _TRANSACTION = 0, 1  # of FindCoordinator


class _Rights(Response):  # type: ignore[misc]  # aiokafka publishes no types; these are made as its own are
    API_KEY = 3  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]  # as above
    API_VERSION = 8  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]  # as above
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("authorized_operations", Int32),
    )


class _RightsStruct(RequestStruct):  # type: ignore[misc]  # as above
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Rights
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _AskRights(Request[_RightsStruct]):  # type: ignore[misc]  # as above
    """Metadata of some topics, with what this user may do to each and to the cluster."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_RightsStruct]) -> _RightsStruct:
        return request_struct_class(self._names, False, True, True)


class _GroupRightsStruct(RequestStruct):  # type: ignore[misc]  # as above; aiokafka's own takes an older answer for it
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _AskGroupRights(Request[_GroupRightsStruct]):  # type: ignore[misc]  # as above
    """A group, with what this user may do to it."""

    API_KEY = 15

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request_struct_class: type[_GroupRightsStruct]) -> _GroupRightsStruct:
        return request_struct_class([self._name], True)


async def read_access(connection: Connection, groups: Sequence[str], transactions: Sequence[str]) -> Found:
    """Return what the user of `connection` may do to the log and `groups`, and which `transactions` it may ask about.

    A topic that is not there, and what is not shown to it, is left out.

    Raises BadEnvironment when no broker answers or believes us, Transient when none answers in time.
    """
    names, admin = connection.names, new_admin(connection)
    try:
        async with told(connection, "ask what it may do"):
            await start(admin)
            answer = await _ask(admin, _AskRights([names.topic(topic) for topic in ALL]))
            return Found(
                {topic[1]: _operations(topic[4]) for topic in answer.topics if topic[0] == 0},
                {name: found for name in groups if (found := await _of_group(admin, name))},
                frozenset([name for name in transactions if await _may_ask(admin, name)]),
                _operations(answer.authorized_operations),
            )
    finally:
        await admin.close()


async def _of_group(admin: object, name: str) -> Operations:
    while True:  # until `told` ends it
        where = await _ask(admin, FindCoordinatorRequest(name, _GROUP))
        code = where.error_code
        if not code:
            answer = await _ask(admin, _AskGroupRights(name), where.coordinator_id)
            code, *_, operations = answer.groups[0]
            if not code:
                return _operations(operations)
        if code == kafka_errors.GroupAuthorizationFailedError.errno:
            return frozenset()
        if not kafka_errors.for_code(code).retriable:
            raise kafka_errors.for_code(code)
        await asyncio.sleep(AGAIN_S)  # the group's coordinator is only now coming up


async def _may_ask(admin: object, name: str) -> bool:
    where = await _ask(admin, FindCoordinatorRequest(name, _TRANSACTION))
    return bool(where.error_code != kafka_errors.TransactionalIdAuthorizationFailed.errno)


async def _ask(admin: object, request: object, node: int | None = None) -> Any:
    return await cast("Any", admin)._send_request(request, node)  # noqa: SLF001  # aiokafka has no call that tells it


def _operations(bits: int) -> Operations:
    return frozenset(each for each in Operation if bits & (1 << each))
