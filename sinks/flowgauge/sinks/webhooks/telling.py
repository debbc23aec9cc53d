"""The telling of one incident: what each channel was told of it, and what it is still owed.

A channel is owed at most two transitions, the head of its line and the newest one:

    firing                    [firing]              the opening: what a channel hears first is never dropped
    … no_data                 [firing, no_data]
    … resolved                [firing, resolved]    no_data was never sent: superseded, recorded
    firing delivered          [resolved]
    firing dead               []                    a channel that never heard of the incident hears no resolve

The head leaves the line when it is delivered, dead, or has failed and something newer waits that the channel may hear
at once. Transitions are told in the order of the incident; one that was seen before changes nothing.

A head that failed waits for the schedule. `wake` brings it forward once its channel is well again:

    failed ──────────┬───────────────────┬── scheduled_ms: tried whatever happens, a failure here uses up the schedule
                  wake_ms: not before    └── an early attempt that fails leaves the schedule as it was; the next early
                  (Retry-After, 5 s)         one waits 5 s, 30 s, 2 m … so that their number is bounded as well
Everything here is pure: the time comes in, records come out. Read `outbox` next.
"""

from collections.abc import Iterator

import msgspec

from flowgauge.schemas.delivery import Delivery, Outcome
from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.message import fitted
from flowgauge.sinks.webhooks.schedule import RETRY_AFTER_MS_MAX, WAIT_MS_MAX, Verdict, retry_delay_ms

TOLD_STATES = frozenset({"firing", "no_data", "resolved"})  # pending, recovering and inactive are never told
CHANNELS_MAX = 16  # of one incident; with two transitions each, its record stays far below 256 kB

NEWER = "a newer state took its place before it was delivered"
NEVER_TOLD = "the channel was never told of the incident"
TOO_MANY_CHANNELS = f"the incident names more than {CHANNELS_MAX} channels"
OLD = "older than max_alert_age when it was first seen"
GAVE_UP = "gave up: "


class Owed(msgspec.Struct, array_like=True):
    """One transition that a channel has not been told of yet."""

    transition_id: str
    due_ms: int
    attempt: int = 0  # how many were begun
    failures: int = 0  # how many of these are known to have failed
    recorded_ms: int = 0  # `at_ms` of its newest record: the next one's is later, whatever the clock does
    is_started: bool = False  # an attempt is out, its outcome unknown
    scheduled_ms: int = 0  # when the schedule tries it again; `due_ms` is earlier once it was woken
    wake_ms: int = 0  # it is not woken before
    early: int = 0  # attempts before `scheduled_ms` that failed, since the newest that used up the schedule
    reason: str = ""  # of the newest failure

    @property
    def waits(self) -> bool:
        """An attempt failed and the next one has not begun."""
        return bool(self.failures or self.early) and not self.is_started


class Line(msgspec.Struct, array_like=True):
    """What one channel is owed, in order."""

    is_told: bool = False  # it has been told something, so it must be told of the end
    owed: list[Owed] = []


class Telling(msgspec.Struct, array_like=True):
    """One incident. `transitions` holds what a line or a later release may need, by id."""

    tenant: str
    is_withheld: bool  # seen too late, before the notifier had caught up: recorded, not told
    seq: int = -1  # of the newest transition that was seen
    newest: str = ""  # its id
    is_closed: bool = False
    lines: dict[str, Line] = {}
    transitions: dict[str, Transition] = {}

    @property
    def is_over(self) -> bool:
        """Nothing will be told any more: the record can go."""
        return self.is_closed and not any(line.owed for line in self.lines.values())


def is_immediate(transition: Transition) -> bool:
    """Tell whether this is an incident of one moment, which closes without a message."""
    return transition.rule_kind == "prefect" or (transition.rule_kind == "event" and transition.window_ms == 0)


def is_told(transition: Transition) -> bool:
    """Tell whether people hear of a transition: not of a firing that goes on after a recovery nobody was told of."""
    goes_on = transition.from_state == "recovering" and transition.to_state == "firing"
    return transition.to_state in TOLD_STATES and not goes_on


