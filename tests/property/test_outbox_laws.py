"""The outbox's laws, under random transitions, duplicates, outcomes, crashes at any step and a clock that jumps.

* Every opened incident that is not backfilled is delivered at least once, once its endpoint answers.
* What goes out has one id per (transition, channel), in the order of the incident, a resolve after its opening.
* Nothing of an incident that was over before the notifier caught up goes out.
* Every attempt was committed as started before it went out; attempts of a delivery are counted upwards.
* At the end nothing of a closed incident is left.
* Once a channel is well again all that waits for it goes out, as soon as each delivery's `Retry-After` lets it.
* Waking makes nothing dead sooner: a delivery is given up with its schedule, after a bounded number of attempts.
* Nothing of a silenced incident goes out; once no silence holds it, what still fires is told, and what was told before.
* Channel "b" tells of incidents together: all of this holds there as well.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import event, given
from hypothesis import strategies as st

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.ids import delivery_id, incident_id, transition_id
from flowgauge.schemas.transition import AlertState, Transition
from flowgauge.sinks.webhooks.outbox import (
    PROBES,
    SENDS_MAX,
    SENDS_PER_ENDPOINT_MAX,
    WOKEN_BY_SUCCESS,
    Outbox,
)
from flowgauge.sinks.webhooks.policy import Grouping, Hidden, Lane, LinePolicy, Ways
from flowgauge.sinks.webhooks.schedule import RETRY_DELAYS_MS, Verdict
from flowgauge.sinks.webhooks.sends import Send
from flowgauge.sinks.webhooks.telling import OVER_WHILE_HIDDEN, is_told

HOUR_MS = 3_600_000
START_MS = 1_800_000_000_000
FAILURES_MAX = len(RETRY_DELAYS_MS["page"]) - 2  # of one delivery: its endpoint answers before it is given up
SOON_MS = 6_000  # 5 s and 20 %: a delivery that failed is left alone for so long
ATTEMPTS_MAX = (
    len(RETRY_DELAYS_MS["page"]) * (len(RETRY_DELAYS_MS["page"]) + 1) // 2
)  # each wait has fewer early ones than waits before
SCHEDULE_MS_MIN = sum(RETRY_DELAYS_MS["page"]) * 80 // 100
NO_CHANNEL = Verdict("failed", "no such channel")

NEXT: dict[AlertState, tuple[AlertState, ...]] = {
    "inactive": ("pending", "firing", "no_data"),
    "pending": ("firing", "inactive"),
    "firing": ("recovering", "no_data", "resolved"),
    "recovering": ("firing", "resolved"),
    "no_data": ("firing", "resolved"),
}


@dataclass
class World:
    """A log of transitions, a store of what was committed, receivers that remember, and one outbox that may die."""

    log: Sequence[Transition]
    outbox: Outbox = field(init=False)
    now_ms: int = START_MS
    is_caught_up: bool = False
    position: int = 0
    stored_position: int = 0
    stored: dict[str, bytes] = field(default_factory=dict[str, bytes])
    records: list[Delivery] = field(default_factory=list[Delivery])
    begun: list[Send] = field(default_factory=list[Send])
    flying: list[Send] = field(default_factory=list[Send])
    went_out: list[Send] = field(default_factory=list[Send])
    answered: list[Send] = field(default_factory=list[Send])
    failures: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refusals: int = 0
    is_defined: bool = False  # the channel "nil" is
    silenced: set[str] = field(default_factory=set[str])  # flows

    def __post_init__(self) -> None:
        self.outbox = self._new_outbox()

    def _new_outbox(self) -> Outbox:
        policies = {"b": LinePolicy(group=Grouping((), wait_ms=1_000, interval_ms=5_000))}
        return Outbox(
            max_alert_age_ms=HOUR_MS,
            ways=Ways(policy=lambda lane: policies.get(lane[1], LinePolicy()), hidden=self._hidden),
        )

    def _hidden(self, transition: Transition, now_ms: int) -> Hidden | None:
        return Hidden(now_ms + HOUR_MS, "s") if transition.key["flow"] in self.silenced else None

    def silence(self, flow: str) -> None:
        """Silence a flow, or end its silence."""
        self.silenced ^= {flow}
        self.outbox.ask_again(self.now_ms)

    def read(self, count: int) -> None:
        for transition in self.log[self.position : self.position + count]:
            self.outbox.see(transition, now_ms=self.now_ms, is_caught_up=self.is_caught_up)
        self.position = min(len(self.log), self.position + count)

    def read_again(self, count: int) -> None:
        """Duplicates of transitions whose incident is still held: closed ones are forgotten, as the log is exact."""
        held = [each for each in self.log[: self.position] if self.outbox.holds(each.incident_id)]
        for transition in held[-count:]:
            self.outbox.see(transition, now_ms=self.now_ms, is_caught_up=self.is_caught_up)

    def catch_up(self) -> None:
        if self.position == len(self.log):
            self.is_caught_up = True
            self.outbox.release(self.now_ms)

    def begin(self) -> None:
        begun = self.outbox.begin_due(self.now_ms, self._refusal)
        members = [member for send in begun for member in send.members]
        assert not {member.transition.key["flow"] for member in members} & self.silenced
        self.begun += begun

    def define(self) -> None:
        """Somebody adds the channel that was missing."""
        self.is_defined = True
        self.outbox.wake(self.now_ms, PROBES, lambda lane: lane[1] == "nil")

    def _refusal(self, lane: Lane, _about: Transition) -> Verdict | None:
        if lane[1] != "nil" or self.is_defined or self.refusals == FAILURES_MAX:
            return None
        self.refusals += 1
        return NO_CHANNEL

    def commit(self) -> None:
        changes = self.outbox.take_changes()
        for key, value in changes.state.items():
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value
                assert len(value) < 262_144
        self.stored_position = self.position
        self.records += changes.records
        self.flying += self.begun
        self.went_out += _each(self.begun)
        self.begun = []
        self._check_flying()

    def answer(self, which: int, *, succeeds: bool, is_heard: bool) -> None:
        if not self.flying:
            return
        send = self.flying.pop(which % len(self.flying))
        if not succeeds and all(self.failures[each.delivery_id] < FAILURES_MAX for each in send.members):
            for member in send.members:
                self.failures[member.delivery_id] += 1
            if is_heard:
                self.answered += _each([send])  # the receiver took it, its answer got lost
            self.outbox.settle(send, Verdict("failed", "answered 5xx"), self.now_ms)
        else:
            self.answered += _each([send])
            self.outbox.settle(send, Verdict("delivered"), self.now_ms)
            self.outbox.wake(self.now_ms, WOKEN_BY_SUCCESS, lambda lane: lane[1] == send.channel)

    def crash(self) -> None:
        self.outbox = self._new_outbox()
        self.outbox.restore(self.stored, self.now_ms)
        self.position = self.stored_position
        self.is_caught_up = False
        self.begun, self.flying = [], []

    def settle_down(self) -> None:
        """From now on every endpoint answers and nothing dies."""
        self.read(len(self.log))
        self.catch_up()
        self.define()
        self.silenced.clear()
        self.outbox.ask_again(self.now_ms)
        for _ in range(20 * len(self.log) + 20):
            self.begin()
            self.commit()
            while self.flying:
                self.answer(0, succeeds=True, is_heard=True)
            self.commit()
            wait_ms = self.outbox.wait_ms(self.now_ms)
            if wait_ms is None:
                break
            self.now_ms += wait_ms
        assert self.outbox.backlogs() == {}

    def _check_flying(self) -> None:
        lines = [(member.incident_id, send.channel) for send in self.flying for member in send.members]
        assert len(lines) == len(set(lines))
        assert len(self.flying) <= SENDS_MAX
        lanes = [send.channel for send in self.flying]
        assert all(lanes.count(lane) <= SENDS_PER_ENDPOINT_MAX for lane in set(lanes))


@st.composite
def incidents(draw: st.DrawFn, name: str) -> list[Transition]:
    """Draw the life of one incident, old or of now, and whom it names."""
    notify = draw(st.lists(st.sampled_from(["a", "b", "nil"]), max_size=3))
    at_ms = START_MS - draw(st.sampled_from([0, 10, 5 * HOUR_MS]))
    if draw(st.integers(0, 4)) == 0:
        return [_transition(name, 0, ("inactive", "firing"), at_ms=at_ms, notify=notify, is_event=True)]
    life: list[Transition] = []
    state: AlertState = "inactive"
    for seq in range(draw(st.integers(1, 8))):
        following = draw(st.sampled_from(NEXT[state]))
        life.append(_transition(name, seq, (state, following), at_ms=at_ms + seq, notify=notify))
        state = following
        if state in {"resolved", "inactive"}:
            break
    return life


@st.composite
def logs(draw: st.DrawFn) -> list[Transition]:
    """Draw the lives of some incidents, interleaved."""
    lives = [draw(incidents(f"i{number}")) for number in range(draw(st.integers(1, 5)))]
    log: list[Transition] = []
    while any(lives):
        log.append(draw(st.sampled_from([life for life in lives if life])).pop(0))
    return log


STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(1, 4)),
    st.tuples(st.just("read_again"), st.integers(1, 4)),
    st.tuples(st.just("answer"), st.integers(0, 9), st.booleans(), st.booleans()),
    st.tuples(st.just("clock"), st.sampled_from([1, 6_000, HOUR_MS, 13 * HOUR_MS, -6_000, -5 * HOUR_MS])),
    st.tuples(st.just("silence"), st.sampled_from(["i0", "i1"])),
    *(st.just((name,)) for name in ("go", "go", "go", "begin", "commit", "crash", "catch_up", "define")),
)


@given(log=logs(), steps=st.lists(STEPS, min_size=10, max_size=60))
def test_the_laws_hold_whatever_happens(log: list[Transition], steps: list[tuple[object, ...]]) -> None:
    world = World(log)

    for step in steps:
        _do(world, step)
    world.settle_down()

    _check_delivered(world)
    _check_ids_and_order(world)
    _check_backfilled(world)
    _check_records(world)
    open_ones = {each.incident_id for each in _last_of_each(log) if not _is_over(each)}
    assert world.stored.keys() <= open_ones
    event(f"sent more than once: {len(world.went_out) > len({send.delivery_id for send in world.went_out})}")
    event(f"backfilled: {any(record.outcome == 'backfilled' for record in world.records)}")


@given(log=logs())
def test_what_is_told_does_not_depend_on_where_the_batches_are_cut(log: list[Transition]) -> None:
    one, many = World(log), World(log)
    one.is_caught_up = many.is_caught_up = True

    one.read(len(log))
    for _ in log:
        many.read(1)
        many.commit()

    one.begin()
    many.begin()
    assert one.begun == many.begun


@given(log=logs())
def test_of_history_only_what_still_fires_is_told_and_that_once(log: list[Transition]) -> None:
    world = World(log, now_ms=START_MS + 2 * HOUR_MS)

    world.read(len(log))
    world.begin()
    assert world.begun == []
    world.settle_down()

    still = {each.incident_id: set(each.notify) for each in _last_of_each(log) if not _is_over(each)}
    told = {each.incident_id for each in log if is_told(each)}
    expected = [(incident, channel) for incident in still.keys() & told for channel in still[incident]]
    assert sorted((send.incident_id, send.channel) for send in world.went_out) == sorted(expected)


@given(
    troubles=st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 0, 7_000, HOUR_MS])), min_size=1, max_size=12),
    later_ms=st.sampled_from([0, 1_000, 60_000, 40 * 60_000]),
    how=st.sampled_from(["restart", "change", "success"]),
)
def test_once_the_channel_is_well_all_that_waits_goes_out_as_soon_as_it_may(
    troubles: list[tuple[int, int]], later_ms: int, how: str
) -> None:
    """Each incident fails at least so often, that time with this Retry-After; later the channel is well again."""
    names = [f"i{number}" for number in range(len(troubles) + 1)]
    log = [_transition(name, 0, ("inactive", "firing"), at_ms=START_MS, notify=["a"]) for name in names]
    world = World(log, is_caught_up=True)
    world.read(len(troubles))
    failed = _fail(world, dict(zip(names, troubles, strict=False)))
    world.now_ms += later_ms
    well_ms = world.now_ms
    if how == "restart":
        world.crash()
    elif how == "change":
        world.outbox.wake(world.now_ms, PROBES)
    else:
        world.read(1)

    went_ms = _let_all_out(world)

    assert max(went_ms.values()) <= max(
        well_ms, *(at_ms + max(SOON_MS, asked_ms) for at_ms, asked_ms in failed.values())
    )
    assert all(went_ms[name] >= at_ms + asked_ms for name, (at_ms, asked_ms) in failed.items())


@given(wakes=st.lists(st.sampled_from([0, 1_000, 5_000, 60_000, HOUR_MS]), min_size=1, max_size=20))
def test_waking_gives_nothing_up_before_its_schedule_is_used_up(wakes: list[int]) -> None:
    log = [_transition("i0", 0, ("inactive", "firing"), at_ms=START_MS, notify=["a"])]
    world = World(log, is_caught_up=True)
    world.read(1)

    attempts = 0
    while world.outbox.backlogs():
        world.begin()
        world.commit()
        for send in world.flying:
            world.outbox.settle(send, Verdict("failed", "answered 5xx"), world.now_ms)
            attempts += 1
        world.flying = []
        world.outbox.wake(world.now_ms, WOKEN_BY_SUCCESS)
        world.now_ms += max(wakes[attempts % len(wakes)], world.outbox.wait_ms(world.now_ms) or 0)

    assert world.now_ms - START_MS >= SCHEDULE_MS_MIN
    assert attempts <= ATTEMPTS_MAX


def _fail(world: World, troubles: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Let each incident fail so often, as its schedule has it; return when each failed last and what that asked for."""
    failures: dict[str, int] = defaultdict(int)
    failed: dict[str, tuple[int, int]] = {}
    while any(failures[name] < often for name, (often, _) in troubles.items()):
        world.now_ms += world.outbox.wait_ms(world.now_ms) or 0
        world.begin()
        world.commit()
        for send in world.flying:
            name = send.transition.key["flow"]
            failures[name] += 1
            asked_ms = troubles[name][1] if failures[name] == troubles[name][0] else 0
            world.outbox.settle(send, Verdict("failed", "answered 5xx", retry_after_ms=asked_ms), world.now_ms)
            failed[name] = world.now_ms, asked_ms
        world.flying = []
        world.commit()
    return failed


