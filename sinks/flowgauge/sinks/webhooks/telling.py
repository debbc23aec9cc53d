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
What is held by a silence waits for its end: an incident that is over by then, and of which the channel never heard, is
not told. A channel that is not reached in time has a fallback told as well, once an incident. The lines of actions are
carried out in order: each only what names it, nothing is superseded.
Everything here is pure: the time comes in, records come out. Read `outbox` next.
"""

from collections.abc import Iterator

import msgspec

from flowgauge.schemas.delivery import Delivery, Outcome
from flowgauge.schemas.errors import Unreadable
from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.lane import action_of
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.message import fitted
from flowgauge.sinks.webhooks.policy import Hidden, LinePolicy
from flowgauge.sinks.webhooks.schedule import RETRY_AFTER_MS_MAX, WAIT_MS_MAX, Verdict, retry_delay_ms

TOLD_STATES = frozenset({"firing", "no_data", "resolved"})  # pending, recovering and inactive are never told
CHANNELS_MAX = 16  # of one incident; with two transitions each, its record stays far below 256 kB

NEWER = "a newer state took its place before it was delivered"
NEVER_TOLD = "the channel was never told of the incident"
TOO_MANY_CHANNELS = f"the incident names more than {CHANNELS_MAX} channels"
OLD = "older than max_alert_age when it was first seen"
OVER_WHILE_HIDDEN = "it opened and ended while it was silenced"
UNKNOWN_OUTCOME = "outcome unknown: not repeated"
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
    since_ms: int = 0  # when it was first owed: its fallback counts from here
    is_held: bool = False  # by a silence
    repeat: int = 0  # the how-manieth reminder of a transition that was told
    is_replay: bool = False  # somebody asked for it again

    @property
    def waits(self) -> bool:
        """An attempt failed and the next one has not begun."""
        return bool(self.failures or self.early) and not self.is_started

    @property
    def is_undelivered(self) -> bool:
        """Somebody should have been told by now: not held, and no reminder that is still to come."""
        return not self.is_held and not (self.repeat and not self.attempt)

    def delivery_id(self, channel: str) -> str:
        """Return the id under which it goes out: the same for every attempt, another for every reminder."""
        return delivery_id(self.transition_id, f"{channel} again {self.repeat}" if self.repeat else channel)


class Line(msgspec.Struct, array_like=True):
    """What one channel is owed, in order."""

    is_told: bool = False  # it has been told something, so it must be told of the end
    owed: list[Owed] = []
    reference: str = ""  # by which the channel knows what it was told
    has_fallen_back: bool = False  # its fallback was told


class Telling(msgspec.Struct, array_like=True):
    """One incident. `transitions` holds what a line or a later release may need, by id."""

    tenant: str
    is_withheld: bool  # seen too late, before the notifier had caught up: recorded, not told
    seq: int = -1  # of the newest transition that was seen
    newest: str = ""  # its id
    is_closed: bool = False
    lines: dict[str, Line] = {}
    transitions: dict[str, Transition] = {}
    is_looked_after: bool = False  # acknowledged: no reminders and no fallback
    is_concluded: bool = False  # by a person, whatever its rule says

    @property
    def is_over(self) -> bool:
        """Nothing will be told any more: the record can go."""
        return self.is_closed and not any(line.owed for line in self.lines.values())


_decode = msgspec.msgpack.Decoder(Telling).decode


def read(incident_id: str, encoded: bytes) -> Telling:
    """Return a telling as it was stored; raise Unreadable for what another version wrote."""
    try:
        return _decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"what the notifier keeps of incident {incident_id!r}", error) from error


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
    forget_unneeded(telling)


def release(telling: Telling, now_ms: int) -> None:
    """Owe each channel the newest state: the notifier has caught up and the incident is still open."""
    telling.is_withheld = False
    for channel, line in telling.lines.items():
        if not is_action(channel):  # nobody wants an hour old one carried out
            line.owed.append(Owed(telling.newest, now_ms, since_ms=now_ms))


def begin(telling: Telling, channel: str, now_ms: int) -> Delivery:
    """Begin an attempt at the head of the line; the record is to be durable before the attempt goes out."""
    owed = telling.lines[channel].owed[0]
    owed.attempt += 1
    owed.is_started = True
    return record(telling.transitions[owed.transition_id], channel, owed, "started", now_ms=now_ms)


def settle(
    telling: Telling, channel: str, verdict: Verdict, now_ms: int, *, policy: LinePolicy, drawn_by: str = ""
) -> Iterator[Delivery]:
    """Take in the outcome of the attempt at the head of the line; yield what is recorded about it.

    What failed together is tried again together: `drawn_by` is whose delivery id its jitter is drawn from.
    """
    line = telling.lines[channel]
    owed = line.owed[0]
    owed.is_started = False
    transition = telling.transitions[owed.transition_id]
    if verdict.outcome == "failed":
        if _put_off(owed, verdict, policy, now_ms, drawn_by=drawn_by or owed.delivery_id(channel)):
            _fall_back(telling, channel, policy, now_ms)
            yield _outcome(transition, channel, owed, verdict=verdict, now_ms=now_ms)
            if line.is_told and len(line.owed) > 1 and not is_action(channel):
                yield record(transition, channel, owed, "superseded", now_ms=now_ms, reason=NEWER)
                _pop(line, now_ms)
                forget_unneeded(telling)
            return
        verdict = Verdict("dead", GAVE_UP + verdict.reason, verdict.status, verdict.elapsed_ms)
    if verdict.outcome == "dead":
        _fall_back(telling, channel, policy, now_ms, is_dead=True)
    yield _outcome(transition, channel, owed, verdict=verdict, now_ms=now_ms)
    _pop(line, now_ms)
    if verdict.outcome == "delivered":
        line.is_told = True
        line.reference = verdict.reference or line.reference
        _remind(telling, line, owed, now_ms + policy.repeat_ms if policy.repeat_ms else 0)
    elif line.owed and not line.is_told and not is_action(channel):
        following = telling.transitions[line.owed[0].transition_id]
        if following.to_state == "resolved":
            yield record(following, channel, line.owed[0], "superseded", now_ms=now_ms, reason=NEVER_TOLD)
            _pop(line, now_ms)
    forget_unneeded(telling)


def hold(telling: Telling, channel: str, hidden: Hidden, now_ms: int) -> Iterator[Delivery]:
    """Let the head of the line wait for the end of a silence; record it the first time."""
    owed = telling.lines[channel].owed[0]
    owed.due_ms = hidden.until_ms
    if not owed.is_held:
        owed.is_held = True
        reason = f"silenced by {hidden.by}"
        yield record(telling.transitions[owed.transition_id], channel, owed, "silenced", now_ms=now_ms, reason=reason)


def unhold(telling: Telling, channel: str, now_ms: int) -> Iterator[Delivery]:
    """Let the head of a line go on that a silence held; drop what was over by its end and was never told."""
    line = telling.lines[channel]
    owed = line.owed[0]
    was_over = telling.is_closed and line.owed[-1].since_ms < owed.due_ms  # which is when the silence ended
    if was_over and not (line.is_told or owed.attempt):  # an attempt may have been heard
        for each in line.owed:
            about = telling.transitions[each.transition_id]
            yield record(about, channel, each, "superseded", now_ms=now_ms, reason=OVER_WHILE_HIDDEN)
        line.owed = []
        forget_unneeded(telling)
    else:
        owed.is_held = False
        owed.due_ms = owed.since_ms = now_ms


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
            owed.since_ms -= back_ms


def record(
    transition: Transition, channel: str, owed: Owed, outcome: Outcome, *, now_ms: int, reason: str = ""
) -> Delivery:
    """Return one step in the life of a delivery, later than all before it."""
    owed.recorded_ms = max(now_ms, owed.recorded_ms + 1)
    owed.transition_id = transition.transition_id
    return Delivery(
        delivery_id=owed.delivery_id(channel),
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


def is_action(channel: str) -> bool:
    """Tell whether a line carries out an action."""
    return action_of(channel) is not None


def _put_off(owed: Owed, verdict: Verdict, policy: LinePolicy, now_ms: int, *, drawn_by: str) -> bool:
    """Set when a failed attempt is repeated; False when the schedule is used up."""
    if verdict.was_tried or not owed.reason:
        owed.reason = verdict.reason
    if now_ms < owed.scheduled_ms and not verdict.was_tried:
        owed.due_ms = owed.scheduled_ms
        return True
    if now_ms < owed.scheduled_ms:
        owed.early += 1
        owed.due_ms = max(owed.scheduled_ms, now_ms + min(verdict.retry_after_ms, RETRY_AFTER_MS_MAX))
    else:
        owed.early = 0
        owed.failures += 1
        wait_ms = retry_delay_ms(drawn_by, owed.failures, verdict.retry_after_ms, retry=policy.retry)
        if wait_ms is None:
            return False
        owed.due_ms = now_ms + wait_ms
    owed.scheduled_ms = owed.due_ms
    patience_ms = retry_delay_ms(drawn_by, owed.early + 1, verdict.retry_after_ms, retry=policy.retry)
    owed.wake_ms = owed.due_ms if patience_ms is None else min(owed.due_ms, now_ms + patience_ms)
    fallback_ms = owed.since_ms + policy.fallback_after_ms
    if policy.fallback and now_ms < fallback_ms < owed.due_ms and now_ms + verdict.retry_after_ms <= fallback_ms:
        owed.due_ms = fallback_ms  # the last try before somebody else is told
    return True


def _fall_back(telling: Telling, channel: str, policy: LinePolicy, now_ms: int, *, is_dead: bool = False) -> None:
    """Tell the fallback, once, of what this line was not told in time."""
    line, name = telling.lines[channel], policy.fallback
    owed = line.owed[0]
    is_late = is_dead or max(now_ms, owed.due_ms) > owed.since_ms + policy.fallback_after_ms
    if not name or not is_late or line.has_fallen_back or telling.is_looked_after:
        return
    line.has_fallen_back = True
    if name not in telling.lines and len(telling.lines) < CHANNELS_MAX:
        telling.lines[name] = Line(owed=[Owed(each.transition_id, now_ms, since_ms=now_ms) for each in line.owed])


def _remind(telling: Telling, line: Line, told: Owed, due_ms: int) -> None:
    """Owe a reminder of what was told, as long as nothing newer is owed and nobody looks after it; 0 is never."""
    is_newest = told.transition_id == telling.newest and not line.owed
    if due_ms and is_newest and not telling.is_closed and not telling.is_looked_after:
        line.owed = [Owed(told.transition_id, due_ms, since_ms=due_ms, repeat=told.repeat + 1)]


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
    if not telling.is_closed:
        return named
    return named + [name for name in telling.lines if name not in named and not is_action(name)]


def _queue(telling: Telling, channel: str, transition: Transition, now_ms: int) -> Iterator[Delivery]:
    line = telling.lines[channel]
    newest = Owed(transition.transition_id, now_ms, since_ms=now_ms)
    if is_action(channel):
        line.owed.append(newest)
        return
    kept: list[Owed] = []
    for owed in line.owed:
        if owed.is_started or not (line.is_told or kept):  # out now, or the opening
            kept.append(owed)
        elif not owed.repeat or owed.attempt:
            yield record(
                telling.transitions[owed.transition_id], channel, owed, "superseded", now_ms=now_ms, reason=NEWER
            )
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


def forget_unneeded(telling: Telling) -> None:
    """Keep the transitions that are owed, and the newest of an incident that is open."""
    needed = {owed.transition_id for line in telling.lines.values() for owed in line.owed}
    if not telling.is_closed:
        needed.add(telling.newest)
    for name in telling.transitions.keys() - needed:
        del telling.transitions[name]
