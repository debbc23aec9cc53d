"""The notifier by what people said: silences, hand acts, replays; and by fallbacks, delivery failures, actions."""

import json
from pathlib import Path

import msgspec
import pytest
from tests.integration.notifying import (
    GONE,
    HOUR_MS,
    NOW_MS,
    OK,
    PARTITIONS,
    SECRET,
    Clock,
    Running,
    notifying,
    receiving,
    tell,
    transition,
)

from flowgauge.schemas import topics
from flowgauge.schemas.control import (
    Acknowledged,
    ActionsSwitched,
    Control,
    Matcher,
    Merged,
    Replayed,
    ResolvedByHand,
    Silence,
    Silenced,
    SilenceExpired,
    encode_control,
)
from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.event import decode_event
from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.transition import Transition, decode_transition
from flowgauge.sinks.webhooks.actions.action import Action, ActionBook
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.delivery_watch import RULE, DeliveryWatch
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log, Outgoing

pytestmark = pytest.mark.integration

REFUSED = b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_TEST_SECRET", SECRET)


async def say(log: Log, *controls: Control) -> None:
    await log.append(topics.CONTROLS, [Outgoing(0, each.control_id, encode_control(each)) for each in controls])


def silenced(*, ends_ms: int = NOW_MS + HOUR_MS, flow: str = "orders") -> Silenced:
    silence = Silence(
        silence_id="s1", matchers=[Matcher("flow", "=", flow)], starts_ms=NOW_MS - 1, ends_ms=ends_ms, reason="moving"
    )
    return Silenced(control_id="c-silence", tenant="acme", at_ms=NOW_MS - 1, by="ann", silence=silence)


def lost(channel: str) -> Delivery:
    return Delivery(
        delivery_id="d",
        transition_id="t",
        incident_id="i",
        tenant="acme",
        rule="r",
        channel=channel,
        to_state="firing",
        attempt=1,
        outcome="dead",
        at_ms=NOW_MS - 1,
    )


async def transitions_in(log: Log) -> list[Transition]:
    found = [
        record
        for partition in range(log.partitions(topics.TRANSITIONS))
        for record in await log.read(topics.TRANSITIONS, partition, 0, 100)
    ]
    return [decode_transition(record.value or b"") for record in found]


def with_channel(running: Running, *channels: Channel) -> None:
    running.places = Places(ChannelBook(channels))


async def test_a_silence_that_stood_in_the_log_before_the_start_hides_and_its_end_tells_at_once(tmp_path: Path) -> None:
    clock = Clock()
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    await say(log, silenced())
    await tell(log, transition("firing", 0), transition("firing", 0, key="other"))
    await log.close()
    async with receiving() as receiver, notifying(tmp_path, receiver.channel(), clock=clock) as running:
        await running.has_recorded("silenced")
        await running.has_recorded("delivered", 1)
        assert [json.loads(each.body)["data"]["key"] for each in receiver.messages] == [{"flow": "other"}]

        clock.now_ms += HOUR_MS
        await running.has_recorded("delivered", 2)

        assert json.loads(receiver.messages[1].body)["data"]["key"] == {"flow": "orders"}


async def test_a_silence_that_is_ended_by_hand_lets_go_within_the_moment(tmp_path: Path) -> None:
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        await say(running.log, silenced())
        await running.until(lambda: True)
        await tell(running.log, transition("firing", 0, key="probe"))
        await running.has_recorded("delivered", 1)
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("silenced", 1)

        await say(running.log, SilenceExpired(control_id="c2", tenant="acme", at_ms=NOW_MS, by="ann", silence_id="s1"))

        await running.has_recorded("delivered", 2)


async def test_an_incident_resolved_by_hand_is_told_as_resolved_with_who_said_so(tmp_path: Path) -> None:
    firing = transition("firing", 0)
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, firing)
        await running.has_recorded("delivered", 1)
        await say(
            running.log,
            ResolvedByHand(
                control_id="c", tenant="acme", at_ms=NOW_MS, by="ann", incident_id=firing.incident_id, reason="rerun"
            ),
        )
        await running.has_recorded("delivered", 2)
        await tell(running.log, transition("resolved", 1))
        await running.has_recorded("superseded", 1)

        told = [json.loads(each.body) for each in receiver.messages]
        assert [each["type"] for each in told] == ["incident.firing", "incident.resolved"]
        assert told[1]["data"]["reason"] == "resolved by ann: rerun"


async def test_a_merged_incident_is_told_that_it_is_part_of_another(tmp_path: Path) -> None:
    firing = transition("firing", 0)
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, firing)
        await running.has_recorded("delivered", 1)
        await say(
            running.log,
            Merged(control_id="c", tenant="acme", at_ms=NOW_MS, by="ann", incident_id=firing.incident_id, into="main"),
        )
        await running.has_recorded("delivered", 2)

        assert json.loads(receiver.messages[1].body)["data"]["reason"] == "merged into main"


async def test_an_acknowledged_incident_gets_no_reminder(tmp_path: Path) -> None:
    clock = Clock()
    one, two, three = (transition("firing", 0, key=each) for each in ("one", "two", "three"))
    async with receiving() as receiver, notifying(tmp_path, clock=clock) as running:
        with_channel(running, receiver.channel().model_copy(update={"repeat": 4 * HOUR_MS}))
        await tell(running.log, one, two, three)
        await running.has_recorded("delivered", 3)
        await say(
            running.log,
            Acknowledged(control_id="c", tenant="acme", at_ms=NOW_MS, by="ann", incident_id=one.incident_id),
            ResolvedByHand(control_id="d", tenant="acme", at_ms=NOW_MS, by="ann", incident_id=three.incident_id),
        )
        await running.has_recorded("delivered", 4)
        clock.now_ms += 4 * HOUR_MS
        await running.has_recorded("delivered", 5)

        assert [json.loads(each.body)["data"]["key"]["flow"] for each in receiver.messages[3:]] == ["three", "two"]
        assert len({each.id for each in receiver.messages}) == 5


