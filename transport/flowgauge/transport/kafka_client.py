"""aiokafka's clients behind the few methods that we use, made with the settings that the log's promises need.

aiokafka has no types: this file names its classes, and kafka_security those of how to connect. What fails is told by
`explain`, in one line.
"""
# ruff: noqa: D102  # the protocols name aiokafka's methods: its documentation says what they do

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import ConnectionGroup
from aiokafka.structs import TopicPartition

from flowgauge.schemas.errors import BadEnvironment, Fenced, FlowgaugeError, InvariantBroken, Transient
from flowgauge.transport.kafka_batch import BATCH_BYTES_MAX, RecordBatch
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.kafka_records import Fetched, Header
from flowgauge.transport.kafka_security import (
    PLAIN,
    ClosedAtOnce,
    Security,
    TokenProvider,
    meaning_of_refusal,
    refusal_in,
    tls_context,
)
from flowgauge.transport.log import Record

__all__ = ["Admin", "Connection", "Consumer", "Producer", "TopicPartition", "told"]

REQUEST_BYTES_MAX = 4 * 1_048_576  # one record with its key, headers and room for what a codec adds
FETCH_BYTES_MAX = 16 * 1_048_576  # of one broker at a time
PARTITION_FETCH_BYTES_MAX = 2 * 1_048_576
REBALANCE_MS_MAX = 30_000  # how long the group waits for a member that is busy
TRANSACTION_BACKOFF_MS = 20  # a transaction that follows another at once is told to wait until that is settled
STOP_MS_MAX = 10_000
LEAVE_MS_MAX = 3_000  # a join takes far less once all the others have joined


class FencedInstanceId(kafka_errors.BrokerResponseError):  # type: ignore[misc]  # aiokafka publishes no types
    """Another member joined under our instance id (FENCED_INSTANCE_ID), which aiokafka has no class for."""

    errno = 82


kafka_errors.kafka_errors[FencedInstanceId.errno] = FencedInstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the brokers are, and who we are to them."""

    bootstrap: str  # host:port, or several separated by commas
    prefix: str = "flowgauge"
    instance: str = ""  # unique among the processes of a role; who joins under a name in use takes its place
    session_ms: int = 6_000  # a member that was silent for so long is dead
    heartbeat_ms: int = 2_000
    answer_ms: int = 30_000  # brokers that say nothing for so long are away
    transaction_ms: int = 15_000  # an open transaction of a dead process holds readers back no longer
    security: Security = PLAIN
    client: Mapping[str, int] = field(default_factory=dict[str, int])  # more of what every aiokafka client takes

    @property
    def names(self) -> Names:
        """What topics, groups and transactions are called."""
        return Names(self.prefix)


class RecordMetadata(Protocol):
    """Where a record went."""

    offset: int


class OffsetAt(NamedTuple):
    """The first record at or after a time."""

    offset: int
    timestamp: int


class OffsetNoted(Protocol):
    """What a group committed."""

    offset: int  # -1 for nothing
    metadata: str


class Listener(Protocol):
    """Who is told of rebalances, in aiokafka's coordination task."""

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None: ...
    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None: ...


class Consumer(Protocol):
    """What we use of AIOKafkaConsumer."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, topics: Sequence[str], *, listener: Listener) -> None: ...
    def assign(self, partitions: Sequence[TopicPartition]) -> None: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    async def position(self, partition: TopicPartition) -> int: ...
    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None: ...
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> Mapping[TopicPartition, Sequence[Fetched | Record]]: ...
    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]: ...
    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]: ...
    async def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, OffsetAt | None]: ...


class BatchBuilder(Protocol):
    """Records of one partition that travel as one."""

    def append(self, *, timestamp: int | None, key: bytes, value: bytes | None) -> object | None: ...


class Producer(Protocol):
    """What we use of AIOKafkaProducer."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def send(
        self, topic: str, value: bytes | None, key: bytes, *, partition: int, headers: Sequence[Header]
    ) -> "asyncio.Future[RecordMetadata]": ...
    def create_batch(self) -> BatchBuilder: ...
    async def send_batch(
        self, batch: BatchBuilder | RecordBatch, topic: str, *, partition: int
    ) -> "asyncio.Future[RecordMetadata]": ...
    async def begin_transaction(self) -> None: ...
    async def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, tuple[int, str]], group: str
    ) -> None: ...
    async def commit_transaction(self) -> None: ...


