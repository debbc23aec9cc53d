"""The outbox with something in the way: silences, groups, fallbacks, reminders, people, and what is sent again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.ids import incident_id, transition_id
from flowgauge.schemas.transition import AlertState, Transition
from flowgauge.sinks.webhooks.groups import MEMBERS_MAX
from flowgauge.sinks.webhooks.outbox import SENDS_PER_ENDPOINT_MAX, Outbox
from flowgauge.sinks.webhooks.policy import Grouping, Hidden, LinePolicy, Ways
from flowgauge.sinks.webhooks.schedule import RETRY_DELAYS_MS, Verdict
from flowgauge.sinks.webhooks.sends import Refusal, Send
from flowgauge.sinks.webhooks.telling import NEVER_TOLD, OVER_WHILE_HIDDEN, UNKNOWN_OUTCOME

NOW_MS = 1_800_000_000_000
M, H = 60_000, 3_600_000
DELIVERED = Verdict("delivered", status=200)
FAILED = Verdict("failed", "answered 5xx", 500)
DEAD = Verdict("dead", "refused: answered 400", 400)


@dataclass
class World:
    """An outbox, what surrounds it, a clock, and all that was committed."""

    policies: dict[str, LinePolicy] = field(default_factory=dict[str, LinePolicy])
    silenced_until_ms: int = 0
    concluded: dict[str, str] = field(default_factory=dict[str, str])
    routes: tuple[str, ...] = ()
    now_ms: int = NOW_MS
    stored: dict[str, bytes] = field(default_factory=dict[str, bytes])
    records: list[Delivery] = field(default_factory=list[Delivery])
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = self._new()

    def _new(self) -> Outbox:
        ways = Ways(
            policy=lambda lane: self.policies.get(lane[1], LinePolicy()),
            hidden=lambda _, now_ms: Hidden(self.silenced_until_ms, "s1") if now_ms < self.silenced_until_ms else None,
            concluded=lambda transition: self.concluded.get(transition.incident_id, ""),
            routed=lambda _: self.routes,
        )
        return Outbox(max_alert_age_ms=H, ways=ways)

    def see(self, *transitions: Transition) -> None:
        for each in transitions:
            self.outbox.see(each, now_ms=self.now_ms, is_caught_up=True)

    def begin(self, refusal: Refusal = lambda _lane, _about: None) -> list[Send]:
        sends = self.outbox.begin_due(self.now_ms, refusal)
        self.commit()
        return sends

    def commit(self) -> None:
        changes = self.outbox.take_changes()
        self.records += changes.records
        for name, value in changes.state.items():
            if value is None:
                self.stored.pop(name, None)
            else:
                self.stored[name] = value

    def settle(self, sends: Sequence[Send], verdict: Verdict = DELIVERED) -> None:
        for send in sends:
            self.outbox.settle(send, verdict, self.now_ms)
        self.commit()

    def deliver(self) -> list[tuple[str, str]]:
        """Let all that is due go out and arrive; return (channel, state) of each, in order."""
        told: list[tuple[str, str]] = []
        while sends := self.begin():
            told += [(send.channel, member.transition.to_state) for send in sends for member in send.members]
            self.settle(sends)
        return told

    def wait(self, ms: int) -> None:
        self.now_ms += ms

    def restart(self) -> None:
        self.outbox = self._new()
        self.outbox.restore(self.stored, self.now_ms)
        self.commit()

    def told_of(self, outcome: str) -> list[tuple[str, str, str]]:
        return [(each.channel, each.to_state, each.reason) for each in self.records if each.outcome == outcome]


def transition(
    to: AlertState, seq: int, *, key: str = "k", notify: Sequence[str] = ("ops",), kind: str = "failure_rate"
) -> Transition:
    incident = incident_id("acme", "r", [key], 1)
    return Transition(
        transition_id=transition_id(incident, seq, to),
        incident_id=incident,
        seq=seq,
        tenant="acme",
        rule="r",
        rule_kind=kind,
        rules_version=1,
        key={"flow": key},
        from_state="inactive",
        to_state=to,
        at_ms=NOW_MS,
        opened_at_ms=NOW_MS,
        reason="above",
        window_ms=600_000,
        severity="critical",
        notify=list(notify),
    )


def test_a_silence_holds_and_at_its_end_what_still_fires_is_told_at_once() -> None:
    world = World(silenced_until_ms=NOW_MS + H)
    world.see(transition("firing", 0))

    assert world.deliver() == []
    assert world.told_of("silenced") == [("ops", "firing", "silenced by s1")]
    assert world.outbox.backlogs() == {}
    world.wait(H - 1)
    assert world.deliver() == []
    world.wait(1)

    assert world.deliver() == [("ops", "firing")]
    assert len(world.told_of("silenced")) == 1


def test_what_opened_and_ended_inside_a_silence_is_recorded_and_not_told() -> None:
    world = World(silenced_until_ms=NOW_MS + H)
    world.see(transition("firing", 0))
    world.deliver()
    world.see(transition("resolved", 1))
    world.wait(H)

    assert world.deliver() == []
    assert world.told_of("superseded") == [("ops", "firing", OVER_WHILE_HIDDEN), ("ops", "resolved", OVER_WHILE_HIDDEN)]
    assert world.stored == {}


def test_what_outlived_a_silence_is_told_though_it_ended_before_its_group_or_its_channel_had_room() -> None:
    for group in (Grouping((), wait_ms=1_000, interval_ms=5_000), None):
        world = World({"ops": LinePolicy(group=group)}, silenced_until_ms=NOW_MS + H)
        world.see(transition("firing", 0))
        assert world.deliver() == []
        world.wait(H - 1)
        assert world.deliver() == []

        world.wait(1)
        if group:
            assert world.begin() == []  # the group waits for others
        world.see(transition("resolved", 1))
        told = world.deliver()
        for _ in range(2):
            world.wait(5_000)
            told += world.deliver()

        assert told == [("ops", "firing"), ("ops", "resolved")]


def test_what_is_silenced_takes_no_turn_of_its_group() -> None:
    world = World({"ops": LinePolicy(group=Grouping((), wait_ms=1_000, interval_ms=15_000))}, NOW_MS + 2_000)
    world.see(transition("firing", 0, key="hidden"))
    assert world.deliver() == []
    world.wait(1_500)
    assert world.deliver() == []

    world.silenced_until_ms = world.now_ms
    world.see(transition("firing", 0, key="seen"))
    assert world.deliver() == []
    world.wait(1_000)

    assert world.deliver() == [("ops", "firing"), ("ops", "firing")]


def test_what_was_told_before_and_ended_inside_a_silence_is_told_at_its_end() -> None:
    world = World()
    world.see(transition("firing", 0))
    world.deliver()
    world.silenced_until_ms = NOW_MS + H
    world.see(transition("resolved", 1))

    assert world.deliver() == []
    world.wait(H)

    assert world.deliver() == [("ops", "resolved")]


def test_a_silence_that_is_ended_early_lets_go_at_once_and_one_that_is_lengthened_holds_on() -> None:
    world = World(silenced_until_ms=NOW_MS + H)
    world.see(transition("firing", 0))
    world.deliver()
    world.silenced_until_ms = NOW_MS + 2 * H
    world.wait(H)
    assert world.deliver() == []

    world.silenced_until_ms = 0
    world.outbox.ask_again(world.now_ms)

    assert world.deliver() == [("ops", "firing")]


def test_a_silence_is_kept_over_a_restart() -> None:
    world = World(silenced_until_ms=NOW_MS + H)
    world.see(transition("firing", 0))
    world.deliver()

    world.restart()
    assert world.deliver() == []
    world.wait(H)

    assert world.deliver() == [("ops", "firing")]
    assert len(world.told_of("silenced")) == 1


def test_a_storm_in_a_grouped_lane_is_few_messages_and_every_transition_is_recorded() -> None:
    world = World({"ops": LinePolicy(group=Grouping((), wait_ms=1_000, interval_ms=15_000))})
    storm = [transition("firing", 0, key=f"k{number}") for number in range(MEMBERS_MAX + 500)]
    world.see(*storm)
    assert world.begin() == []
    assert world.outbox.wait_ms(world.now_ms) == 1_000

    world.wait(1_000)
    (first,) = world.begin()
    world.settle([first])
    assert world.begin() == []
    world.wait(15_000)
    (second,) = world.begin()
    world.settle([second])

    assert [len(first.members), len(second.members)] == [MEMBERS_MAX, 500]
    assert len({record.delivery_id for record in world.records if record.outcome == "delivered"}) == len(storm)
    assert world.outbox.wait_ms(world.now_ms) is None


def test_groups_are_by_the_values_asked_for() -> None:
    world = World({"ops": LinePolicy(group=Grouping(("flow",), wait_ms=0, interval_ms=15_000))})
    world.see(transition("firing", 0, key="a"), transition("firing", 0, key="b"))

    groups = [[member.transition.key["flow"] for member in send.members] for send in world.begin()]
    assert sorted(groups) == [["a"], ["b"]]


def test_a_group_that_failed_is_tried_again_together_and_takes_along_what_came_since() -> None:
    world = World({"ops": LinePolicy(retry="chat", group=Grouping((), wait_ms=0, interval_ms=1_000))})
    world.see(transition("firing", 0, key="a"), transition("firing", 0, key="b"))
    world.settle(world.begin(), FAILED)
    world.wait(20_000)
    world.see(transition("firing", 0, key="c"))

    (again,) = world.begin()

    assert sorted(member.transition.key["flow"] for member in again.members) == ["a", "b", "c"]
    assert sorted(member.attempt for member in again.members) == [1, 2, 2]


def test_a_resolve_that_comes_while_its_group_waits_is_told_after_its_firing() -> None:
    world = World({"ops": LinePolicy(group=Grouping((), wait_ms=1_000, interval_ms=5_000))})
    world.see(transition("firing", 0))
    world.begin()
    world.see(transition("resolved", 1))
    world.wait(1_000)
    world.settle(world.begin())
    assert world.begin() == []
    world.wait(5_000)
    world.settle(world.begin())

    assert [to for _, to, _ in world.told_of("delivered")] == ["firing", "resolved"]
    assert world.stored == {}


def test_a_page_that_is_not_taken_in_time_goes_to_the_fallback_just_then() -> None:
    world = World({"ops": LinePolicy(fallback="boss", fallback_after_ms=15 * M)})
    world.see(transition("firing", 0))
    while world.now_ms < NOW_MS + 15 * M:
        world.settle(world.begin(), FAILED)
        assert not [each for each in world.records if each.channel == "boss"]
        world.wait(world.outbox.wait_ms(world.now_ms) or 0)
    assert world.now_ms == NOW_MS + 15 * M
    world.settle([send for send in world.begin() if send.channel == "ops"], FAILED)

    assert world.deliver() == [("boss", "firing")]
    world.see(transition("resolved", 1))
    assert ("boss", "resolved") in world.deliver()


def test_a_dead_page_and_a_receiver_that_asks_for_too_much_patience_go_to_the_fallback_at_once() -> None:
    for verdict in (DEAD, Verdict("failed", "answered 429", 429, retry_after_ms=H)):
        world = World({"ops": LinePolicy(fallback="boss", fallback_after_ms=15 * M)})
        world.see(transition("firing", 0))
        world.settle(world.begin(), verdict)

        assert [(send.channel, send.transition.to_state) for send in world.begin()] == [("boss", "firing")]


def test_fallbacks_that_name_each_other_end() -> None:
    world = World({"a": LinePolicy(fallback="b"), "b": LinePolicy(fallback="a")})
    world.see(transition("firing", 0, notify=["a"]))
    for _ in range(5):
        world.settle(world.begin(), DEAD)

    assert sorted(channel for channel, *_ in world.told_of("dead")) == ["a", "b"]


def test_what_still_fires_is_told_again_under_another_id_until_somebody_looks_after_it() -> None:
    world = World({"ops": LinePolicy(repeat_ms=4 * H)})
    opening = transition("firing", 0)
    world.see(opening)
    assert world.deliver() == [("ops", "firing")]
    assert world.outbox.backlogs() == {}
    world.wait(4 * H)
    assert world.deliver() == [("ops", "firing")]
    world.restart()
    world.wait(4 * H)
    assert world.deliver() == [("ops", "firing")]

    world.outbox.look_after(opening.incident_id)
    world.wait(4 * H)
    assert world.deliver() == []

    delivered = [record.delivery_id for record in world.records if record.outcome == "delivered"]
    assert len(set(delivered)) == len(delivered) == 3
    world.see(transition("resolved", 1))
    assert world.deliver() == [("ops", "resolved")]
    assert world.told_of("superseded") == []


def test_an_incident_that_a_person_ends_is_told_as_resolved_once_and_its_rule_is_not_heard_any_more() -> None:
    world = World()
    opening = transition("firing", 0)
    world.see(opening)
    world.deliver()

    world.concluded[opening.incident_id] = "resolved by ann"
    world.outbox.conclude(opening.incident_id, "resolved by ann", at_ms=NOW_MS + 5, now_ms=world.now_ms)
    world.outbox.conclude(opening.incident_id, "resolved by ann", at_ms=NOW_MS + 5, now_ms=world.now_ms)
    (send,) = world.begin()
    world.settle([send])
    world.see(transition("no_data", 2), transition("resolved", 3))

    assert (send.transition.to_state, send.transition.reason) == ("resolved", "resolved by ann")
    assert world.deliver() == []
    assert world.told_of("superseded") == [
        ("ops", "no_data", "resolved by ann"),
        ("ops", "resolved", "resolved by ann"),
    ]
    assert world.stored == {}


def test_a_dead_letter_is_sent_again_under_the_same_id_and_its_end_follows() -> None:
    world = World()
    world.see(transition("firing", 0))
    (lost,) = world.begin()
    world.settle([lost], DEAD)
    world.see(transition("resolved", 1))
    world.commit()
    assert world.told_of("superseded") == [("ops", "resolved", NEVER_TOLD)]
    world.restart()
    world.wait(H)

    assert world.outbox.replay(lost.delivery_id, asked_ms=world.now_ms, now_ms=world.now_ms)
    (again,) = world.begin()
    assert (again.delivery_id, again.is_replay, again.attempt) == (lost.delivery_id, True, 2)
    world.settle([again])

    assert world.deliver() == [("ops", "resolved")]
    assert world.stored == {}
    assert not world.outbox.replay(lost.delivery_id, asked_ms=world.now_ms, now_ms=world.now_ms)


def test_a_replay_that_was_asked_for_before_it_died_again_changes_nothing() -> None:
    world = World()
    world.see(transition("firing", 0))
    (lost,) = world.begin()
    asked_ms = world.now_ms
    world.settle([lost], DEAD)

    assert not world.outbox.replay(lost.delivery_id, asked_ms=asked_ms, now_ms=world.now_ms)
    assert list(world.outbox.letters.since(0, NOW_MS + H, "ops", "acme")) == [lost.delivery_id]
    assert list(world.outbox.letters.since(0, NOW_MS + 1, "", "other")) == []


def test_an_action_of_unknown_outcome_is_not_repeated_and_a_channel_is() -> None:
    world = World({"action:restart": LinePolicy(is_repeatable=False)})
    world.see(transition("firing", 0, notify=["ops", "action:restart"]))
    assert len(world.begin()) == 2

    world.restart()

    assert [send.channel for send in world.begin()] == ["ops"]
    assert world.told_of("dead") == [("action:restart", "firing", UNKNOWN_OUTCOME)]


def test_an_action_is_carried_out_for_the_states_that_name_it_and_for_no_other() -> None:
    world = World()
    world.see(
        transition("firing", 0, notify=["ops", "action:stop"]), transition("resolved", 1, notify=["ops", "action:go"])
    )

    assert sorted(world.deliver()) == [
        ("action:go", "resolved"),
        ("action:stop", "firing"),
        ("ops", "firing"),
        ("ops", "resolved"),
    ]


def test_routes_add_channels_to_those_that_the_rule_names() -> None:
    world = World(routes=("team", "ops"))
    world.see(transition("firing", 0))

    assert sorted(world.deliver()) == [("ops", "firing"), ("team", "firing")]


def test_retry_classes_have_their_own_patience() -> None:
    world = World({"ops": LinePolicy(retry="generic")})
    world.see(transition("firing", 0))
    attempts = 0
    while sends := world.begin():
        attempts += 1
        world.settle(sends, FAILED)
        world.wait(world.outbox.wait_ms(world.now_ms) or 0)

    assert attempts == len(RETRY_DELAYS_MS["generic"])


def test_a_group_whose_channel_takes_none_any_more_is_told_one_by_one() -> None:
    world = World({"ops": LinePolicy(group=Grouping((), wait_ms=1_000, interval_ms=15_000))})
    world.see(transition("firing", 0, key="a"), transition("firing", 0, key="b"))
    assert world.begin() == []

    world.policies = {}

    assert world.deliver() == [("ops", "firing"), ("ops", "firing")]
    assert world.outbox.wait_ms(world.now_ms) is None


def test_a_fallback_is_not_late_by_the_time_that_a_clock_steps_back() -> None:
    world = World({"ops": LinePolicy(fallback="boss", fallback_after_ms=15 * M)})
    world.see(transition("firing", 0))
    world.settle(world.begin(), FAILED)
    world.wait(-24 * H)
    told: list[str] = []
    for _ in range(18):
        sends = world.begin()
        told += [send.channel for send in sends]
        world.settle(sends, FAILED)
        world.wait(M)

    assert "boss" in told


def test_a_group_that_was_quiet_for_its_interval_waits_for_others_again() -> None:
    world = World({"ops": LinePolicy(group=Grouping((), wait_ms=1_000, interval_ms=15_000))})
    world.see(transition("firing", 0, key="a"))
    assert world.begin() == []
    world.wait(1_000)
    assert len(world.deliver()) == 1
    world.wait(15_000)

    world.see(transition("firing", 0, key="b"))
    assert world.begin() == []
    world.see(transition("firing", 0, key="c"))
    world.wait(1_000)

    (send,) = world.begin()
    assert len(send.members) == 2


def of_tenant(tenant: str, name: str, channel: str = "ops") -> Transition:
    about = transition("firing", 0, notify=[channel])
    return msgspec.structs.replace(
        about, tenant=tenant, incident_id=f"{tenant}-{name}", transition_id=f"{tenant}-{name}"
    )


def test_a_tenant_that_holds_as_many_incidents_as_it_may_leaves_room_for_the_others() -> None:
    outbox = Outbox(max_alert_age_ms=H, tenant_incidents_max=1)
    for each in (of_tenant("acme", "a"), of_tenant("acme", "b"), of_tenant("other", "c")):
        outbox.see(each, now_ms=NOW_MS, is_caught_up=True)

    sends = outbox.begin_due(NOW_MS, lambda _lane, _about: None)

    assert [send.incident_id for send in sends] == ["acme-a", "other-c"]
    assert outbox.refused_incidents == 1


def test_an_endpoint_that_many_lanes_lead_to_has_one_share_of_the_attempts() -> None:
    slow, ops = (LinePolicy(endpoint=f"https://{name}.example") for name in ("slow", "ops"))
    world = World({"slow": slow, "ops": ops})
    tenants = [f"t{number}" for number in range(4)]
    world.see(*(of_tenant(each, str(n), "slow") for each in tenants for n in range(SENDS_PER_ENDPOINT_MAX)))
    world.see(transition("firing", 0))

    sends = world.begin()

    assert [send.channel for send in sends].count("slow") == SENDS_PER_ENDPOINT_MAX
    assert [send.channel for send in sends].count("ops") == 1
    world.settle(sends)
    assert len(world.begin()) == SENDS_PER_ENDPOINT_MAX
