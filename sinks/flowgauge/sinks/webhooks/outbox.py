"""The outbox of one transitions partition: which incidents are open, what is owed to whom, and what is due now.

    transition ──► see ───┐                        ┌──► Changes: state and delivery records, committed as one step
    now        ──► begin ─┼─► tellings, in memory ─┤
    outcome    ──► settle ┘                        └──► Sends: go out only after that commit

Laws, which the property tests hold: per incident and channel one attempt is out at a time and order is kept; every
opened incident that is neither silenced nor backfilled is told until it is delivered or dead; a delivery has one id
whatever happens; a resolve never comes before something was delivered; once a channel is well again, what waits for it
goes out soon. No await, no I/O, no clock: `now_ms` comes in and may jump.

Waking: what waits after a failure is brought forward in the order of failing, a few at a time. A restart or a change
of channels wakes PROBES of each lane, a delivery WOKEN_BY_SUCCESS of its channel, and each of these that is delivered
wakes as many again. So an endpoint that is back is not overrun, and one that is not meets one probe.

Before an attempt the silences are asked (`Ways.hidden`), then the way itself (`Refusal`). In a lane with a grouping the
heads of many incidents go out as one Send, and share its outcome.

Bounds: INCIDENTS_MAX incidents are held, TENANT_INCIDENTS_MAX of one tenant; one beyond is recorded as dead and
counted. SENDS_MAX attempts are out at a time, SENDS_PER_ENDPOINT_MAX of them at one endpoint, so that one that hangs
does not hold up the others.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from flowgauge.schemas.delivery import Delivery, Outcome
from flowgauge.schemas.ids import transition_id
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks import telling as tell
from flowgauge.sinks.webhooks.backlog import Backlog
from flowgauge.sinks.webhooks.dead_letters import DeadLetters, Letter, read_letter
from flowgauge.sinks.webhooks.groups import Groups
from flowgauge.sinks.webhooks.policy import Lane, Ways
from flowgauge.sinks.webhooks.schedule import Verdict
from flowgauge.sinks.webhooks.sends import Changes, Member, Refusal, Send
from flowgauge.sinks.webhooks.telling import Line, Owed, Telling

INCIDENTS_MAX = 60_000  # held at a time, open or not yet told: about 300 MB at 2 kB and two channels each
TENANT_INCIDENTS_MAX = 20_000  # of one tenant: nobody's storm takes the room of all
SENDS_MAX = 32  # attempts out at a time, of all channels
SENDS_PER_ENDPOINT_MAX = 8
PROBES = 1  # woken when nothing says that the channel is well
WOKEN_BY_SUCCESS = 2  # more than one, so that one that fails for itself does not end the waking
STEP_BACK_MS = 1_000  # a clock that steps back further takes what is due with it

TOO_MANY_INCIDENTS = f"more than {TENANT_INCIDENTS_MAX} incidents are open or undelivered"

_DEAD = "dead "  # what the name of a dead letter's state begins with; the others are incident ids

_encode = msgspec.msgpack.Encoder().encode


def _no_waiting() -> dict[Lane, OrderedDict[str, None]]:
    return {}


@dataclass(slots=True)
class Outbox:
    """The state of one partition. Every method may change it; `take_changes` says what to commit."""

    max_alert_age_ms: int
    ways: Ways = field(default_factory=Ways)
    incidents_max: int = INCIDENTS_MAX
    tenant_incidents_max: int = TENANT_INCIDENTS_MAX
    letters: DeadLetters = field(init=False, default_factory=DeadLetters)
    refused_incidents: int = field(init=False, default=0)  # beyond a bound, since start
    out: int = field(init=False, default=0)  # attempts begun and not settled
    _tellings: dict[str, Telling] = field(init=False, default_factory=dict[str, Telling])
    _lanes: dict[Lane, list[tuple[int, str]]] = field(init=False, default_factory=dict[Lane, list[tuple[int, str]]])
    _waiting: dict[Lane, OrderedDict[str, None]] = field(init=False, default_factory=_no_waiting)
    _held: Counter[str] = field(init=False, default_factory=Counter[str])  # incidents by tenant
    _out: Counter[str] = field(init=False, default_factory=Counter[str])  # attempts by endpoint
    _dirty: dict[str, None] = field(init=False, default_factory=dict[str, None])
    _records: list[Delivery] = field(init=False, default_factory=list[Delivery])
    _of_actions: list[tuple[Delivery, Transition]] = field(
        init=False, default_factory=list[tuple[Delivery, Transition]]
    )
    _withheld: set[str] = field(init=False, default_factory=set[str])
    _groups: Groups = field(init=False, default_factory=Groups)
    _now_ms: int = field(init=False, default=0)

    def restore(self, state: Mapping[str, bytes], now_ms: int) -> None:
        """Go on from committed state: attempts of unknown outcome are due again at once, and each lane is probed.

        Those that are not to be repeated are dead instead. Raises Unreadable for what another version wrote.
        """
        self._now_ms = now_ms
        letters: list[tuple[str, Letter]] = []
        for name, encoded in state.items():
            if name.startswith(_DEAD):
                letters.append((name.removeprefix(_DEAD), read_letter(name, encoded)))
                continue
            telling = tell.read(name, encoded)
            self._keep(name, telling)
            if telling.is_withheld:
                self._withheld.add(name)
        for delivery_id, letter in sorted(letters, key=lambda each: each[1].dead_ms):
            self.letters.bury(delivery_id, letter)
        self.letters.dirty.clear()
        for incident_id, telling in list(self._tellings.items()):
            self._end_unknown(incident_id, telling, now_ms)
            tell.resume(telling, now_ms)
            self._push_all(incident_id, telling)
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
        if routed := self.ways.routed(transition):
            notify = list(dict.fromkeys([*transition.notify, *routed]))
            transition = msgspec.structs.replace(transition, notify=notify)
        why = self.ways.concluded(transition)
        if why and (telling is None or telling.is_concluded):
            self._record_all(transition, "superseded", why, now_ms)
            return
        if telling is None:
            telling = self._open(transition, now_ms, is_caught_up=is_caught_up)
        if telling is not None:
            self._add(telling, transition, now_ms)

    def conclude(self, incident_id: str, reason: str, *, at_ms: int, now_ms: int) -> None:
        """Tell everybody who heard of an incident that a person ended it. Once it is over it changes nothing."""
        self._note_clock(now_ms)
        telling = self._tellings.get(incident_id)
        if telling is None or telling.is_closed or telling.newest not in telling.transitions:
            return
        newest = telling.transitions[telling.newest]
        telling.is_concluded = True
        ended = msgspec.structs.replace(
            newest,
            transition_id=transition_id(incident_id, telling.seq, f"resolved {at_ms}"),
            from_state=newest.to_state,
            to_state="resolved",
            at_ms=max(at_ms, newest.at_ms),
            reason=reason,
        )
        self._add(telling, ended, now_ms)

    def look_after(self, incident_id: str) -> None:
        """Take in that somebody acknowledged an incident: no reminders, and no fallback any more."""
        telling = self._tellings.get(incident_id)
        if telling is None or telling.is_looked_after:
            return
        telling.is_looked_after = True
        for line in telling.lines.values():
            line.owed = [owed for owed in line.owed if not owed.repeat or owed.is_started]
        self._changed(incident_id, telling)

    def replay(self, delivery_id: str, *, asked_ms: int, now_ms: int) -> bool:
        """Owe again, under the same id, what was given up before somebody asked for it; tell whether it is."""
        self._note_clock(now_ms)
        letter = self.letters.get(delivery_id)
        if letter is None or letter.dead_ms >= asked_ms:
            return False
        about = letter.transition
        telling = self._tellings.get(about.incident_id) or Telling(
            tenant=about.tenant, is_withheld=False, seq=about.seq, newest=about.transition_id, is_closed=True
        )
        line = telling.lines.setdefault(letter.channel, Line())
        if line.owed:
            return False
        self.letters.take(delivery_id)
        following = letter.end or (None if telling.is_closed else telling.transitions.get(telling.newest))
        if tell.is_action(letter.channel):
            following = None
        again = {each.transition_id: each for each in (about, following) if each}
        telling.transitions |= again
        line.owed = [Owed(each, now_ms, since_ms=now_ms, is_replay=True) for each in again]
        head = line.owed[0]
        head.attempt, head.repeat, head.recorded_ms = letter.attempt, letter.repeat, max(letter.dead_ms, asked_ms)
        self._keep(about.incident_id, telling)
        self._changed(about.incident_id, telling)
        self._push(about.incident_id, letter.channel)
        return True

    def open_incidents(self) -> list[Transition]:
        """Return the newest transition of each incident that is open."""
        newest = [each.transitions.get(each.newest) for each in self._tellings.values() if not each.is_closed]
        return [each for each in newest if each]

    def ask_again(self, now_ms: int) -> None:
        """Ask for all that is held whether it still is: silences changed."""
        self._note_clock(now_ms)
        for incident_id, telling in self._tellings.items():
            for channel, line in telling.lines.items():
                if line.owed and line.owed[0].is_held:
                    line.owed[0].due_ms = now_ms
                    self._push(incident_id, channel)

    def release(self, now_ms: int) -> None:
        """Let what was withheld and is still open be told once: the notifier has caught up."""
        self._note_clock(now_ms)
        for incident_id in sorted(self._withheld):
            telling = self._tellings[incident_id]
            tell.release(telling, now_ms)
            self._changed(incident_id, telling)
            self._push_all(incident_id, telling)

    def begin_due(self, now_ms: int, refusal: Refusal) -> list[Send]:
        """Begin what is due and may go out; each goes out after the next commit. Refused ones do not go out."""
        self._note_clock(now_ms)
        sends: list[Send] = []
        for lane in self._groups.lanes():
            self._lanes.setdefault(lane, [])
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
        lane = send.lane
        self._out[send.room] -= 1
        self.out -= 1
        for member in send.members:
            self._settle(member.incident_id, lane, verdict, now_ms, drawn_by=send.delivery_id)
            self._push(member.incident_id, send.channel)

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
        for delivery_id in self.letters.dirty:
            letter = self.letters.get(delivery_id)
            state[_DEAD + delivery_id] = _encode(letter) if letter else None
        changes = Changes(state, tuple(self._records), tuple(self._of_actions))
        self._dirty, self.letters.dirty = {}, {}
        self._records, self._of_actions = [], []
        return changes

    def wait_ms(self, now_ms: int) -> int | None:
        """Return how long until something is due that may go out, None when nothing is."""
        waits = [heap[0][0] - now_ms for lane, heap in self._lanes.items() if heap and self._has_room(lane)]
        ready = [self._groups.ready_ms(lane) for lane in self._groups.lanes() if self._has_room(lane)]
        waits += [ready_ms - now_ms for ready_ms in ready if ready_ms is not None]
        return max(0, min(waits)) if waits else None

    def backlogs(self) -> dict[Lane, Backlog]:
        """Count what each lane is owed. It looks at every incident: not for every step."""
        found: dict[Lane, Backlog] = {}
        for telling in self._tellings.values():
            for channel, line in telling.lines.items():
                for owed in line.owed:
                    if owed.is_undelivered:
                        lane = telling.tenant, channel
                        backlog = found.get(lane) or found.setdefault(lane, Backlog())
                        backlog.count_in(owed, telling.transitions[owed.transition_id].at_ms)
        return found

    def _open(self, transition: Transition, now_ms: int, *, is_caught_up: bool) -> Telling | None:
        outcome: Outcome = "dead"
        reason = ""
        if transition.to_state == "resolved":
            outcome, reason = "superseded", tell.NEVER_TOLD
        elif transition.notify and self._is_full(transition.tenant):
            self.refused_incidents += 1
            reason = TOO_MANY_INCIDENTS
        if reason or not transition.notify:
            self._record_all(transition, outcome, reason, now_ms)
            return None
        is_old = now_ms - transition.at_ms > self.max_alert_age_ms
        telling = Telling(tenant=transition.tenant, is_withheld=is_old and not is_caught_up)
        telling.is_looked_after = self.ways.looked_after(transition)  # acts may be read before transitions
        self._keep(transition.incident_id, telling)
        return telling

    def _add(self, telling: Telling, transition: Transition, now_ms: int) -> None:
        for record in tell.add(telling, transition, now_ms):
            self._record(record, transition)
        self._changed(transition.incident_id, telling)
        self._push_all(transition.incident_id, telling)

    def _record_all(self, transition: Transition, outcome: Outcome, reason: str, now_ms: int) -> None:
        """Record for each channel that a transition names what became of it without ever being owed."""
        for channel in dict.fromkeys(transition.notify):
            record = tell.record(transition, channel, Owed("", now_ms), outcome, now_ms=now_ms, reason=reason)
            self._record(record, transition)

    def _begin_lane(self, lane: Lane, heap: list[tuple[int, str]], now_ms: int, refusal: Refusal) -> list[Send]:
        grouping = self.ways.policy(lane).group
        sends: list[Send] = []
        for incident_id in [] if grouping else self._groups.dissolve(lane):
            if self._line(incident_id, lane[1]):
                self._push_next(heap, incident_id, lane)
        while heap and heap[0][0] <= now_ms and (grouping or self._has_room(lane)):
            due_ms, incident_id = heapq.heappop(heap)
            if not self._is_head(incident_id, lane[1], due_ms):
                continue
            if not grouping:
                sends += self._begin_together(lane, [incident_id], now_ms, refusal=refusal, heap=heap)
            elif self._may_go(incident_id, lane, now_ms, heap):  # what is silenced takes no turn of its group
                self._groups.add(lane, grouping, self._head(incident_id, lane), now_ms)
        while grouping and self._has_room(lane) and (taken := self._groups.take_ready(lane, grouping, now_ms)):
            sends += self._begin_together(lane, taken, now_ms, refusal=refusal, heap=heap)
        return sends

    def _begin_together(
        self, lane: Lane, incident_ids: Sequence[str], now_ms: int, *, refusal: Refusal, heap: list[tuple[int, str]]
    ) -> list[Send]:
        going = [each for each in incident_ids if self._may_go(each, lane, now_ms, heap)]
        verdict = refusal(lane, self._head(going[0], lane)) if going else None
        if verdict:
            for incident_id in going:
                self._refuse(incident_id, lane, verdict, now_ms)
                self._push_next(heap, incident_id, lane)
            return []
        if not going:
            return []
        members = tuple(self._begin(incident_id, lane, now_ms) for incident_id in going)
        room = self._room_of(lane)
        self._out[room] += 1
        self.out += 1
        is_replay = any(self._tellings[each].lines[lane[1]].owed[0].is_replay for each in going)
        return [Send(lane[1], members, is_replay, room)]

    def _may_go(self, incident_id: str, lane: Lane, now_ms: int, heap: list[tuple[int, str]]) -> bool:
        """Tell whether the head of a line is still to go and no silence holds it."""
        telling = self._tellings.get(incident_id)
        line = telling.lines.get(lane[1]) if telling else None
        if telling is None or line is None or not line.owed or line.owed[0].is_started:
            return False
        last = telling.transitions[line.owed[-1].transition_id]
        hidden = self.ways.hidden(telling.transitions[line.owed[0].transition_id], now_ms)
        if hidden is None and not line.owed[0].is_held:
            return True
        let = tell.hold(telling, lane[1], hidden, now_ms) if hidden else tell.unhold(telling, lane[1], now_ms)
        for record in let:
            self._record(record, last)
        self._changed(incident_id, telling)
        if hidden is None and line.owed:
            return True
        self._push_next(heap, incident_id, lane)
        return False

    def _begin(self, incident_id: str, lane: Lane, now_ms: int) -> Member:
        telling = self._tellings[incident_id]
        self._records.append(tell.begin(telling, lane[1], now_ms))
        self._stop_waiting(incident_id, lane)
        self._changed(incident_id, telling)
        line = telling.lines[lane[1]]
        owed = line.owed[0]
        about = telling.transitions[owed.transition_id]
        return Member(about, owed.attempt, owed.delivery_id(lane[1]), line.reference)

    def _settle(self, incident_id: str, lane: Lane, verdict: Verdict, now_ms: int, *, drawn_by: str = "") -> None:
        """Take in the outcome for the head of a line; what is given up becomes a dead letter."""
        telling, channel = self._tellings[incident_id], lane[1]
        owed, lines = list(telling.lines[channel].owed), len(telling.lines)
        about = [telling.transitions[each.transition_id] for each in owed]
        for record in tell.settle(telling, channel, verdict, now_ms, policy=self.ways.policy(lane), drawn_by=drawn_by):
            self._record(record, about[-1])
            if tell.is_action(channel):
                self._of_actions.append((record, about[0]))
            if record.outcome == "dead":
                end = about[-1] if about[-1].to_state == "resolved" else None
                letter = Letter(channel, about[0], record.at_ms, owed[0].attempt, owed[0].repeat, end)
                self.letters.bury(record.delivery_id, letter)
        self._changed(incident_id, telling)
        if len(telling.lines) > lines:
            self._push_all(incident_id, telling)

    def _refuse(self, incident_id: str, lane: Lane, verdict: Verdict, now_ms: int) -> None:
        # Counted, so that its record is newer than "backfilled".
        self._tellings[incident_id].lines[lane[1]].owed[0].attempt += 1
        self._settle(incident_id, lane, verdict, now_ms)

    def _end_unknown(self, incident_id: str, telling: Telling, now_ms: int) -> None:
        """Give up what was out when the end came and is not to be repeated."""
        for channel, line in list(telling.lines.items()):
            lane = telling.tenant, channel
            if line.owed and line.owed[0].is_started and not self.ways.policy(lane).is_repeatable:
                self._settle(incident_id, lane, Verdict("dead", tell.UNKNOWN_OUTCOME), now_ms)

    def _record(self, record: Delivery, last: Transition) -> None:
        """Record a step; one about the end, which is the last of what a line is owed, is kept with its letters."""
        self._records.append(record)
        if last.to_state == "resolved" and record.transition_id == last.transition_id:
            self.letters.note_end(record.incident_id, record.channel, last)

    def _head(self, incident_id: str, lane: Lane) -> Transition:
        telling = self._tellings[incident_id]
        return telling.transitions[telling.lines[lane[1]].owed[0].transition_id]

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
            self._held[telling.tenant] -= 1

    def _has_room(self, lane: Lane) -> bool:
        return self.out < SENDS_MAX and self._out[self._room_of(lane)] < SENDS_PER_ENDPOINT_MAX

    def _room_of(self, lane: Lane) -> str:
        return self.ways.policy(lane).endpoint or "\x1f".join(lane)

    def _is_full(self, tenant: str) -> bool:
        return len(self._tellings) >= self.incidents_max or self._held[tenant] >= self.tenant_incidents_max

    def _keep(self, incident_id: str, telling: Telling) -> None:
        self._held[telling.tenant] += incident_id not in self._tellings
        self._tellings[incident_id] = telling

    def _is_head(self, incident_id: str, channel: str, due_ms: int) -> bool:
        """Tell whether the entry still holds: what it meant may be told, begun or put off since."""
        line = self._line(incident_id, channel)
        return bool(line and line.owed and not line.owed[0].is_started and line.owed[0].due_ms == due_ms)

    def _line(self, incident_id: str, channel: str) -> Line | None:
        telling = self._tellings.get(incident_id)
        return telling.lines.get(channel) if telling else None

    def _push_all(self, incident_id: str, telling: Telling) -> None:
        for channel in telling.lines:
            self._push(incident_id, channel)

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
        self._groups.step_back(back_ms)
        for incident_id, telling in self._tellings.items():
            tell.step_back(telling, back_ms)
            self._push_all(incident_id, telling)