class Admin(Protocol):
    """What we use of AIOKafkaAdminClient."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def describe_topics(self) -> Sequence[Mapping[str, Any]]: ...
    async def create_topics(self, new_topics: Sequence[object]) -> Any: ...
    async def list_consumer_groups(self) -> Sequence[tuple[str, str]]: ...
    async def list_consumer_group_offsets(
        self, group_id: str, *, partitions: Sequence[TopicPartition] | None = None
    ) -> Mapping[TopicPartition, OffsetNoted]: ...
    async def delete_records(self, records: Mapping[TopicPartition, object]) -> Any: ...


def new_admin(connection: Connection) -> Admin:
    """Return a client for topics and groups, not started."""
    return cast("Admin", cast("Any", AIOKafkaAdminClient)(**_common(connection)))


def new_producer(connection: Connection, transaction: str | None = None) -> Producer:
    """Return an idempotent producer, not started: acks of all replicas, lz4. `transaction` makes it transactional."""
    more: dict[str, Any] = {}
    if transaction:
        more = {"transactional_id": transaction, "transaction_timeout_ms": connection.transaction_ms}
        more["retry_backoff_ms"] = TRANSACTION_BACKOFF_MS
    made = cast("Any", AIOKafkaProducer)(
        enable_idempotence=True,
        acks="all",
        compression_type="lz4",
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=REQUEST_BYTES_MAX,
        **(_common(connection) | more),
    )
    return cast("Producer", made)


def new_consumer(
    connection: Connection, group: str | None = None, *, isolation: str = "read_committed", wait_ms: int = 500
) -> Consumer:
    """Return a consumer, not started, that commits only what it is told to. `wait_ms` bounds a fetch of nothing."""
    member = {
        "group_id": group,
        "group_instance_id": connection.instance or None,
        "session_timeout_ms": connection.session_ms,
        "heartbeat_interval_ms": connection.heartbeat_ms,
        "rebalance_timeout_ms": REBALANCE_MS_MAX,
    }
    made = cast("Any", AIOKafkaConsumer)(
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # at "latest", a seek right after assign read nothing in 9 of 10 tries
        isolation_level=isolation,
        fetch_max_wait_ms=wait_ms,
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
        **(member if group else {}),
        **_common(connection),
    )
    return cast("Consumer", made)


def subscribe(consumer: Consumer, topic: str, listener: Listener) -> None:
    """Take part in the consumer's group on `topic`; `listener` is told of its share."""
    cast("Any", ConsumerRebalanceListener).register(type(listener))  # its methods are said to await nothing
    consumer.subscribe([topic], listener=listener)


def was_evicted(consumer: Consumer) -> bool:
    """Tell whether the group no longer knows this member: its session ended, or another took its instance id.

    aiokafka would join again under the same instance id and take the partitions back from whoever has them now.
    """
    return bool(cast("Any", consumer)._coordinator.generation < 0)  # noqa: SLF001  # it tells nowhere else


def raise_refusal(consumer: Consumer) -> None:
    """Raise what brokers refuse this member of a group for: aiokafka keeps it until it is asked for records."""
    cast("Any", consumer)._coordinator.check_errors()  # noqa: SLF001  # nobody asks for records before it has joined


async def start(client: Admin | Consumer | Producer) -> None:
    """Connect. Why a broker did not take us is raised as that: aiokafka logs it and says that none answered."""
    heard = _Heard()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(heard)
    connecting = _connecting.set(heard)
    try:
        await client.start()
    except kafka_errors.KafkaConnectionError:
        if heard.refusal is not None:
            raise heard.refusal from None
        raise
    finally:
        _connecting.reset(connecting)
        logger.removeHandler(heard)


