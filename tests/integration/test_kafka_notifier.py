"""The notifier on a real Kafka: a silence, a hand act, an action, a channel that is not reached: in transactions."""

import json
from collections.abc import AsyncIterator

import pytest
from tests.integration.notifying import GONE, NOW_MS, OK, SECRET, Running, notifying_on, receiving, tell, transition
from tests.integration.own_log import made, opened

from flowgauge.schemas import topics
from flowgauge.schemas.control import Control, Matcher, ResolvedByHand, Silence, Silenced, encode_control
from flowgauge.schemas.event import decode_event
from flowgauge.sinks.webhooks.actions.action import Action, ActionBook
from flowgauge.sinks.webhooks.channels import ChannelBook
from flowgauge.sinks.webhooks.delivery_watch import RULE
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.kafka import KafkaLog
from flowgauge.transport.log import Outgoing

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_TEST_SECRET", SECRET)


@pytest.fixture
async def log(kafka: str) -> AsyncIterator[KafkaLog]:
    async with opened(await made(kafka)) as log:
        yield log


async def say(running: Running, *controls: Control) -> None:
    said = [Outgoing(0, each.control_id, encode_control(each)) for each in controls]
    await running.log.append(topics.CONTROLS, said)


async def test_what_people_say_holds_and_what_the_notifier_says_itself_is_read(log: KafkaLog) -> None:
    silence = Silence(
        silence_id="s", matchers=[Matcher("flow", "=", "quiet")], starts_ms=0, ends_ms=NOW_MS * 2, reason="moving"
    )
    told = transition("firing", 0, key="told")
    async with receiving(GONE) as broken, receiving(*[OK] * 9) as well, notifying_on(log) as running:
        url = f"http://127.0.0.1:{well.port}/restart"
        watch = well.channel("watch").model_copy(update={"delivery_failures": True})
        running.places = Places(
            ChannelBook((broken.channel("lost"), well.channel(), watch)),
            ActionBook((Action.model_validate({"name": "restart", "http": {"url": url}}),)),
        )
        await say(running, Silenced(control_id="c", tenant="acme", at_ms=1, by="ann", silence=silence))
        await tell(log, told)
        await running.has_recorded("delivered", 1)
        await say(
            running,
            ResolvedByHand(control_id="d", tenant="acme", at_ms=NOW_MS, by="ann", incident_id=told.incident_id),
        )
        await running.has_recorded("delivered", 2)
        await tell(log, transition("firing", 0, key="quiet"))
        await tell(log, transition("firing", 0, key="loud", notify=["lost", "action:restart"]))
        await running.has_recorded("silenced", 1)
        await running.until(lambda: {each.rule for each in running.deliveries} >= {RULE})
        await running.has_recorded("delivered", 4)

    bodies = [json.loads(each.body) for each in well.messages]
    assert [each["type"] for each in bodies if each.get("data", {}).get("key") == {"flow": "told"}] == [
        "incident.firing",
        "incident.resolved",
    ]
    assert [each["data"]["key"] for each in bodies if each.get("data", {}).get("rule") == RULE] == [{"channel": "lost"}]
    assert not [each for each in bodies if each.get("data", {}).get("key") == {"flow": "quiet"}]
    assert await _events(log) == ["flowgauge.action.succeeded"]


async def _events(log: KafkaLog) -> list[str]:
    found = [
        record
        for partition in range(log.partitions(topics.EVENTS))
        for record in await log.read(topics.EVENTS, partition, 0, 10)
    ]
    return [decode_event(record.value or b"").event for record in found]
