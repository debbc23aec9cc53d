"""Reads the topics of a cluster and makes them as planned (flowgauge.transport.topic_plan).

aiokafka 0.14 lacks two things that are needed here, so this file speaks them itself:

* Its `alter_configs` is Kafka's old request, which resets every setting of a topic that it does not name.
  IncrementalAlterConfigs changes those that it names.
* Its `describe_topics` by name may create the topics that it asks for, where a cluster creates them by themselves.

Brokers answer with a code for each topic and aiokafka mostly hands it on unread: `_check` reads every one.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, cast

from aiokafka import errors as kafka_errors
from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from flowgauge.schemas.errors import BadEnvironment, InvariantBroken, Transient
from flowgauge.schemas.topics import RULES, STATE
from flowgauge.transport.kafka_client import Connection, new_admin, new_producer, start, told
from flowgauge.transport.kafka_reading import KafkaReading
from flowgauge.transport.kafka_state import LOG_ID, log_id_of
from flowgauge.transport.kafka_topics import existing_topics
from flowgauge.transport.topic_plan import (
    AddPartitions,
    ChangeSetting,
    Create,
    Plan,
    Sizes,
    Topic,
    differences,
    plan_topics,
    wanted_topics,
)

STATE_RECORDS_MAX = 100  # the log's identity stands among the first records of its partition
SEEING = "see to its topics"  # what fails; a deadline covers one question to brokers, not what is done in between
SETTLE_LOOKS_MAX = 100  # brokers learn of a change one after another, within a second
SETTLE_PAUSE_MS = 100
SERVED_PAUSE_MS = 20
_SET = 0  # the operation of IncrementalAlterConfigs that gives a setting a value
_UNKNOWN_TOPIC = 3

# What brokers refuse, by the class that aiokafka has for the code → what to do about it.
_REMEDIES: Mapping[type[Exception], str] = {
    kafka_errors.TopicAuthorizationFailedError: "grant this user Describe, DescribeConfigs, Create and Alter on it",
    kafka_errors.ClusterAuthorizationFailedError: "grant this user Create on the cluster, or on topics of the prefix",
    kafka_errors.InvalidReplicationFactorError: "set kafka.replication to at most the number of brokers",
    kafka_errors.PolicyViolationError: "ask the cluster's operator for what its create or alter policy wants",
}


class _Alteration(Response):  # type: ignore[misc]  # aiokafka publishes no types; these are made as its own are
    API_KEY = 44  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]  # as above
    API_VERSION = 0  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]  # as above
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _AlterationStruct(RequestStruct):  # type: ignore[misc]  # as above
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _Alteration
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _Alter(Request[_AlterationStruct]):  # type: ignore[misc]  # as above
    """IncrementalAlterConfigs for topics: name → setting → value."""

    API_KEY = 44

    def __init__(self, changes: Mapping[str, Mapping[str, str]]) -> None:
        self._changes = changes

    def build(self, request_struct_class: type[_AlterationStruct]) -> _AlterationStruct:
        topic = int(ConfigResourceType.TOPIC)
        resources = [
            (topic, name, [(setting, _SET, value) for setting, value in settings.items()])
            for name, settings in self._changes.items()
        ]
        return request_struct_class(resources, False)  # to be done, not only validated


async def read_plan(connection: Connection, sizes: Sizes, *, allow_shorter_retention: bool = False) -> Plan:
    """Return what makes the topics of `connection.prefix` what `sizes` asks for.

    Raises BadEnvironment when no broker answers, when it does not believe us or does not let us look.
    """
    async with _administering(connection) as admin:
        return await _plan(admin, connection, sizes, allow_shorter_retention=allow_shorter_retention)


async def apply_plan(
    connection: Connection,
    plan: Plan,
    sizes: Sizes,
    *,
    announce: Callable[[int], Awaitable[None]] | None = None,
    allow_shorter_retention: bool = False,
) -> None:
    """Do the steps of `plan`, then wait until brokers show the topics as wanted and the log has an identity.

    `announce` tells a log in use how many partitions its events will have, and takes as long as it takes to read what
    lags there; without it they do not grow. Each step can be done again, so a plan that was broken off is made anew and
    done. Raises BadEnvironment when brokers refuse a step, with the remedy, and Transient when they do not show it in
    time.
    """
    async with _administering(connection) as admin:
        async with told(connection, SEEING):
            await _create(admin, [step.topic for step in plan.steps if isinstance(step, Create)])
        for step in plan.steps:
            if isinstance(step, AddPartitions):
                await _grow(admin, connection, step, announce)
        if changes := _changes(plan.steps):
            async with told(connection, SEEING):
                answers = (await _ask(admin, _Alter(changes))).resources
            for code, message, _, name in answers:
                _check(code, message, f"change {name}")
        await _settled(admin, connection, sizes, allow_shorter_retention=allow_shorter_retention)
        await _ensure_log_id(connection, cast("Any", admin), sizes)


async def create_topics(connection: Connection, topics: Sequence[Topic]) -> None:
    """Create those of `topics` that are missing and give the log its identity, without a plan.

    What is there stays as it is: `apply_plan` is for people. Returns once brokers serve them all.
    """
    async with _administering(connection) as admin:
        async with told(connection, SEEING):
            await _create(admin, topics)
        names = {topic.name for topic in topics}
        for _ in range(SETTLE_LOOKS_MAX):
            async with told(connection, SEEING):
                found = await existing_topics(connection, cast("Any", admin))
            if names <= {connection.names.topic(topic) for topic in found}:
                await _ensure_log_id(connection, cast("Any", admin), Sizes(samples_partitions=found[STATE]))
                return
            await asyncio.sleep(SERVED_PAUSE_MS / 1000)
    raise Transient("brokers do not serve the topics that were made: try again in a moment")


async def require_topics(connection: Connection, sizes: Sizes) -> None:
    """Raise BadEnvironment, with a line and remedy for each difference, unless the topics are as wanted.

    Every role calls this at its start.
    """
    lines = differences(await read_plan(connection, sizes))
    if lines:
        raise BadEnvironment("\n".join([f"the topics at {connection.bootstrap} are not as wanted:", *lines]))


class _Admin(Protocol):
    """What we use of AIOKafkaAdminClient for topics."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def create_topics(self, new_topics: Sequence[object]) -> Any: ...
    async def create_partitions(self, topic_partitions: Mapping[str, object], *, validate_only: bool = ...) -> Any: ...
    async def describe_configs(self, config_resources: Sequence[object]) -> Sequence[Any]: ...