class _Heard(logging.Handler):
    """What aiokafka logs instead of raising it, of the one client that connects in this task or in one of its own."""

    refusal: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep why we were not taken; that a connection was closed says the least."""
        refusal = refusal_in(record) if _connecting.get() is self else None
        if refusal is not None and (self.refusal is None or not isinstance(refusal, ClosedAtOnce)):
            self.refusal = refusal


_connecting: ContextVar[_Heard | None] = ContextVar("_connecting", default=None)  # whose client logs


async def stop(producer: Producer, patience_ms: int) -> None:
    """Send what is queued and stop, within `patience_ms`; then let go of the connections with what is left."""
    try:
        async with asyncio.timeout(patience_ms / 1000):
            await producer.stop()
    except (TimeoutError, kafka_errors.KafkaError, AssertionError):
        await cast("Any", producer).client.close()


async def leave(consumer: Consumer) -> None:
    """Stop a consumer; hang up after LEAVE_MS_MAX on a coordinator that lets us wait for other members to join.

    aiokafka would wait for as long as they take. One whose fetcher pauses, because brokers are away, is cancelled by
    aiokafka into our task.
    """
    hurry = asyncio.get_running_loop().call_later(LEAVE_MS_MAX / 1000, _hang_up, consumer)
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        await cast("Any", consumer)._client.close()  # noqa: SLF001  # what its stop would have done next
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    finally:
        hurry.cancel()


def _hang_up(consumer: Consumer) -> None:
    """Close the connections to its group's coordinator: what it asked there fails, and as it stops it asks no more."""
    connections: Mapping[tuple[object, object], Any] = cast("Any", consumer)._client._conns  # noqa: SLF001  # it has no deadline
    for (_, kind), connection in list(connections.items()):
        if kind == ConnectionGroup.COORDINATION:
            connection.close()


async def end_transactions(producer: Producer, patience_ms: int) -> None:
    """Stop a transactional producer, whatever state it is in; what it left open is settled by its successor."""
    await stop(producer, patience_ms)
    waiter: asyncio.Future[None] | None = cast("Any", producer)._txn_manager.wait_for_transaction_end()  # noqa: SLF001
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()  # aiokafka sets it beside the error it raises; unread, the loop would complain


async def end_producer(producer: Producer, patience_ms: int) -> None:
    """Stop a producer that is not transactional, whatever state it is in; what it had not sent by then it drops."""
    try:
        async with asyncio.timeout(patience_ms / 1000):
            await producer.stop()
    except (TimeoutError, kafka_errors.KafkaError):
        await cast("Any", producer)._sender.close()  # noqa: SLF001  # stop was interrupted before this
        await cast("Any", producer).client.close()


async def known_partitions(producer: Producer, topic: str) -> int:
    """Return how many partitions `topic` has, 0 when brokers do not show it.

    It is looked up among all topics: asking for one by its name could create it.
    """
    topics = await cast("Any", producer).client.fetch_all_metadata()
    return len(topics.partitions_for_topic(topic) or ())


@asynccontextmanager
async def told(connection: Connection, doing: str) -> AsyncGenerator[None]:
    """Let what fails inside be told as one of our errors: `doing` and the remedy."""
    try:
        async with asyncio.timeout(connection.answer_ms / 1000):
            yield
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise explain(error, connection, doing) from error


def explain(error: Exception, connection: Connection, doing: str) -> FlowgaugeError:
    """Return what `error` means and what to do about it."""
    error = _cause(error)
    kind, meaning = _refused(error, connection) or _put_out(error, connection) or _broken(error, connection)
    return kind(f"Kafka at {connection.bootstrap}: cannot {doing}: {meaning}")


def broken_by(producer: Producer, error: BaseException) -> BaseException:
    """Return what broke a transaction, where aiokafka says only that the producer is of no use any more."""
    if isinstance(error, AssertionError | kafka_errors.IllegalOperation):
        waiter: asyncio.Future[None] | None = cast("Any", producer)._txn_manager.wait_for_transaction_end()  # noqa: SLF001
        if waiter is not None and waiter.done() and not waiter.cancelled():
            return waiter.exception() or error
    return error


