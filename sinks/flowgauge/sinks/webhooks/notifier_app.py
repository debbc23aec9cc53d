"""The notifier: reads transitions and controls, keeps the outbox, tells channels. The shell around outbox.py.

    0. at the start: read what people said, silences above all, to the end
One step of a partition:
    1. read what is new, take in what people said since, and the outcomes of attempts that ended
    2. begin what is due: `started` is committed with state, delivery records and offset as one
    3. only then the attempts go out, several at a time, each within the `attempt_ms_max` of its kind
A kill between 2 and the next step leaves `started` behind: after the restart it is sent again under the same id. Who
was frozen in 2, or before 3, for longer than SEND_WITHIN_MS sends nothing: a successor may be at work.

Caught up means: transitions were read to their end while the detector's clock (`health.clock_ms`) was less than
CLOCK_BEHIND_MS_MAX behind and no history was being loaded. It ends when the clock falls behind: then old transitions
may come again in a rush. Only transitions older than `max_alert_age_ms` at first sight wait for it.

Waking (see outbox.py): a delivery wakes what waits for the same channel, of whatever tenant; new channels or rules, as
somebody who mended them expects, probe each failing channel; so does the circuit of an endpoint, now and then.

Shutdown: begin nothing more, give attempts SHUTDOWN_MS_MAX to end and commit their outcomes, cancel the others (they
are `started`: the next start repeats them). An endpoint's trouble is recorded, shown in health, retried, and never
stops the rest. Fenced and other broken invariants end the notifier.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from flowgauge.schemas import topics
from flowgauge.schemas.control import Control
from flowgauge.schemas.counted import counted
from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX, DeadLetter, Delivery, encode_dead_letter, encode_delivery
from flowgauge.schemas.errors import InvariantBroken, Transient, Unreadable
from flowgauge.schemas.event import encode_event
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.transition import Transition, decode_transition, encode_transition
from flowgauge.sinks import metrics
from flowgauge.sinks.webhooks.actions.action import Action
from flowgauge.sinks.webhooks.actions.guard import ActionGuard
from flowgauge.sinks.webhooks.actions.result import result_event
from flowgauge.sinks.webhooks.attempt import Sender, Wording
from flowgauge.sinks.webhooks.backlog import merged
from flowgauge.sinks.webhooks.channel_health import ChannelHealth
from flowgauge.sinks.webhooks.circuit import Circuits
from flowgauge.sinks.webhooks.delivery_watch import DeliveryWatch
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.outbox import PROBES, WOKEN_BY_SUCCESS, Outbox
from flowgauge.sinks.webhooks.people import People
from flowgauge.sinks.webhooks.places import Place, Places
from flowgauge.sinks.webhooks.policy import Lane, LinePolicy, Ways
from flowgauge.sinks.webhooks.schedule import NO_CHANNEL, NOT_SENT, Verdict
from flowgauge.sinks.webhooks.sends import Send
from flowgauge.transport import wall_clock
from flowgauge.transport.control_book import ControlBook, run_controls
from flowgauge.transport.event_record import event_record
from flowgauge.transport.health import Health
from flowgauge.transport.log import Assigned, Batch, Log, Outgoing, Output, Record, Revoked, Steps
from flowgauge.transport.patience import Patience

GROUP = "notifier"
SHUTDOWN_MS_MAX = 2_000  # for attempts that are out when the end comes
CLOCK_BEHIND_MS_MAX = 60_000  # a detector this close to now tells of the present
RECORDS_MAX = 500  # a poll takes: a step stays short
POLL_MS_MAX = 250  # so that stopping is quick
POLL_MS_WHILE_OUT = 20  # and that an outcome waits little for its commit
SEND_WITHIN_MS = (
    5_000  # after its commit began; far below what a group waits for a member before it gives its part away
)
NO_WORDING = Wording()
BACKLOG_EVERY_MS = 500  # counting it looks at every incident


_log = structlog.get_logger("flowgauge.notifier")


async def run_notifier(
    log: Log,
    places: Callable[[], Places],
    *,
    egress: Egress,
    stop: asyncio.Event,
    health: Health,
    max_alert_age_ms: int,
    now_ms: Callable[[], int] = wall_clock.now_ms,
    wording: Wording = NO_WORDING,
) -> None:
    """Tell channels about transitions, and run actions, until `stop` is set. `places` gives those that apply now."""
    notifier = _Notifier(
        log=log,
        places=places,
        sender=Sender(egress, os.environ, now_ms, wording),
        stop=stop,
        health=health,
        max_alert_age_ms=max_alert_age_ms,
        now_ms=now_ms,
    )
    await notifier.run()


@dataclass(frozen=True, slots=True)
class _Finished:
    """An attempt that ended. The outbox says whether it still is ours."""

    outbox: Outbox
    send: Send
    verdict: Verdict
    place: Place


@dataclass(slots=True)
class _Notifier:
    log: Log
    places: Callable[[], Places]
    sender: Sender
    stop: asyncio.Event
    health: Health
    max_alert_age_ms: int
    now_ms: Callable[[], int]
    outboxes: dict[int, Outbox] = field(default_factory=dict[int, Outbox])
    caught_up: set[int] = field(default_factory=set[int])
    positions: dict[int, int] = field(default_factory=dict[int, int])
    finished: deque[_Finished] = field(default_factory=deque[_Finished])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    circuits: Circuits = field(default_factory=Circuits)
    watch: DeliveryWatch = field(default_factory=DeliveryWatch)
    counted_at: float = 0.0
    started_ms: int = field(init=False)
    now: Places = field(init=False)  # where lanes lead now
    guard: ActionGuard = field(init=False)
    controls: ControlBook = field(init=False)
    people: People = field(init=False)
    ways: Ways = field(init=False)
    channel_health: ChannelHealth = field(init=False)
    patiently: Patience = field(init=False)

    def __post_init__(self) -> None:
        self.started_ms = self.now_ms()
        self.now = self.places()
        self.channel_health = ChannelHealth(self.health)
        self.patiently = Patience("notifier", self.health, self.stop)
        self.controls = ControlBook(self.log, self.health, self._take)
        self.people = People(self.controls.in_force)
        self.guard = ActionGuard(self.now.run_actions, self.controls.in_force.are_actions_stopped)
        people = self.people
        self.ways = Ways(self._policy, people.hidden, people.concluded, people.is_looked_after, self._routed)

    def _take(self, control: Control) -> None:
        self.people.take(control)

    async def run(self) -> None:
        await self.patiently.unless_stopped(self.controls.refresh)
        if not self.controls.is_read.is_set():
            return
        steps = await self.patiently.unless_stopped(lambda: self.log.open_steps(topics.TRANSITIONS, GROUP))
        if steps is None:
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(run_controls(self.controls, stop=self.stop, health=self.health))
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
        items = await self.patiently(lambda: steps.poll(records_max=RECORDS_MAX, timeout_ms=timeout_ms))
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
        self._note_channels(now_ms)
        if self.people.apply_fresh(self.outboxes.values(), now_ms):
            self.circuits.forget()  # who has it sent again believes that the endpoint is mended
        self._settle(now_ms)
        self._probe(now_ms)
        await self._note_caught_up(now_ms)
        for partition in list(self.outboxes):
            sends = self._begin(partition, now_ms)
            began = await self._commit(steps, partition, read.get(partition), dead_letters.get(partition, []))
            self._launch(group, partition, sends, until=began + SEND_WITHIN_MS / 1000)
        self._count_backlog()

    def _assign(self, assigned: Assigned, now_ms: int) -> None:
        outbox = Outbox(max_alert_age_ms=self.max_alert_age_ms, ways=self.ways)
        try:
            outbox.restore(assigned.state, now_ms)
        except Unreadable as error:
            where = f"{topics.OUTBOX}, of {topics.TRANSITIONS} partition {assigned.partition}"
            raise InvariantBroken(f"{where}: {error}") from error
        self.people.apply_all(outbox, now_ms)
        for each in outbox.open_incidents():
            self.watch.go_on(each)
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
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                _log.error("transition unreadable", partition=batch.partition, offset=record.offset)
                unreadable.append(_dead_letter(record, batch.partition, str(error), now_ms))
                continue
            outbox.see(transition, now_ms=now_ms, is_caught_up=is_caught_up)
            if transition.at_ms < self.started_ms:
                self.watch.go_on(transition)
        if outbox.refused_incidents > refused:
            _log.error("too many incidents", refused=outbox.refused_incidents - refused)
            self.health.problems["notifier bounds"] = (
                f"{counted(outbox.refused_incidents, 'incident')} not told: too many are open"
            )
        return unreadable

    def _note_channels(self, now_ms: int) -> None:
        places = self.places()
        if places is self.now:
            return
        self.now = places
        self.channel_health.forget_given_up()
        self.circuits.forget()
        for outbox in self.outboxes.values():
            outbox.wake(now_ms, PROBES)

    def _settle(self, now_ms: int) -> None:
        owned = {id(outbox) for outbox in self.outboxes.values()}
        while self.finished:
            done = self.finished.popleft()
            self.circuits.note(done.place.kind.endpoint, done.verdict, now_ms)
            metrics.ATTEMPT_SECONDS.observe(done.verdict.elapsed_ms / 1000)
            if id(done.outbox) not in owned:
                continue
            done.outbox.settle(done.send, done.verdict, now_ms)
            if done.verdict.outcome == "delivered":
                self._wake(done.place, now_ms)
            _log_outcome(done.send, done.verdict)

    def _wake(self, place: Place, now_ms: int) -> None:
        for outbox in self.outboxes.values():
            outbox.wake(now_ms, WOKEN_BY_SUCCESS, lambda lane: self.now.find(lane) is place)

    def _probe(self, now_ms: int) -> None:
        if due := self.circuits.due(now_ms):
            for outbox in self.outboxes.values():
                outbox.wake(now_ms, PROBES, lambda lane: self.now.endpoint(lane) in due)

    def _policy(self, lane: Lane) -> LinePolicy:
        return self.now.policy(lane)

    def _routed(self, about: Transition) -> tuple[str, ...]:
        return self.now.routed(about)

    async def _note_caught_up(self, now_ms: int) -> None:
        if not self._is_live(now_ms):
            self.caught_up.clear()
            return
        if self.caught_up != self.outboxes.keys():
            ends = await self.patiently(lambda: self.log.ends(topics.TRANSITIONS))
            self.caught_up |= {each for each in self.outboxes if self.positions[each] >= ends[each]}
        for partition in self.caught_up:
            if self.outboxes[partition].withholds:
                self.outboxes[partition].release(now_ms)

    def _is_live(self, now_ms: int) -> bool:
        return not self.health.loading and now_ms - self.health.clock_ms <= CLOCK_BEHIND_MS_MAX

    def _begin(self, partition: int, now_ms: int) -> list[tuple[Send, Place]]:
        found: dict[Lane, Place] = {}

        def refusal(lane: Lane, about: Transition) -> Verdict | None:
            place = self.now.find(lane)
            if place is None:
                return Verdict("failed", NO_CHANNEL)  # tried again: it can be added
            if isinstance(place, Action) and (refused := self.guard.refusal(place, about, now_ms)):
                metrics.REFUSED_ACTIONS.labels(refused.reason).inc()
                return refused
            refused = self.circuits.refusal(place.kind.endpoint, now_ms)
            if refused is None:
                found[lane] = place
                if isinstance(place, Action):
                    self.guard.note(place, about, now_ms)
            return refused

        sends = self.outboxes[partition].begin_due(now_ms, refusal)
        return [(send, found[send.lane]) for send in sends]

    async def _commit(self, steps: Steps, partition: int, next_offset: int | None, more: Sequence[Output]) -> float:
        """Return when, by the loop's clock, the commit began: by then the partition was still ours."""
        began = asyncio.get_running_loop().time()
        changes = self.outboxes[partition].take_changes()
        if next_offset is None and not changes.state and not changes.records:
            return began
        spread = self.log.partitions(topics.DELIVERIES)
        outputs = [
            Output(
                topics.DELIVERIES,
                Outgoing(events_partition(each.incident_id, spread), each.incident_id, encode_delivery(each)),
            )
            for each in changes.records
        ]
        outputs += [*self._troubles(changes.records), *self._results(changes.of_actions)]

        async def commit() -> float:
            began = asyncio.get_running_loop().time()
            await steps.commit(partition, next_offset=next_offset, state=changes.state, outputs=[*outputs, *more])
            return began

        began = await self.patiently(commit)
        self.channel_health.note(changes.records)
        for each in changes.records:
            metrics.DELIVERIES.labels(each.outcome).inc()
        return began

    def _troubles(self, records: Sequence[Delivery]) -> list[Output]:
        """Return the transitions that tell of channels which are not reached, or are again."""
        transitions = self.watch.after(
            records,
            lambda lane: self.circuits.is_open(self.now.endpoint(lane)),
            lambda lane: self.now.channels.watchers(*lane),
            self.now_ms(),
        )
        spread = self.log.partitions(topics.TRANSITIONS)
        return [
            Output(
                topics.TRANSITIONS,
                Outgoing(events_partition(each.incident_id, spread), each.incident_id, encode_transition(each)),
            )
            for each in transitions
        ]

    def _results(self, of_actions: Sequence[tuple[Delivery, Transition]]) -> list[Output]:
        """Return the events that tell how actions ended."""
        now_ms, spread = self.now_ms(), self.log.partitions(topics.EVENTS) if of_actions else 0
        events = [event for each in of_actions if (event := result_event(*each))]
        return [
            Output(
                topics.EVENTS,
                event_record(encode_event(event), tenant=event.tenant, append_ms=now_ms, partitions=spread),
            )
            for event in events
        ]

    def _launch(
        self, group: asyncio.TaskGroup, partition: int, sends: Sequence[tuple[Send, Place]], *, until: float
    ) -> None:
        for send, place in sends:
            task = group.create_task(self._send(self.outboxes[partition], send, place, until=until))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _send(self, outbox: Outbox, send: Send, place: Place, *, until: float) -> None:
        is_late = asyncio.get_running_loop().time() > until
        verdict = Verdict("failed", NOT_SENT, was_tried=False)
        if not is_late:
            metrics.MESSAGES.inc()
            verdict = await self.sender.attempt(place, send, commands=self.now.commands)
        self.finished.append(_Finished(outbox, send, verdict, place))

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
        metrics.OPEN_CIRCUITS.set(self.circuits.count_open())
        metrics.DROPPED_LETTERS.set(sum(outbox.letters.dropped for outbox in self.outboxes.values()))
        metrics.KEPT_LETTERS.set(sum(len(outbox.letters) for outbox in self.outboxes.values()))
        self.channel_health.tell(merged(outbox.backlogs() for outbox in self.outboxes.values()))


def _log_outcome(send: Send, verdict: Verdict) -> None:
    about = {
        "channel": send.channel,
        "rule": send.transition.rule,
        "to": send.transition.to_state,
        "delivery_id": send.delivery_id,
        "attempt": send.attempt,
        "status": verdict.status,
    }
    if verdict.outcome == "delivered":
        _log.info("told", elapsed_ms=verdict.elapsed_ms, **about)
    else:
        _log.warning("not told", reason=verdict.reason, **about)


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