@asynccontextmanager
async def _administering(connection: Connection) -> AsyncGenerator[_Admin]:
    admin = cast("_Admin", new_admin(connection))
    try:
        async with told(connection, SEEING):
            await start(cast("Any", admin))
        yield admin
    finally:
        await admin.close()


async def _ask(admin: _Admin, request: object) -> Any:
    return await cast("Any", admin)._send_request(request)  # noqa: SLF001  # see the file's docstring


async def _plan(admin: _Admin, connection: Connection, sizes: Sizes, *, allow_shorter_retention: bool) -> Plan:
    wanted = [topic.name for topic in wanted_topics(connection.names, sizes)]
    async with told(connection, SEEING):
        found = await _found(admin, wanted)
    plan = partial(plan_topics, connection.names, sizes, found, allow_shorter_retention=allow_shorter_retention)
    if not any(isinstance(step, AddPartitions) for step in plan().steps):
        return plan()  # and nobody needs to read records for it
    return plan(is_in_use=await _is_in_use(admin, connection, found))


async def _is_in_use(admin: _Admin, connection: Connection, found: Mapping[str, Topic]) -> bool:
    """Tell whether rules were ever applied to this log, or detection holds its place in it."""
    partitions = {
        each: found[name].partitions for each in (RULES, STATE) if (name := connection.names.topic(each)) in found
    }
    reading = KafkaReading(connection, cast("Any", admin), partitions)
    try:
        for topic, count in partitions.items():
            for partition in range(count):
                records = await reading.read(topic, partition, 0, STATE_RECORDS_MAX)
                if any(not record.key.startswith(LOG_ID) for record in records):
                    return True
    finally:
        await reading.close()
    return False


