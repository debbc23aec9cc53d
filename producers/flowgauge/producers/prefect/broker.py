"""The messaging broker that a Prefect server loads to tell flowgauge everything it publishes.

    PREFECT_SERVER_EVENTS_MESSAGING_BROKER=flowgauge.producers.prefect.broker
    PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED=true      logs too: Prefect publishes none without it
    FLOWGAUGE_URL, FLOWGAUGE_TOKEN                          where flowgauge is, and who we are there; or
    FLOWGAUGE_KAFKA_BOOTSTRAP, FLOWGAUGE_KAFKA_TENANT       the brokers, and the tenant; see KafkaTarget
    FLOWGAUGE_PREFECT_BROKER                                the broker to wrap; default Prefect's memory broker,
                                                            prefect_redis.messaging for servers that share a Redis

Prefect asks of such a module the names Publisher, Consumer, ephemeral_subscription and break_topic. The last two
are the wrapped broker's own. Messages are told before the wrapped broker publishes them, and so
before Prefect drops repeated ids: flowgauge counts by id, and a broker of Prefect's that fails loses us nothing.
Of servers that share a broker each tells what it publishes, not what it consumes: so each message is told once.

A server that is told to stop (SIGTERM) ends without Python's exit functions: uvicorn raises the signal again. So
what is buffered is sent when it stops consuming what we are told of, which every server does last, with the loop
still running: one with services in several of them, one without in those that serve its web sockets. A process of
services alone (`prefect server services start`) handles no SIGTERM: so we flush at it, and let it end as it would have.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Final

from flowgauge.producers.prefect.tee import TOPICS, Emitter, Tee
from flowgauge.producers.publisher import Publisher as _EventPublisher

__all__ = ["Consumer", "Publisher", "break_topic", "ephemeral_subscription", "tee"]

MEMORY_BROKER: Final = "prefect.server.utilities.messaging.memory"

# What a server's stop may take longer when flowgauge is away: well under the 10 s that supervisors give.
FLUSH_MS_MAX: Final = 2_000

_NAMES: Final = ("Publisher", "Consumer", "ephemeral_subscription", "break_topic")  # that Prefect asks of a broker


def _loaded(name: str) -> Any:
    """Return the broker to wrap; one that is none ends the process. Prefect would start, and fail each flow."""
    try:
        broker = import_module(name)
    except ImportError as error:
        raise SystemExit(f"FLOWGAUGE_PREFECT_BROKER={name} cannot be loaded: {error}") from error
    if missing := [each for each in _NAMES if not hasattr(broker, each)]:
        raise SystemExit(f"FLOWGAUGE_PREFECT_BROKER={name} is no broker of Prefect's: it has no {missing[0]}")
    return broker


_wrapped: Any = _loaded(os.environ.get("FLOWGAUGE_PREFECT_BROKER") or MEMORY_BROKER)

ephemeral_subscription: Any = _wrapped.ephemeral_subscription
break_topic: Any = _wrapped.break_topic


def _make_emitter() -> Emitter:
    return _EventPublisher()  # over HTTP or to Kafka, as the environment says


tee: Final = Tee(_make_emitter)


def _flush_before_the_end(number: int, _frame: object) -> None:
    """Flush, then end as if nobody had handled the signal. In a thread: what it waits for may be held by this one."""
    flushing = threading.Thread(target=tee.flush, args=(FLUSH_MS_MAX,), daemon=True)
    flushing.start()
    flushing.join(FLUSH_MS_MAX / 1000)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    signal.signal(signal.SIGTERM, _flush_before_the_end)


class Publisher:
    """The wrapped broker's publisher of one topic, with a tee in front. It holds one and subclasses none.

    So any broker can be wrapped, whatever its publisher needs.
    """

    def __init__(self, topic: str, *args: Any, **kwargs: Any) -> None:
        self._topic = topic
        self._inner: Any = _wrapped.Publisher(topic, *args, **kwargs)

    async def __aenter__(self) -> "Publisher":
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def publish_data(self, data: bytes, attributes: Mapping[str, str]) -> None:
        """Publish one message of the topic, as Prefect calls it."""
        tee.take(self._topic, data)
        await self._inner.publish_data(data, attributes)


class Consumer(_wrapped.Consumer):  # type: ignore[misc]  # Prefect is only there where the plugin runs
    """The wrapped broker's consumer; one that is stopped first sends what is buffered."""

    def __init__(self, topic: str, **kwargs: Any) -> None:
        inherited: Any = super()
        inherited.__init__(topic, **kwargs)
        self._ends_with_server = topic in TOPICS

    async def run(self, handler: Any) -> None:
        """Consume as the wrapped consumer does, until Prefect cancels it; then flush."""
        inherited: Any = super()
        try:
            await inherited.run(handler)
        finally:
            if self._ends_with_server:
                await asyncio.to_thread(tee.flush, FLUSH_MS_MAX)