def add(telling: Telling, transition: Transition, now_ms: int) -> Iterator[Delivery]:
    """Take in a transition of TOLD_STATES, newer than all seen; yield what is recorded about it."""
    telling.seq = transition.seq
    telling.newest = transition.transition_id
    telling.transitions[transition.transition_id] = fitted(transition)
    is_resolved = transition.to_state == "resolved"
    telling.is_closed = is_resolved or is_immediate(transition)
    for channel in _channels(telling, transition):
        line = telling.lines.get(channel)
        if line is None:
            if len(telling.lines) >= CHANNELS_MAX:
                yield record(transition, channel, Owed("", now_ms), "dead", now_ms=now_ms, reason=TOO_MANY_CHANNELS)
                continue
            line = telling.lines[channel] = Line()
        if telling.is_withheld:
            yield record(transition, channel, Owed("", now_ms), "backfilled", now_ms=now_ms, reason=OLD)
        else:
            yield from _queue(telling, channel, transition, now_ms)
    _forget_unneeded(telling)


def release(telling: Telling, now_ms: int) -> None:
    """Owe each channel the newest state: the notifier has caught up and the incident is still open."""
    telling.is_withheld = False
    for line in telling.lines.values():
        line.owed.append(Owed(telling.newest, now_ms))


def begin(telling: Telling, channel: str, now_ms: int) -> Delivery:
    """Begin an attempt at the head of the line; the record is to be durable before the attempt goes out."""
    owed = telling.lines[channel].owed[0]
    owed.attempt += 1
    owed.is_started = True
    return record(telling.transitions[owed.transition_id], channel, owed, "started", now_ms=now_ms)


def settle(telling: Telling, channel: str, verdict: Verdict, now_ms: int) -> Iterator[Delivery]:
    """Take in the outcome of the attempt at the head of the line; yield what is recorded about it."""
    line = telling.lines[channel]
    owed = line.owed[0]
    owed.is_started = False
    transition = telling.transitions[owed.transition_id]
    if verdict.outcome == "failed":
        if _put_off(owed, channel, verdict, now_ms):
            yield _outcome(transition, channel, owed, verdict=verdict, now_ms=now_ms)
            if line.is_told and len(line.owed) > 1:
                yield record(transition, channel, owed, "superseded", now_ms=now_ms, reason=NEWER)
                _pop(line, now_ms)
                _forget_unneeded(telling)
            return
        verdict = Verdict("dead", GAVE_UP + verdict.reason, verdict.status, verdict.elapsed_ms)
    yield _outcome(transition, channel, owed, verdict=verdict, now_ms=now_ms)
    line.is_told |= verdict.outcome == "delivered"
    _pop(line, now_ms)
    if line.owed and not line.is_told:
        following = telling.transitions[line.owed[0].transition_id]
        if following.to_state == "resolved":
            yield record(following, channel, line.owed[0], "superseded", now_ms=now_ms, reason=NEVER_TOLD)
            _pop(line, now_ms)
    _forget_unneeded(telling)


def wake(telling: Telling, channel: str, now_ms: int) -> bool:
    """Bring the head forward that waits after a failure; tell whether that made it due any sooner."""
    owed = telling.lines[channel].owed
    soon_ms = max(now_ms, owed[0].wake_ms) if owed else 0
    if not owed or not owed[0].waits or owed[0].due_ms <= soon_ms:
        return False
    owed[0].due_ms = soon_ms
    return True


def resume(telling: Telling, now_ms: int) -> None:
    """Make ready after a restart: an attempt of unknown outcome is due again, under the same delivery id."""
    for line in telling.lines.values():
        for owed in line.owed:
            owed.scheduled_ms = min(owed.scheduled_ms, now_ms + WAIT_MS_MAX)  # the clock may have been far ahead
            owed.wake_ms = min(owed.wake_ms, owed.scheduled_ms)
            owed.due_ms = now_ms if owed.is_started else min(owed.due_ms, now_ms + WAIT_MS_MAX)
            owed.is_started = False