async def _found(admin: _Admin, names: Sequence[str]) -> dict[str, Topic]:
    """Return those of `names` that there are."""
    request = MetadataRequest(list(names), allow_auto_topic_creation=False)
    described = (await _ask(admin, request)).to_object()
    replicas: dict[str, list[int]] = {}
    for topic in described["topics"]:
        if topic["error_code"] != _UNKNOWN_TOPIC:
            _check(topic["error_code"], None, f"look at {topic['topic']}")
            replicas[topic["topic"]] = [len(partition["replicas"]) for partition in topic["partitions"]]
    settings = await _settings(admin, replicas)
    return {name: Topic(name, len(each), min(each, default=0), settings[name]) for name, each in replicas.items()}


async def _settings(admin: _Admin, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources) if resources else ():
        for code, message, _, name, entries in answer.resources:
            _check(code, message, f"read the settings of {name}")
            found[name] = {entry[0]: entry[1] or "" for entry in entries}
    return found


async def _create(admin: _Admin, wanted: Sequence[Topic]) -> None:
    """Create all of `wanted`; one that another process has just created is looked at afterwards."""
    new = [
        NewTopic(topic.name, topic.partitions, topic.replicas, topic_configs=dict(topic.settings)) for topic in wanted
    ]
    for name, code, message in (await admin.create_topics(new)).topic_errors if new else ():
        if code != kafka_errors.TopicAlreadyExistsError.errno:
            _check(code, message, f"create {name}")


async def _grow(
    admin: _Admin, connection: Connection, step: AddPartitions, announce: Callable[[int], Awaitable[None]] | None
) -> None:
    """Grow a topic. Detection waits from the announcement on: so brokers are first asked whether they would do it."""
    if step.is_in_use:
        if announce is None:
            raise InvariantBroken(f"{step.topic} is in use: its log must be told before it grows")
        await _add_partitions(admin, connection, step, validate_only=True)
        await announce(step.wanted)
    await _add_partitions(admin, connection, step, validate_only=False)


async def _add_partitions(admin: _Admin, connection: Connection, step: AddPartitions, *, validate_only: bool) -> None:
    async with told(connection, SEEING):
        try:
            await admin.create_partitions({step.topic: NewPartitions(step.wanted)}, validate_only=validate_only)
        except kafka_errors.KafkaError as error:
            _check(cast("Any", error).errno, str(error), f"add partitions to {step.topic}")
            raise


def _changes(steps: Iterable[object]) -> dict[str, dict[str, str]]:
    changes: dict[str, dict[str, str]] = {}
    for step in steps:
        if isinstance(step, ChangeSetting):
            changes.setdefault(step.topic, {})[step.setting] = step.wanted
    return changes


def _check(code: int, message: str | None, doing: str) -> None:
    """Raise what `code` means, unless it means that all is well."""
    if code == 0:
        return
    kind: type[Exception] = kafka_errors.for_code(code)
    said = message or kind.__name__
    if remedy := _REMEDIES.get(kind):
        raise BadEnvironment(f"Kafka does not let us {doing}: {said} ({remedy})")
    if getattr(kind, "retriable", False):
        raise Transient(f"Kafka cannot {doing} now: {said} (try again)")
    raise BadEnvironment(f"Kafka does not {doing}: {said} (correct the settings that it names)")


async def _settled(admin: _Admin, connection: Connection, sizes: Sizes, *, allow_shorter_retention: bool) -> None:
    """Wait until a broker shows what was done. What another process did meanwhile is left for the next plan."""
    for _ in range(SETTLE_LOOKS_MAX):
        plan = await _plan(admin, connection, sizes, allow_shorter_retention=allow_shorter_retention)
        if plan.is_empty:
            return
        await asyncio.sleep(SETTLE_PAUSE_MS / 1000)
    raise Transient("brokers do not show the topics as they were made: try flowgauge topics plan in a moment")


async def _ensure_log_id(connection: Connection, admin: Any, sizes: Sizes) -> None:
    """Give the log its identity; the first that was ever written counts, so that two at once agree."""
    reading = KafkaReading(connection, admin, {STATE: sizes.samples_partitions})
    try:
        if log_id_of(await reading.read(STATE, 0, 0, STATE_RECORDS_MAX)):
            return
    finally:
        await reading.close()
    producer = new_producer(connection)
    try:
        async with told(connection, SEEING):
            await start(producer)
            key = f"{LOG_ID}{uuid.uuid4().hex}".encode()
            await (await producer.send(connection.names.topic(STATE), b"", key, partition=0, headers=[]))
    finally:
        await producer.stop()
