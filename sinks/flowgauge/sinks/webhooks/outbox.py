"""The outbox of one transitions partition: which incidents are open, what is owed to whom, and what is due now.

    transition ──► see ───┐                        ┌──► Changes: state and delivery records, committed as one step
    now        ──► begin ─┼─► tellings, in memory ─┤
    outcome    ──► settle ┘                        └──► Sends: go out only after that commit

Laws, which the property tests hold: per incident and channel one attempt is out at a time and order is kept; every
opened incident that is not backfilled is told until it is delivered or dead; a delivery has one id whatever happens;
a resolve never comes before something was delivered; once a channel is well again, what waits for it goes out soon.
No await, no I/O, no clock: `now_ms` comes in and may jump.

Waking: what waits after a failure is brought forward in the order of failing, a few at a time. A restart or a change
of channels wakes PROBES of each lane, a delivery WOKEN_BY_SUCCESS of its channel, and each of these that is delivered
wakes as many again. So an endpoint that is back is not overrun, and one that is not meets one probe.

Bounds: INCIDENTS_MAX incidents are held; one beyond is recorded as dead and counted. SENDS_MAX attempts are out at a
time, SENDS_PER_LANE_MAX of them to one channel, so that one endpoint that hangs does not hold up the others.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from flowgauge.schemas.delivery import Delivery, Outcome
from flowgauge.schemas.errors import Unreadable
from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks import telling as tell
from flowgauge.sinks.webhooks.schedule import Verdict
from flowgauge.sinks.webhooks.telling import Owed, Telling

INCIDENTS_MAX = 20_000  # held at a time, open or not yet told: about 100 MB at 2 kB and two channels each
SENDS_MAX = 32  # attempts out at a time, of all channels
SENDS_PER_LANE_MAX = 8
PROBES = 1  # woken when nothing says that the channel is well
WOKEN_BY_SUCCESS = 2  # more than one, so that one that fails for itself does not end the waking
STEP_BACK_MS = 1_000  # a clock that steps back further takes what is due with it

NEVER_MS = 2**62  # later than every event

TOO_MANY_INCIDENTS = f"more than {INCIDENTS_MAX} incidents are open or undelivered"

Lane = tuple[str, str]  # tenant and channel name: what leads to one endpoint
Refusal = Callable[[Lane], Verdict | None]  # what comes of it without an attempt; None: it can be told

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Telling).decode


@dataclass(frozen=True, slots=True)
class Send:
    """One attempt that goes out now."""

    incident_id: str
    channel: str
    attempt: int
    transition: Transition

    @property
    def delivery_id(self) -> str:
        """The id under which it goes out, the same for every attempt."""
        return delivery_id(self.transition.transition_id, self.channel)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one step makes durable together; a state of None deletes."""

    state: Mapping[str, bytes | None]
    records: tuple[Delivery, ...]


@dataclass(slots=True)
class Backlog:
    """What one lane is owed."""

    count: int = 0
    since_ms: int = NEVER_MS  # event time of the oldest transition
    waiting: int = 0  # incidents whose newest attempt failed
    reason: str = ""  # of the newest of these failures
    failed_ms: int = 0  # and when that was

    def count_in(self, owed: Owed, at_ms: int) -> None:
        """Count one transition of `at_ms`."""
        self.count += 1
        if at_ms < self.since_ms:
            self.since_ms = at_ms
        if owed.failures or owed.early:
            self.waiting += 1
            if owed.recorded_ms >= self.failed_ms:
                self.reason, self.failed_ms = owed.reason, owed.recorded_ms

    def add(self, more: "Backlog") -> None:
        """Count `more` of the same lane."""
        self.count += more.count
        self.since_ms = min(self.since_ms, more.since_ms)
        self.waiting += more.waiting
        if more.failed_ms >= self.failed_ms:
            self.reason, self.failed_ms = more.reason, more.failed_ms


def merged(backlogs: Iterable[Mapping[Lane, Backlog]]) -> dict[Lane, Backlog]:
    """Return what each lane is owed by all partitions together."""
    found: dict[Lane, Backlog] = {}
    for each in backlogs:
        for lane, backlog in each.items():
            found.setdefault(lane, Backlog()).add(backlog)
    return found


def _no_waiting() -> dict[Lane, OrderedDict[str, None]]:
    return {}