def step_back(telling: Telling, back_ms: int) -> None:
    """Move all that is due along with a clock that stepped back."""
    for line in telling.lines.values():
        for owed in line.owed:
            owed.due_ms -= back_ms
            owed.scheduled_ms -= back_ms
            owed.wake_ms -= back_ms


def record(
    transition: Transition, channel: str, owed: Owed, outcome: Outcome, *, now_ms: int, reason: str = ""
) -> Delivery:
    """Return one step in the life of a delivery, later than all before it."""
    owed.recorded_ms = max(now_ms, owed.recorded_ms + 1)
    return Delivery(
        delivery_id=delivery_id(transition.transition_id, channel),
        transition_id=transition.transition_id,
        incident_id=transition.incident_id,
        tenant=transition.tenant,
        rule=transition.rule,
        channel=channel,
        to_state=transition.to_state,
        attempt=owed.attempt,
        outcome=outcome,
        at_ms=owed.recorded_ms,
        reason=reason,
    )


def _put_off(owed: Owed, channel: str, verdict: Verdict, now_ms: int) -> bool:
    """Set when a failed attempt is repeated; False when the schedule is used up."""
    delivery = delivery_id(owed.transition_id, channel)
    owed.reason = verdict.reason
    if now_ms < owed.scheduled_ms:
        owed.early += 1
        owed.due_ms = max(owed.scheduled_ms, now_ms + min(verdict.retry_after_ms, RETRY_AFTER_MS_MAX))
    else:
        owed.early = 0
        owed.failures += 1
        wait_ms = retry_delay_ms(delivery, owed.failures, verdict.retry_after_ms)
        if wait_ms is None:
            return False
        owed.due_ms = now_ms + wait_ms
    owed.scheduled_ms = owed.due_ms
    patience_ms = retry_delay_ms(delivery, owed.early + 1, verdict.retry_after_ms)
    owed.wake_ms = owed.due_ms if patience_ms is None else min(owed.due_ms, now_ms + patience_ms)
    return True


def _outcome(transition: Transition, channel: str, owed: Owed, *, verdict: Verdict, now_ms: int) -> Delivery:
    return msgspec.structs.replace(
        record(transition, channel, owed, verdict.outcome, now_ms=now_ms, reason=verdict.reason),
        status=verdict.status,
        elapsed_ms=verdict.elapsed_ms,
        next_attempt_ms=owed.due_ms if verdict.outcome == "failed" else 0,
    )


def _channels(telling: Telling, transition: Transition) -> list[str]:
    """Whom this transition concerns: those it names; the end also those that heard of it under an older rule."""
    named = list(dict.fromkeys(transition.notify))
    return named + [name for name in telling.lines if name not in named] if telling.is_closed else named


def _queue(telling: Telling, channel: str, transition: Transition, now_ms: int) -> Iterator[Delivery]:
    line = telling.lines[channel]
    kept: list[Owed] = []
    for owed in line.owed:
        if owed.is_started or not (line.is_told or kept):  # out now, or the opening
            kept.append(owed)
        else:
            yield record(
                telling.transitions[owed.transition_id], channel, owed, "superseded", now_ms=now_ms, reason=NEWER
            )
    newest = Owed(transition.transition_id, now_ms)
    if transition.to_state == "resolved" and not line.is_told and not kept:
        yield record(transition, channel, newest, "superseded", now_ms=now_ms, reason=NEVER_TOLD)
    else:
        kept.append(newest)
    line.owed = kept


def _pop(line: Line, now_ms: int) -> None:
    """Take the head away; what follows is due at once: the endpoint may be well again."""
    del line.owed[0]
    if line.owed:
        line.owed[0].due_ms = now_ms


def _forget_unneeded(telling: Telling) -> None:
    needed = {owed.transition_id for line in telling.lines.values() for owed in line.owed}
    if telling.is_withheld:
        needed.add(telling.newest)
    for name in telling.transitions.keys() - needed:
        del telling.transitions[name]
