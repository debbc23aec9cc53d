"""The notifier: reads transitions, keeps the outbox, sends signed webhooks. The shell around outbox.py.

One step of a partition:
    1. read what is new, take in the outcomes of attempts that ended
    2. begin what is due: `started` is committed with state, delivery records and offset as one
    3. only then the attempts go out, several at a time, each within ATTEMPT_MS_MAX
A kill between 2 and the next step leaves `started` behind: after the restart it is sent again under the same id.

Caught up means: transitions were read to their end while the detector's clock (`health.clock_ms`) was less than
CLOCK_BEHIND_MS_MAX behind and no history was being loaded. It ends when the clock falls behind: then old transitions
may come again in a rush. Only transitions older than `max_alert_age_ms` at first sight wait for it.

Shutdown: begin nothing more, give attempts SHUTDOWN_MS_MAX to end and commit their outcomes, cancel the others (they
are `started`: the next start repeats them). An endpoint's trouble is recorded, shown in `health.problems`, retried,
and never stops the rest. Fenced and other broken invariants end the notifier.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from flowgauge.schemas import topics
from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX, DeadLetter, encode_dead_letter, encode_delivery
from flowgauge.schemas.errors import InvalidSettings, Transient
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.settings import SECRET_CHARS_MAX, resolve_secret
from flowgauge.schemas.transition import decode_transition
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.egress import AddressRefused, Egress, EgressFailed
from flowgauge.sinks.webhooks.message import message_body, message_headers
from flowgauge.sinks.webhooks.outbox import Outbox, Send
from flowgauge.sinks.webhooks.schedule import GONE, Verdict, judge_answer
from flowgauge.transport import wall_clock
from flowgauge.transport.health import Health
from flowgauge.transport.log import Assigned, Batch, Log, Outgoing, Output, Record, Revoked, Steps
from flowgauge.transport.patience import patiently

GROUP = "notifier"
ATTEMPT_MS_MAX = 15_000  # from reading the secret to the end of the answer
SHUTDOWN_MS_MAX = 2_000  # for attempts that are out when the end comes
CLOCK_BEHIND_MS_MAX = 60_000  # a detector this close to now tells of the present
RECORDS_MAX = 500  # a poll takes: a step stays short
POLL_MS_MAX = 250  # so that stopping is quick
POLL_MS_WHILE_OUT = 20  # and that an outcome waits little for its commit
BACKLOG_EVERY_MS = 500  # counting it looks at every incident

NO_CHANNEL = "no such channel"
NO_SECRET = "secret not available"  # noqa: S105  # a reason, no secret
NOT_SENT = "could not be sent"

_T = TypeVar("_T")

_log = structlog.get_logger("flowgauge.notifier")


async def run_notifier(
    log: Log,
    channels: Callable[[], ChannelBook],
    *,
    egress: Egress,
    stop: asyncio.Event,
    health: Health,
    max_alert_age_ms: int,
    now_ms: Callable[[], int] = wall_clock.now_ms,
    public_url: str = "",
) -> None:
    """Tell channels about transitions until `stop` is set.

    `channels` gives the book that applies now. `public_url` is where people reach the console; messages link to it.
    """
    notifier = _Notifier(
        log=log,
        channels=channels,
        sender=_Sender(egress, os.environ, now_ms, public_url),
        stop=stop,
        health=health,
        max_alert_age_ms=max_alert_age_ms,
        now_ms=now_ms,
    )
    await notifier.run()


@dataclass(frozen=True, slots=True)
class _Sender:
    """Makes one attempt and says what it came to."""

    egress: Egress
    environ: Mapping[str, str]
    now_ms: Callable[[], int]
    public_url: str

    async def attempt(self, channel: Channel, send: Send) -> Verdict:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(ATTEMPT_MS_MAX / 1000):
                return await self._post(channel, send)
        except (InvalidSettings, ValueError):
            verdict = Verdict("failed", NO_SECRET)
        except AddressRefused as refused:
            verdict = Verdict("failed", f"address refused: {refused.reason.value}")  # tried again: it can be opened
        except EgressFailed as failed:
            verdict = Verdict("failed" if failed.retryable else "dead", failed.reason.value)
        except TimeoutError:
            verdict = Verdict("failed", NOT_SENT)
        except Exception as error:  # noqa: BLE001  # one endpoint's trouble is not the others'; shown and tried again
            _log.error("attempt broke", channel=send.channel, error=type(error).__name__)
            verdict = Verdict("failed", NOT_SENT)
        return Verdict(verdict.outcome, verdict.reason, elapsed_ms=round((loop.time() - began) * 1000))

    async def _post(self, channel: Channel, send: Send) -> Verdict:
        secrets = await asyncio.to_thread(self._secrets, channel)
        body = message_body(send.transition, public_url=self.public_url)
        headers = message_headers(secrets, delivery_id=send.delivery_id, now_ms=self.now_ms(), body=body)
        url = channel.webhook.url.get_secret_value()
        answer = await self.egress.post(url, body, headers, deadline_ms=ATTEMPT_MS_MAX)
        retry_after = answer.headers.get("retry-after", "")
        return judge_answer(answer.status, retry_after=retry_after, elapsed_ms=answer.elapsed_ms, now_ms=self.now_ms())

    def _secrets(self, channel: Channel) -> list[str]:
        return [resolve_secret(ref, self.environ, _read_text) for ref in channel.webhook.secrets]


@dataclass(frozen=True, slots=True)
class _Finished:
    """An attempt that ended. The outbox says whether it still is ours."""

    outbox: Outbox
    send: Send
    verdict: Verdict
    url: str


@dataclass(slots=True)
class _Notifier:
    log: Log
    channels: Callable[[], ChannelBook]
    sender: _Sender
    stop: asyncio.Event
    health: Health
    max_alert_age_ms: int
    now_ms: Callable[[], int]
    outboxes: dict[int, Outbox] = field(default_factory=dict[int, Outbox])
    caught_up: set[int] = field(default_factory=set[int])
    positions: dict[int, int] = field(default_factory=dict[int, int])
    finished: deque[_Finished] = field(default_factory=deque[_Finished])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    gone_urls: set[str] = field(default_factory=set[str])  # answered 410; a restart asks each once more
    counted_at: float = 0.0

    async def run(self) -> None:
        steps = await self._patiently(lambda: self.log.open_steps(topics.TRANSITIONS, GROUP))
        try:
            async with asyncio.TaskGroup() as group:
                while not self.stop.is_set():
                    await self._step(steps, group)
                await self._finish(steps)
        except BaseExceptionGroup as broken:
            error = broken.exceptions[0]  # the loop's own: attempts raise nothing
            if not (isinstance(error, Transient) and self.stop.is_set()):
                raise error from None
            _log.warning("outcomes not committed before the end", error=str(error))
        finally:
            await steps.close()

    async def _step(self, steps: Steps, group: asyncio.TaskGroup) -> None:
        timeout_ms = self._poll_ms()
        items = await self._patiently(lambda: steps.poll(records_max=RECORDS_MAX, timeout_ms=timeout_ms))
        now_ms = self.now_ms()
        read: dict[int, int] = {}
        dead_letters: dict[int, list[Output]] = {}
        for item in items:
            match item:
                case Assigned():
                    self._assign(item, now_ms)
                case Revoked():
                    self.outboxes.pop(item.partition, None)
                    self.caught_up.discard(item.partition)
                case Batch():
                    dead_letters[item.partition] = self._see(item, now_ms)
                    read[item.partition] = self.positions[item.partition] = item.next_offset
        self._settle(now_ms)
        await self._note_caught_up(now_ms)
        for partition in list(self.outboxes):
            sends = self._begin(partition, now_ms)
            await self._commit(steps, partition, read.get(partition), dead_letters.get(partition, []))
            self._launch(group, partition, sends)
        self._count_backlog()

    def _assign(self, assigned: Assigned, now_ms: int) -> None:
        outbox = Outbox(max_alert_age_ms=self.max_alert_age_ms)
        outbox.restore(assigned.state, now_ms)
        self.outboxes[assigned.partition] = outbox
        self.positions[assigned.partition] = assigned.next_offset
        self.caught_up.discard(assigned.partition)

    def _see(self, batch: Batch, now_ms: int) -> list[Output]:
        """Take in a batch; return what could not be read, for the dlq."""
        outbox = self.outboxes[batch.partition]
        is_caught_up = batch.partition in self.caught_up and self._is_live(now_ms)
        refused = outbox.refused_incidents
        unreadable: list[Output] = []
        for record in batch.records:
            try:
                transition = decode_transition(record.value or b"")
            except msgspec.DecodeError as error:
                _log.error("transition unreadable", partition=batch.partition, offset=record.offset)
                unreadable.append(_dead_letter(record, batch.partition, str(error), now_ms))
                continue
            outbox.see(transition, now_ms=now_ms, is_caught_up=is_caught_up)
        if outbox.refused_incidents > refused:
            _log.error("too many incidents", refused=outbox.refused_incidents - refused)
            self.health.problems["notifier bounds"] = (
                f"{outbox.refused_incidents} incidents not told: too many are open"
            )
        return unreadable

    def _settle(self, now_ms: int) -> None:
        owned = {id(outbox) for outbox in self.outboxes.values()}
        while self.finished:
            done = self.finished.popleft()
            if id(done.outbox) not in owned:
                continue
            done.outbox.settle(done.send, done.verdict, now_ms)
            if done.verdict.reason == GONE:
                self.gone_urls.add(done.url)
            self._tell_health(done.send, done.verdict)

    def _tell_health(self, send: Send, verdict: Verdict) -> None:
        part = f"channel {send.channel}"
        about = {
            "channel": send.channel,
            "rule": send.transition.rule,
            "to": send.transition.to_state,
            "delivery_id": send.delivery_id,
            "attempt": send.attempt,
            "status": verdict.status,
        }
        if verdict.outcome == "delivered":
            self.health.problems.pop(part, None)
            _log.info("webhook delivered", elapsed_ms=verdict.elapsed_ms, **about)
        else:
            self.health.problems[part] = f"attempt {send.attempt} {verdict.outcome}: {verdict.reason}"
            _log.warning("webhook not delivered", reason=verdict.reason, **about)

    async def _note_caught_up(self, now_ms: int) -> None:
        if not self._is_live(now_ms):
            self.caught_up.clear()
            return
        if self.caught_up != self.outboxes.keys():
            ends = await self._patiently(lambda: self.log.ends(topics.TRANSITIONS))
            self.caught_up |= {each for each in self.outboxes if self.positions[each] >= ends[each]}
        for partition in self.caught_up:
            if self.outboxes[partition].withholds:
                self.outboxes[partition].release(now_ms)

    def _is_live(self, now_ms: int) -> bool:
        return not self.health.loading and now_ms - self.health.clock_ms <= CLOCK_BEHIND_MS_MAX

    def _begin(self, partition: int, now_ms: int) -> list[tuple[Send, Channel]]:
        book = self.channels()
        found: dict[tuple[str, str], Channel] = {}

        def refusal(tenant: str, name: str) -> str:
            channel = book.find(tenant, name)
            part = f"channel {name}"
            if channel is None:
                self.health.problems[part] = f"{NO_CHANNEL}: define it under `channels:` or take it out of `notify:`"
                return NO_CHANNEL
            if channel.webhook.url.get_secret_value() in self.gone_urls:
                self.health.problems[part] = GONE
                return GONE
            found[tenant, name] = channel
            return ""

        sends = self.outboxes[partition].begin_due(now_ms, refusal)
        return [(send, found[send.transition.tenant, send.channel]) for send in sends]

    async def _commit(self, steps: Steps, partition: int, next_offset: int | None, more: Sequence[Output]) -> None:
        changes = self.outboxes[partition].take_changes()
        if next_offset is None and not changes.state and not changes.records:
            return
        spread = self.log.partitions(topics.DELIVERIES)
        outputs = [
            Output(
                topics.DELIVERIES,
                Outgoing(events_partition(each.incident_id, spread), each.incident_id, encode_delivery(each)),
            )
            for each in changes.records
        ]
        await self._patiently(
            lambda: steps.commit(partition, next_offset=next_offset, state=changes.state, outputs=[*outputs, *more])
        )

    def _launch(self, group: asyncio.TaskGroup, partition: int, sends: Sequence[tuple[Send, Channel]]) -> None:
        for send, channel in sends:
            task = group.create_task(self._send(self.outboxes[partition], send, channel))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _send(self, outbox: Outbox, send: Send, channel: Channel) -> None:
        verdict = await self.sender.attempt(channel, send)
        self.finished.append(_Finished(outbox, send, verdict, channel.webhook.url.get_secret_value()))

    async def _finish(self, steps: Steps) -> None:
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=SHUTDOWN_MS_MAX / 1000)
        for task in self.tasks:
            task.cancel()
        self._settle(self.now_ms())
        for partition in self.outboxes:
            await self._commit(steps, partition, None, [])

    def _poll_ms(self) -> int:
        now_ms = self.now_ms()
        waits = [wait_ms for outbox in self.outboxes.values() if (wait_ms := outbox.wait_ms(now_ms)) is not None]
        return min([POLL_MS_WHILE_OUT if self.tasks or self.finished else POLL_MS_MAX, *waits])

    def _count_backlog(self) -> None:
        loop_time = asyncio.get_running_loop().time()
        if loop_time - self.counted_at < BACKLOG_EVERY_MS / 1000:
            return
        self.counted_at = loop_time
        backlogs = [backlog for outbox in self.outboxes.values() if (backlog := outbox.backlog()).count]
        self.health.undelivered = sum(backlog.count for backlog in backlogs)
        self.health.undelivered_since_ms = min((backlog.since_ms for backlog in backlogs), default=0)

    async def _patiently(self, action: Callable[[], Awaitable[_T]]) -> _T:
        return await patiently(action, part="notifier", health=self.health, stop=self.stop)


def _read_text(file: str) -> str:
    with Path(file).open(encoding="utf-8") as opened:
        return opened.read(SECRET_CHARS_MAX + 1)


def _dead_letter(record: Record, partition: int, detail: str, now_ms: int) -> Output:
    value = record.value or b""
    letter = DeadLetter(
        tenant="",
        reason="unreadable transition",
        detail=detail,
        origin="notifier",
        at_ms=now_ms,
        value=value[:DEAD_LETTER_BYTES_MAX],
        size=len(value),
        source_partition=partition,
        source_offset=record.offset,
    )
    return Output(topics.DLQ, Outgoing(0, "", encode_dead_letter(letter)))