def _let_all_out(world: World) -> dict[str, int]:
    """Let every endpoint answer from now on; return when each incident went out."""
    went_ms: dict[str, int] = {}
    while world.outbox.backlogs():
        world.begin()
        world.commit()
        while world.flying:
            went_ms[world.flying[0].transition.key["flow"]] = world.now_ms
            world.answer(0, succeeds=True, is_heard=True)
        world.commit()
        world.now_ms += world.outbox.wait_ms(world.now_ms) or 0
    return went_ms


def _do(world: World, step: tuple[object, ...]) -> None:
    match step:
        case ("read", int(count)):
            world.read(count)
        case ("read_again", int(count)):
            world.read_again(count)
        case ("answer", int(which), bool(succeeds), bool(is_heard)):
            world.answer(which, succeeds=succeeds, is_heard=is_heard)
        case ("clock", int(jump_ms)):
            world.now_ms += jump_ms
        case ("silence", str(flow)):
            world.silence(flow)
        case ("go",):
            world.begin()
            world.commit()
        case _:
            getattr(world, str(step[0]))()


def _each(sends: Sequence[Send]) -> list[Send]:
    """Return what each incident had in the messages, as if it had gone out by itself."""
    return [Send(send.channel, (member,)) for send in sends for member in send.members]


def _check_delivered(world: World) -> None:
    """Each (incident, channel) with something to tell hears of it; if it heard and all is over, of the end too."""
    heard = {(send.incident_id, send.channel, send.transition.to_state) for send in world.answered}
    backfilled = {record.incident_id for record in world.records if record.outcome == "backfilled"}
    hidden = {(each.incident_id, each.channel) for each in world.records if each.reason == OVER_WHILE_HIDDEN}
    for last in _last_of_each(world.log):
        told = [each for each in world.log if each.incident_id == last.incident_id and is_told(each)]
        for channel in set(last.notify) if told else ():
            states = {state for incident, name, state in heard if (incident, name) == (last.incident_id, channel)}
            if (last.incident_id, channel) in hidden and not states:
                assert _is_over(last)
            elif last.incident_id not in backfilled or not _is_over(last):
                assert states - {"resolved"}
            if states and last.to_state == "resolved":
                assert "resolved" in states