@dataclass(slots=True)
class Outbox:
    """The state of one partition. Every method may change it; `take_changes` says what to commit."""

    max_alert_age_ms: int
    incidents_max: int = INCIDENTS_MAX
    refused_incidents: int = field(init=False, default=0)  # beyond incidents_max, since start
    out: int = field(init=False, default=0)  # attempts begun and not settled
    _tellings: dict[str, Telling] = field(init=False, default_factory=dict[str, Telling])
    _lanes: dict[Lane, list[tuple[int, str]]] = field(init=False, default_factory=dict[Lane, list[tuple[int, str]]])
    _waiting: dict[Lane, OrderedDict[str, None]] = field(init=False, default_factory=_no_waiting)
    _out: Counter[Lane] = field(init=False, default_factory=Counter[Lane])
    _dirty: dict[str, None] = field(init=False, default_factory=dict[str, None])
    _records: list[Delivery] = field(init=False, default_factory=list[Delivery])
    _withheld: set[str] = field(init=False, default_factory=set[str])
    _now_ms: int = field(init=False, default=0)

    def restore(self, state: Mapping[str, bytes], now_ms: int) -> None:
        """Go on from committed state: attempts of unknown outcome are due again at once, and each lane is probed.

        Raises Unreadable for what another version wrote.
        """
        self._now_ms = now_ms
        for incident_id, encoded in state.items():
            telling = _read(incident_id, encoded)
            tell.resume(telling, now_ms)
            self._tellings[incident_id] = telling
            if telling.is_withheld:
                self._withheld.add(incident_id)
            for channel in telling.lines:
                self._push(incident_id, channel)
        self.wake(now_ms, PROBES)

    @property
    def withholds(self) -> bool:
        """Some incident waits until the notifier has caught up."""
        return bool(self._withheld)

    def holds(self, incident_id: str) -> bool:
        """Tell whether the incident is open or still owed to somebody. Later it is forgotten: the log is exact."""
        return incident_id in self._tellings

    def see(self, transition: Transition, *, now_ms: int, is_caught_up: bool) -> None:
        """Take in a transition. Those seen before, and those that are never told, change nothing."""
        self._note_clock(now_ms)
        telling = self._tellings.get(transition.incident_id)
        if not tell.is_told(transition) or (telling and transition.seq <= telling.seq):
            return
        if telling is None:
            telling = self._open(transition, now_ms, is_caught_up=is_caught_up)
            if telling is None:
                return
        self._records += tell.add(telling, transition, now_ms)
        self._changed(transition.incident_id, telling)
        for channel in telling.lines:
            self._push(transition.incident_id, channel)

    def release(self, now_ms: int) -> None:
        """Let what was withheld and is still open be told once: the notifier has caught up."""
        self._note_clock(now_ms)
        for incident_id in sorted(self._withheld):
            telling = self._tellings[incident_id]
            tell.release(telling, now_ms)
            self._changed(incident_id, telling)
            for channel in telling.lines:
                self._push(incident_id, channel)

    def begin_due(self, now_ms: int, refusal: Refusal) -> list[Send]:
        """Begin what is due and may go out; each goes out after the next commit. Refused ones do not go out."""
        self._note_clock(now_ms)
        sends: list[Send] = []
        lanes, self._lanes = self._lanes, {}
        served: dict[Lane, list[tuple[int, str]]] = {}
        for lane, heap in lanes.items():
            began = self._begin_lane(lane, heap, now_ms, refusal)
            if heap:
                (served if began else self._lanes)[lane] = heap
            sends += began
        self._lanes |= served  # At the end: the lanes take turns.
        return sends

    def settle(self, send: Send, verdict: Verdict, now_ms: int) -> None:
        """Take in the outcome of an attempt that `begin_due` returned."""
        self._note_clock(now_ms)
        telling = self._tellings[send.incident_id]
        self._out[telling.tenant, send.channel] -= 1
        self.out -= 1
        self._records += tell.settle(telling, send.channel, verdict, now_ms)
        self._changed(send.incident_id, telling)
        self._push(send.incident_id, send.channel)

    def wake(self, now_ms: int, most: int, where: Callable[[Lane], bool] = lambda _lane: True) -> None:
        """Bring forward up to `most` of what waits in each lane `where` that holds, the longest untried first.

        Not stored: after a kill the probes of the next start find out anew.
        """
        self._note_clock(now_ms)
        for lane in [lane for lane in self._waiting if where(lane)]:
            self._wake_lane(lane, now_ms, most)

    def take_changes(self) -> Changes:
        """Return what changed since the last time, to be committed as one step."""
        state = {
            incident_id: _encode(telling) if (telling := self._tellings.get(incident_id)) else None
            for incident_id in self._dirty
        }
        changes = Changes(state, tuple(self._records))
        self._dirty = {}
        self._records = []
        return changes

    def wait_ms(self, now_ms: int) -> int | None:
        """Return how long until something is due that may go out, None when nothing is."""
        waits = [heap[0][0] - now_ms for lane, heap in self._lanes.items() if heap and self._has_room(lane)]
        return max(0, min(waits)) if waits else None

    def backlogs(self) -> dict[Lane, Backlog]:
        """Count what each lane is owed. It looks at every incident: not for every step."""
        found: dict[Lane, Backlog] = {}
        for telling in self._tellings.values():
            for channel, line in telling.lines.items():
                if line.owed:
                    lane = telling.tenant, channel
                    backlog = found.get(lane) or found.setdefault(lane, Backlog())
                    for owed in line.owed:
                        backlog.count_in(owed, telling.transitions[owed.transition_id].at_ms)
        return found

    def _open(self, transition: Transition, now_ms: int, *, is_caught_up: bool) -> Telling | None:
        outcome: Outcome = "dead"
        reason = ""
        if transition.to_state == "resolved":
            outcome, reason = "superseded", tell.NEVER_TOLD
        elif transition.notify and len(self._tellings) >= self.incidents_max:
            self.refused_incidents += 1
            reason = TOO_MANY_INCIDENTS
        if reason or not transition.notify:
            self._records += [
                tell.record(transition, channel, Owed("", now_ms), outcome, now_ms=now_ms, reason=reason)
                for channel in dict.fromkeys(transition.notify)
            ]
            return None
        is_old = now_ms - transition.at_ms > self.max_alert_age_ms
        telling = Telling(tenant=transition.tenant, is_withheld=is_old and not is_caught_up)
        self._tellings[transition.incident_id] = telling
        return telling

    def _begin_lane(self, lane: Lane, heap: list[tuple[int, str]], now_ms: int, refusal: Refusal) -> list[Send]:
        sends: list[Send] = []
        while heap and heap[0][0] <= now_ms and self._has_room(lane):
            due_ms, incident_id = heapq.heappop(heap)
            if not self._is_head(incident_id, lane[1], due_ms):
                continue
            if verdict := refusal(lane):
                self._refuse(incident_id, lane[1], verdict, now_ms)
                self._push_next(heap, incident_id, lane)
            else:
                sends.append(self._begin(incident_id, lane, now_ms))
        return sends

    def _begin(self, incident_id: str, lane: Lane, now_ms: int) -> Send:
        telling = self._tellings[incident_id]
        self._records.append(tell.begin(telling, lane[1], now_ms))
        self._out[lane] += 1
        self.out += 1
        self._stop_waiting(incident_id, lane)
        self._changed(incident_id, telling)
        owed = telling.lines[lane[1]].owed[0]
        return Send(incident_id, lane[1], owed.attempt, telling.transitions[owed.transition_id])

    def _refuse(self, incident_id: str, channel: str, verdict: Verdict, now_ms: int) -> None:
        telling = self._tellings[incident_id]
        telling.lines[channel].owed[0].attempt += 1  # Counted, so that its record is newer than "backfilled".
        self._records += tell.settle(telling, channel, verdict, now_ms)
        self._changed(incident_id, telling)

    def _wake_lane(self, lane: Lane, now_ms: int, most: int) -> None:
        waiting = self._waiting[lane]
        woken = 0
        while waiting and woken < most:
            incident_id, _ = waiting.popitem(last=False)
            telling = self._tellings[incident_id]
            if tell.wake(telling, lane[1], now_ms):
                due_ms = telling.lines[lane[1]].owed[0].due_ms
                heapq.heappush(self._lanes.setdefault(lane, []), (due_ms, incident_id))
                woken += 1
        if not waiting:
            del self._waiting[lane]

    def _stop_waiting(self, incident_id: str, lane: Lane) -> None:
        if waiting := self._waiting.get(lane):
            waiting.pop(incident_id, None)
            if not waiting:
                del self._waiting[lane]

    def _changed(self, incident_id: str, telling: Telling) -> None:
        self._dirty[incident_id] = None
        if telling.is_withheld and not telling.is_over:
            self._withheld.add(incident_id)
        else:
            self._withheld.discard(incident_id)
        if telling.is_over:
            del self._tellings[incident_id]

    def _has_room(self, lane: Lane) -> bool:
        return self._out[lane] < SENDS_PER_LANE_MAX and self.out < SENDS_MAX

    def _is_head(self, incident_id: str, channel: str, due_ms: int) -> bool:
        """Tell whether the entry still holds: what it meant may be told, begun or put off since."""
        telling = self._tellings.get(incident_id)
        line = telling.lines.get(channel) if telling else None
        return bool(line and line.owed and not line.owed[0].is_started and line.owed[0].due_ms == due_ms)

    def _push(self, incident_id: str, channel: str) -> None:
        telling = self._tellings.get(incident_id)
        if telling and telling.lines[channel].owed:
            lane = telling.tenant, channel
            self._push_next(self._lanes.setdefault(lane, []), incident_id, lane)

    def _push_next(self, heap: list[tuple[int, str]], incident_id: str, lane: Lane) -> None:
        telling = self._tellings.get(incident_id)
        owed = telling.lines[lane[1]].owed if telling else []
        if owed and not owed[0].is_started:
            heapq.heappush(heap, (owed[0].due_ms, incident_id))
        if owed and owed[0].waits:
            self._waiting.setdefault(lane, OrderedDict())[incident_id] = None
        else:
            self._stop_waiting(incident_id, lane)

    def _note_clock(self, now_ms: int) -> None:
        """Move what is due along with a clock that steps back, so that nothing waits longer than it should."""
        back_ms = self._now_ms - now_ms
        self._now_ms = now_ms
        if back_ms <= STEP_BACK_MS:
            return
        self._lanes = {}
        for incident_id, telling in self._tellings.items():
            tell.step_back(telling, back_ms)
            for channel in telling.lines:
                self._push(incident_id, channel)


def _read(incident_id: str, encoded: bytes) -> Telling:
    try:
        return _decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"what the notifier keeps of incident {incident_id!r}", error) from error
