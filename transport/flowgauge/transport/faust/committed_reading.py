"""Faust's transport, but one that reads committed records only.

Detectors write transitions in transactions; those of one that was aborted never happened. Faust reads them too unless
it writes transactions itself, and has no setting for it.
"""

from typing import Any, ClassVar, cast

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

__all__ = ["CommittedTransport"]


class _CommittedThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = cast("Any", super()._create_worker_consumer(transport))
        consumer._isolation_level = "read_committed"  # noqa: SLF001  # read at its start
        return consumer


class _CommittedConsumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _CommittedThread(self, loop=self.loop, beacon=cast("Any", self).beacon)


class CommittedTransport(Transport):
    """Kafka by aiokafka, with isolation level read_committed."""

    Consumer: ClassVar[Any] = _CommittedConsumer