def _check_ids_and_order(world: World) -> None:
    known = {delivery_id(each.transition_id, channel) for each in world.log for channel in each.notify}
    assert {send.delivery_id for send in world.went_out} <= known
    by_line: dict[tuple[str, str], list[Send]] = defaultdict(list)
    for send in world.went_out:
        by_line[send.incident_id, send.channel].append(send)
    delivered = {record.delivery_id for record in world.records if record.outcome == "delivered"}
    for sends in by_line.values():
        seqs = [send.transition.seq for send in sends]
        assert seqs == sorted(seqs)
        assert sends[0].transition.to_state != "resolved"
        if sends[-1].transition.to_state == "resolved":
            assert any(send.delivery_id in delivered for send in sends if send.transition.to_state != "resolved")


def _check_backfilled(world: World) -> None:
    silent = {
        record.incident_id
        for record in world.records
        if record.outcome == "backfilled" and (record.to_state == "resolved" or record.rule == "event")
    }
    assert not silent & {send.incident_id for send in world.went_out}


def _check_records(world: World) -> None:
    by_id: dict[str, list[Delivery]] = defaultdict(list)
    for record in world.records:
        by_id[record.delivery_id].append(record)
    for send in world.went_out:
        assert any(each.outcome == "started" and each.attempt == send.attempt for each in by_id[send.delivery_id])
    for records in by_id.values():
        started = [record.attempt for record in records if record.outcome == "started"]
        refused = [record.attempt for record in records if record.reason == NO_CHANNEL.reason]
        assert sorted(started + refused) == list(range(1, len(started) + len(refused) + 1))
        assert started == sorted(started)
        newest = max(records, key=lambda record: (record.attempt, record.at_ms))
        assert newest == records[-1]
        assert newest.outcome in {"delivered", "superseded", "backfilled", "dead"}


def _last_of_each(log: Sequence[Transition]) -> list[Transition]:
    return list({each.incident_id: each for each in log}.values())


def _is_over(last: Transition) -> bool:
    return last.to_state in {"resolved", "inactive"} or last.rule_kind == "event"


def _transition(
    name: str,
    seq: int,
    states: tuple[AlertState, AlertState],
    *,
    at_ms: int,
    notify: Sequence[str],
    is_event: bool = False,
) -> Transition:
    rule = "event" if is_event else "rate"
    incident = incident_id("acme", rule, [name], START_MS)
    return Transition(
        transition_id=transition_id(incident, seq, states[1]),
        incident_id=incident,
        seq=seq,
        tenant="acme",
        rule=rule,
        rule_kind="event" if is_event else "failure_rate",
        rules_version=1,
        key={"flow": name},
        from_state=states[0],
        to_state=states[1],
        at_ms=at_ms,
        opened_at_ms=START_MS,
        reason="above",
        window_ms=0 if is_event else 60_000,
        notify=list(notify),
    )
