"""A notifier at work on the real log, with real receivers on loopback; for tests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowgauge.schemas import topics
from flowgauge.schemas.delivery import Delivery, decode_delivery
from flowgauge.schemas.ids import events_partition, incident_id, transition_id
from flowgauge.schemas.transition import AlertState, Transition, encode_transition
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.attempt import Wording
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.kinds.webhook import Webhook
from flowgauge.sinks.webhooks.notifier_app import run_notifier
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Batch, Log, Outgoing, Reader

PARTITIONS = {topics.TRANSITIONS: 2, topics.DELIVERIES: 1, topics.DLQ: 1, topics.CONTROLS: 1, topics.EVENTS: 1}
HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BUSY = b"HTTP/1.1 429 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
MOVED = b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"


@dataclass
class Clock:
    """The notifier's wall clock in these tests: it moves when told to."""

    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass(frozen=True)
class Message:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])


@dataclass
class Receiver:
    """Replies with the bytes that stand in line, then with OK; `hangs` never answers."""

    replies: list[bytes] = field(default_factory=list[bytes])
    hangs: bool = False
    messages: list[Message] = field(default_factory=list[Message])
    host: str = "127.0.0.1"
    port: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    connections: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
            self.messages.append(Message(headers, await reader.readexactly(int(headers["content-length"]))))
            async with self.arrived:
                self.arrived.notify_all()
            if self.hangs:
                await reader.read()
            else:
                writer.write(self.replies.pop(0) if self.replies else OK)
                await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def has_come(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.messages) >= count)

    def channel(self, name: str = "ops") -> Channel:
        url = f"http://{self.host}:{self.port}/hook"
        return Channel.model_validate(
            {
                "name": name,
                "retry": "page",
                "webhook": Webhook.model_validate({"url": url, "secret": {"env": "NOTIFIER_TEST_SECRET"}}),
            }
        )


@contextlib.asynccontextmanager
async def receiving(*replies: bytes, hangs: bool = False) -> AsyncGenerator[Receiver]:
    receiver = Receiver(list(replies), hangs)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.connections.append(asyncio.ensure_future(receiver.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    receiver.port = int(server.sockets[0].getsockname()[1])
    async with server:
        yield receiver
    await asyncio.gather(*receiver.connections, return_exceptions=True)


@dataclass
class Running:
    """A notifier at work."""

    log: Log
    health: Health
    clock: Clock
    places: Places

    reader: Reader
    deliveries: list[Delivery] = field(default_factory=list[Delivery])

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(each.to_state, each.outcome, each.reason) for each in self.deliveries]

    @property
    def problems(self) -> dict[str, str]:
        """What tenant acme is told."""
        return self.health.seen_by("acme", is_operator=False).problems

    async def has_recorded(self, outcome: str, count: int = 1) -> None:
        await self.until(lambda: sum(each.outcome == outcome for each in self.deliveries) >= count)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read deliveries, which also lets time pass, until the condition holds."""
        while not condition():
            for item in await self.reader.poll(records_max=1_000, timeout_ms=50):
                if isinstance(item, Batch):
                    self.deliveries += [decode_delivery(record.value or b"") for record in item.records]


@contextlib.asynccontextmanager
async def notifying(
    folder: Path, *channels: Channel, clock: Clock | None = None, health: Health | None = None
) -> AsyncGenerator[Running]:
    log = await open_local_log(folder, partitions=PARTITIONS)
    async with notifying_on(log, *channels, clock=clock, health=health) as running:
        yield running
    await log.close()


@contextlib.asynccontextmanager
async def notifying_on(
    log: Log, *channels: Channel, clock: Clock | None = None, health: Health | None = None
) -> AsyncGenerator[Running]:
    clock = clock or Clock()
    reader = await log.open_reader(topics.DELIVERIES, "test")
    running = Running(log, health or Health(clock_ms=clock.now_ms), clock, Places(ChannelBook(channels)), reader)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            run_notifier(
                log,
                lambda: running.places,
                egress=Egress(EgressPolicy(("127.0.0.1",))),
                stop=stop,
                health=running.health,
                max_alert_age_ms=HOUR_MS,
                now_ms=clock,
                wording=Wording("https://gauge.example"),
            )
        )
        try:
            yield running
        finally:
            stop.set()
    await reader.close()


def transition(
    to: AlertState, seq: int, *, key: str = "orders", at_ms: int = NOW_MS, notify: Sequence[str] = ("ops",)
) -> Transition:
    incident = incident_id("acme", "failing", [key], NOW_MS)
    return Transition(
        transition_id=transition_id(incident, seq, to),
        incident_id=incident,
        seq=seq,
        tenant="acme",
        rule="failing",
        rule_kind="failure_rate",
        rules_version=1,
        key={"flow": key},
        from_state="inactive",
        to_state=to,
        at_ms=at_ms,
        opened_at_ms=at_ms,
        reason="above",
        value=0.6,
        threshold=0.2,
        samples=5,
        window_ms=600_000,
        summary="{{ flow }}: {{ value|percent }}",
        notify=list(notify),
    )


async def tell(log: Log, *transitions: Transition) -> None:
    spread = log.partitions(topics.TRANSITIONS)
    await log.append(
        topics.TRANSITIONS,
        [
            Outgoing(events_partition(each.incident_id, spread), each.incident_id, encode_transition(each))
            for each in transitions
        ],
    )