def _cause(error: Exception) -> Exception:
    """Return what ended aiokafka's own task, where it says only that something did."""
    while type(error) is kafka_errors.KafkaError and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if type(error) is kafka_errors.KafkaError and FencedInstanceId.__name__ in str(error):  # told as a text only
        return FencedInstanceId()
    return error


def _refused(error: Exception, connection: Connection) -> tuple[type[FlowgaugeError], str] | None:
    """Return the meaning of what the brokers' operator, or ours, can mend."""
    if meaning := meaning_of_refusal(error, connection.security):
        return BadEnvironment, meaning
    match error:
        case kafka_errors.KafkaConnectionError():
            return BadEnvironment, "no broker answers (start it, or correct kafka.bootstrap and kafka.tls)"
        case (
            kafka_errors.TopicAuthorizationFailedError()
            | kafka_errors.GroupAuthorizationFailedError()
            | kafka_errors.ClusterAuthorizationFailedError()
            | kafka_errors.TransactionalIdAuthorizationFailed()
        ):
            return BadEnvironment, f"not allowed ({error}): grant it for the prefix {connection.prefix!r}"
        case kafka_errors.MessageSizeTooLargeError() | kafka_errors.RecordListTooLargeError():
            return BadEnvironment, (
                f"too large for the topic ({type(error).__name__}): give it max.message.bytes={REQUEST_BYTES_MAX} "
                "(flowgauge topics apply)"
            )
        case kafka_errors.InvalidTransactionTimeout():
            return BadEnvironment, (
                f"it allows no transaction of {connection.transaction_ms} ms: lower kafka.transaction_timeout, or "
                "raise the brokers' transaction.max.timeout.ms"
            )
        case _:
            return None


def _put_out(error: Exception, connection: Connection) -> tuple[type[FlowgaugeError], str] | None:
    """Return the meaning of what says that brokers no longer know this process as the owner."""
    match error:
        case (
            kafka_errors.ProducerFenced()
            | kafka_errors.InvalidProducerEpoch()
            | kafka_errors.CommitFailedError()
            | kafka_errors.UnknownMemberIdError()
            | kafka_errors.IllegalGenerationError()
            | FencedInstanceId()
        ):
            return Fenced, (
                f"another process has taken over ({type(error).__name__}), or this one stood still for too long; it "
                f"ends (if both are to run, give each its own kafka.instance: this one is {connection.instance!r})"
            )
        case kafka_errors.InvalidTxnState() | kafka_errors.InvalidProducerIdMapping():
            return InvariantBroken, (
                f"brokers have forgotten its transaction ({type(error).__name__}): it stood still for longer than "
                "kafka.transaction_timeout or the brokers' transactional.id.expiration.ms; it ends, and the next "
                "start goes on from what was committed"
            )
        case _:
            return None


def _broken(error: Exception, connection: Connection) -> tuple[type[FlowgaugeError], str]:
    match error:
        case kafka_errors.CorruptRecordException():
            return InvariantBroken, f"a record is damaged ({error}): restore the partition from a replica or a backup"
        case kafka_errors.OutOfOrderSequenceNumber() | kafka_errors.UnknownProducerId():
            # What came before was refused, so brokers refuse this too; the writer goes on with a new producer.
            return Transient, f"{type(error).__name__}; trying again"
        case TimeoutError():
            return Transient, f"no answer within {connection.answer_ms} ms; trying again"
        case kafka_errors.KafkaError(retriable=True) | OSError():
            return Transient, f"{error!r}; trying again"
        case _:
            return InvariantBroken, repr(error)


def _common(connection: Connection) -> dict[str, Any]:
    security = connection.security
    options: dict[str, Any] = {
        "bootstrap_servers": connection.bootstrap,
        "client_id": f"{connection.prefix}-{connection.instance or 'client'}",
        "security_protocol": security.protocol,
        **connection.client,
    }
    if security.tls:
        options["ssl_context"] = tls_context(security)
    if security.mechanism:
        options["sasl_mechanism"] = security.mechanism
    if security.token is not None:
        options["sasl_oauth_token_provider"] = TokenProvider(security.token)
    elif security.mechanism:
        options |= {"sasl_plain_username": security.username, "sasl_plain_password": security.password}
    return options