async def test_what_was_given_up_is_sent_again_under_the_same_id_and_marked(tmp_path: Path) -> None:
    clock, firing = Clock(), transition("firing", 0)
    async with receiving(GONE) as receiver, notifying(tmp_path, receiver.channel(), clock=clock) as running:
        await tell(running.log, firing)
        await running.has_recorded("dead", 1)
        with_channel(running, receiver.channel())
        clock.now_ms += 10
        await say(running.log, Replayed(control_id="c", tenant="acme", at_ms=clock.now_ms, by="ann", channel="ops"))
        await running.has_recorded("delivered", 1)

        assert [each.id for each in receiver.messages] == [delivery_id(firing.transition_id, "ops")] * 2
        assert ["flowgauge-replay" in each.headers for each in receiver.messages] == [False, True]


async def test_another_tenant_cannot_have_it_sent_again(tmp_path: Path) -> None:
    clock = Clock()
    async with receiving(GONE) as receiver, notifying(tmp_path, receiver.channel(), clock=clock) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("dead", 1)
        with_channel(running, receiver.channel())
        clock.now_ms += 10
        dead = running.deliveries[-1].delivery_id
        await say(
            running.log,
            Replayed(control_id="c", tenant="other", at_ms=clock.now_ms, by="eve", delivery_id=dead),
            Replayed(control_id="d", tenant="other", at_ms=clock.now_ms, by="eve"),
        )
        await tell(running.log, transition("firing", 0, key="next"))
        await running.has_recorded("delivered", 1)

        assert len(receiver.messages) == 2


async def test_a_channel_that_is_not_reached_is_an_incident_told_through_another_until_it_is_well(
    tmp_path: Path,
) -> None:
    async with receiving(GONE) as broken, receiving() as watcher, notifying(tmp_path) as running:
        ops = watcher.channel("watch").model_copy(update={"delivery_failures": True})
        with_channel(running, broken.channel(), ops)
        await tell(running.log, transition("firing", 0))
        await running.until(lambda: bool(watcher.messages))
        with_channel(running, broken.channel(), ops)
        await tell(running.log, transition("firing", 0, key="next"))
        await running.until(lambda: len(watcher.messages) == 2)

        told = [json.loads(each.body) for each in watcher.messages]
        assert [each["type"] for each in told] == ["incident.firing", "incident.resolved"]
        assert told[0]["data"]["rule"] == RULE
        assert told[0]["data"]["key"] == {"channel": "ops"}
        assert [each.rule for each in await transitions_in(running.log)].count(RULE) == 2


async def test_trouble_that_was_written_and_not_read_before_the_end_ends_with_the_next_message(tmp_path: Path) -> None:
    (opened,) = DeliveryWatch().after([lost("ops")], lambda _: False, lambda _: ("watcher",), NOW_MS - 1)
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    await tell(log, opened)
    await log.close()
    async with receiving() as receiver, receiving() as watcher, notifying(tmp_path) as running:
        with_channel(running, receiver.channel(), watcher.channel("watcher"))
        await running.has_recorded("delivered", 1)
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("delivered", 3)

        assert [each.type for each in watcher.messages] == ["incident.firing", "incident.resolved"]


async def test_a_dead_page_goes_to_the_fallback(tmp_path: Path) -> None:
    async with receiving(GONE) as broken, receiving() as other, notifying(tmp_path) as running:
        page = broken.channel().model_copy(update={"fallback": "boss"})
        with_channel(running, page, other.channel("boss"))
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("delivered", 1)

        assert [each.type for each in other.messages] == ["incident.firing"]


async def test_an_action_runs_once_and_its_result_is_an_event(tmp_path: Path) -> None:
    async with receiving(OK) as receiver, notifying(tmp_path) as running:
        url = f"http://127.0.0.1:{receiver.port}/restart"
        action = Action.model_validate({"name": "restart", "http": {"url": url}})
        running.places = Places(actions=ActionBook((action,)))
        await tell(running.log, transition("firing", 0, notify=["action:restart"]))
        await running.has_recorded("delivered", 1)

        (record,) = await running.log.read(topics.EVENTS, 0, 0, 10)
        event = decode_event(record.value or b"")
        assert (event.event, event.tenant) == ("flowgauge.action.succeeded", "acme")
        assert len(receiver.messages) == 1


async def test_a_stop_of_actions_refuses_them_and_channels_go_on(tmp_path: Path) -> None:
    async with receiving() as receiver, notifying(tmp_path) as running:
        url = f"http://127.0.0.1:{receiver.port}/restart"
        action = Action.model_validate({"name": "restart", "http": {"url": url}})
        await say(running.log, ActionsSwitched(control_id="c", tenant="*", at_ms=NOW_MS, by="ann", are_stopped=True))
        running.places = Places(ChannelBook((receiver.channel(),)), ActionBook((action,)))
        await tell(running.log, transition("firing", 0, key="first"))
        await running.has_recorded("delivered", 1)
        await tell(running.log, msgspec.structs.replace(transition("firing", 0), notify=["ops", "action:restart"]))
        await running.has_recorded("delivered", 2)
        await running.has_recorded("dead", 1)

        assert [each.type for each in receiver.messages] == ["incident.firing"] * 2
        (refused,) = await running.log.read(topics.EVENTS, 0, 0, 10)
        assert decode_event(refused.value or b"").event == "flowgauge.action.refused"
