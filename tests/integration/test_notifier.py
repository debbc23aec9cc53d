"""The notifier on the real log, with real receivers on loopback: what arrives, under which id, after which trouble."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from tests.integration.notifying import (
    BROKEN,
    BUSY,
    GONE,
    HALF,
    HOUR_MS,
    MOVED,
    NOW_MS,
    PARTITIONS,
    SECRET,
    Clock,
    notifying,
    receiving,
    tell,
    transition,
)

from flowgauge.schemas import topics
from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.setting_parts import SecretFromEnv
from flowgauge.schemas.signing import verify
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Outgoing

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_TEST_SECRET", SECRET)


async def test_a_firing_and_its_resolve_arrive_signed_and_in_order(tmp_path: Path) -> None:
    firing, resolved = transition("firing", 1), transition("resolved", 2)
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("pending", 0), firing, resolved)
        await running.has_recorded("delivered", 2)

        assert [message.type for message in receiver.messages] == ["incident.firing", "incident.resolved"]
        for message, told in zip(receiver.messages, (firing, resolved), strict=True):
            verify([SECRET], message.headers, message.body, now_s=NOW_MS // 1000)
            assert message.id == delivery_id(told.transition_id, "ops")
        data = json.loads(receiver.messages[0].body)["data"]
        assert data["summary"] == "orders: 60%"
        assert data["link"] == f"https://gauge.example/incidents/{firing.incident_id}"
        assert running.outcomes == [
            ("firing", "started", ""),
            ("firing", "delivered", ""),
            ("resolved", "started", ""),
            ("resolved", "delivered", ""),
        ]
        assert running.problems == {}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(BROKEN, "answered 5xx"), (MOVED, "answered 3xx"), (HALF, "answer is not whole HTTP")],
)
async def test_a_failure_is_retried_under_the_same_id_and_nothing_follows_a_redirect(
    tmp_path: Path, reply: bytes, reason: str
) -> None:
    async with receiving(reply) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")
        await running.until(lambda: running.problems == {"channel ops": f"a message waits to be tried again: {reason}"})
        running.clock.now_ms += 10_000
        await running.has_recorded("delivered")

        assert len(receiver.messages) == 2
        assert len({message.id for message in receiver.messages}) == 1
        assert len({message.body for message in receiver.messages}) == 1
        assert len({message.headers["webhook-timestamp"] for message in receiver.messages}) == 2
        assert [outcome for _, outcome, _ in running.outcomes] == ["started", "failed", "started", "delivered"]
        await running.until(lambda: running.problems == {})


async def test_a_busy_receiver_is_left_alone_for_as_long_as_it_asks(tmp_path: Path) -> None:
    async with receiving(BUSY) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")

        failed = running.deliveries[-1]

        assert (failed.reason, failed.status) == ("answered 429", 429)
        assert failed.next_attempt_ms == NOW_MS + 120_000


async def test_a_receiver_that_hangs_holds_up_nobody_and_is_told_again_after_a_restart(tmp_path: Path) -> None:
    async with receiving(hangs=True) as slow, receiving() as quick:
        channels = slow.channel("slow"), quick.channel("quick")
        async with notifying(tmp_path, *channels) as running:
            await tell(
                running.log, *(transition("firing", 0, key=f"k{n}", notify=["slow", "quick"]) for n in range(20))
            )
            await running.has_recorded("delivered", 20)
            await slow.has_come(1)
        assert len(quick.messages) == 20

        slow.hangs = False
        async with notifying(tmp_path, *channels) as running:
            await running.has_recorded("delivered", 40)

        assert len(quick.messages) == 20
        assert len({message.id for message in slow.messages}) == 20


async def test_a_connection_that_is_refused_is_retried(tmp_path: Path) -> None:
    async with receiving() as receiver:
        channel = receiver.channel()
    async with notifying(tmp_path, channel) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")

        assert running.outcomes[-1] == ("firing", "failed", "cannot connect")


async def test_an_endpoint_that_is_gone_is_not_called_again(tmp_path: Path) -> None:
    async with receiving(GONE) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("dead")
        await tell(running.log, transition("firing", 0, key="other"))
        await running.has_recorded("dead", 2)

        assert len(receiver.messages) == 1
        assert [reason for _, outcome, reason in running.outcomes if outcome == "dead"] == [
            "endpoint gone: it answered 410",
            "endpoint gone: it answered 410",
        ]
        await running.until(lambda: "change its `url:`" in running.problems.get("channel ops", ""))


async def test_a_channel_nobody_defined_is_waited_for_and_the_other_is_told(tmp_path: Path) -> None:
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0, notify=["nobody", "ops"]))
        await running.has_recorded("delivered")

        failed = [each for each in running.deliveries if each.outcome == "failed"]
        assert [(each.channel, each.reason) for each in failed] == [("nobody", "no such channel")]
        await running.until(lambda: "channel nobody" in running.problems)
        assert "define it under `channels:`" in running.problems["channel nobody"]
        assert running.health.undelivered == 1


async def test_a_channel_that_is_added_later_is_told_soon_of_what_waited_for_it(tmp_path: Path) -> None:
    async with receiving() as receiver, notifying(tmp_path) as running:
        await tell(running.log, *(transition("firing", 0, key=f"k{n}") for n in range(3)))
        await running.has_recorded("failed", 3)
        for count in (6, 9, 12):
            running.clock.now_ms += 20 * 60_000
            await running.has_recorded("failed", count)
        assert receiver.messages == []

        running.clock.now_ms += 6_000
        running.places = Places(ChannelBook((receiver.channel(),)))
        await running.has_recorded("delivered", 3)

        await running.until(lambda: running.problems == {})


async def test_once_a_receiver_is_back_what_waits_goes_out_for_all_tenants_of_the_channel(tmp_path: Path) -> None:
    async with receiving(*[BROKEN] * 10) as receiver, notifying(tmp_path, receiver.channel()) as running:
        waiting = [transition("firing", 0, key=f"k{n}") for n in range(2)]
        await tell(running.log, *waiting, *(msgspec.structs.replace(each, tenant="other",
            incident_id=f"other-{each.incident_id}", transition_id=f"other-{each.transition_id}")
            for each in waiting))  # fmt: skip
        for count in (4, 8, 12, 16):
            await running.has_recorded("failed", count)
            running.clock.now_ms += 20 * 60_000 if count < 16 else 6_000

        assert len(receiver.messages) == 10  # its circuit opened: each time one was tried
        await tell(running.log, transition("firing", 0, key="new", at_ms=running.clock.now_ms))
        await running.has_recorded("failed", 17)
        running.clock.now_ms += 120_000
        await running.has_recorded("delivered", 5)


async def test_a_restart_tells_of_a_failing_channel_and_tries_it_once_before_its_time(tmp_path: Path) -> None:
    clock = Clock()
    async with receiving(*[BROKEN] * 9) as receiver:
        async with notifying(tmp_path, receiver.channel(), clock=clock) as running:
            await tell(running.log, *(transition("firing", 0, key=f"k{n}") for n in range(3)))
            for count in (3, 6, 9, 12):
                await running.has_recorded("failed", count)
                clock.now_ms += 20 * 60_000 if count < 12 else 6_000

        async with notifying(tmp_path, receiver.channel(), clock=clock) as running:
            await running.until(
                lambda: running.problems == {"channel ops": "3 messages wait to be tried again: answered 5xx"}
            )
            await running.has_recorded("failed", 13)
            clock.now_ms += 60_000
            running.places = Places(ChannelBook((receiver.channel(),)))
            await running.has_recorded("delivered", 3)

        assert len(receiver.messages) == 12


async def test_the_trouble_of_one_tenant_is_not_told_to_another(tmp_path: Path) -> None:
    async with receiving(BROKEN) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0))
        await running.until(lambda: running.problems != {})

        assert running.health.seen_by("other", is_operator=False).problems == {}
        assert running.health.seen_by("other", is_operator=False).undelivered == 0
        assert list(running.health.seen_by("other", is_operator=True).problems) == ["tenant acme: channel ops"]


async def test_an_address_that_may_not_be_reached_is_said_and_tried_again(tmp_path: Path) -> None:
    url = "http://10.0.0.1/hook"
    channel = Channel.model_validate(
        {"name": "ops", "webhook": {"url": url, "secret": {"env": "NOTIFIER_TEST_SECRET"}}}
    )
    async with notifying(tmp_path, channel) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")

        reason = "address refused: private address"
        assert running.outcomes[-1] == ("firing", "failed", reason)
        await running.until(lambda: running.problems != {})
        remedy = "open it by `egress.allow`: `flowgauge webhooks check-address` says how"
        assert running.problems == {"channel ops": f"a message waits to be tried again: {reason} ({remedy})"}


async def test_a_missing_secret_is_said_without_an_attempt_and_used_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFIER_TEST_SECRET")
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        assert tuple(receiver.channel().kind.secret_refs.values()) == (SecretFromEnv(env="NOTIFIER_TEST_SECRET"),)
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")
        assert running.outcomes[-1] == ("firing", "failed", "secret not available")
        assert receiver.messages == []

        monkeypatch.setenv("NOTIFIER_TEST_SECRET", SECRET)
        running.clock.now_ms += 10_000
        await running.has_recorded("delivered")


async def test_history_is_recorded_only_and_what_still_fires_is_told_once_the_detector_is_live(tmp_path: Path) -> None:
    old_ms = NOW_MS - 5 * HOUR_MS
    health = Health(clock_ms=old_ms, loading=True)
    async with receiving() as receiver, notifying(tmp_path, receiver.channel(), health=health) as running:
        await tell(
            running.log,
            transition("firing", 0, key="past", at_ms=old_ms),
            transition("resolved", 1, key="past", at_ms=old_ms + 60_000),
            transition("firing", 0, key="still", at_ms=old_ms),
            transition("firing", 0, key="recent"),
        )
        await running.has_recorded("backfilled", 3)
        await running.has_recorded("delivered")
        assert [json.loads(message.body)["data"]["key"] for message in receiver.messages] == [{"flow": "recent"}]

        health.loading, health.clock_ms = False, NOW_MS
        await running.has_recorded("delivered", 2)

        assert json.loads(receiver.messages[1].body)["data"]["key"] == {"flow": "still"}
        assert len(receiver.messages) == 2


async def test_what_is_owed_shows_in_health(tmp_path: Path) -> None:
    async with receiving(BROKEN) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0, at_ms=NOW_MS - 7))

        def owes() -> tuple[int, int]:
            return running.health.undelivered, running.health.undelivered_since_ms

        await running.until(lambda: owes() == (1, NOW_MS - 7))
        running.clock.now_ms += 10_000
        await running.until(lambda: owes() == (0, 0))


async def test_a_transition_that_cannot_be_read_goes_to_the_dlq_and_its_neighbour_is_told(tmp_path: Path) -> None:
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        await running.log.append(topics.TRANSITIONS, [Outgoing(0, "x", b"{nonsense"), Outgoing(1, "x", b"{}")])
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("delivered")

        assert len(await running.log.read(topics.DLQ, 0, 0, 10)) == 2


SENDER = """
import asyncio, sys
from pathlib import Path
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.channels import parse_channels
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.attempt import Wording
from flowgauge.sinks.webhooks.places import Places
from flowgauge.sinks.webhooks.notifier_app import run_notifier
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log

async def main(folder, port):
    places = Places(parse_channels("c", "channels: [{name: ops, webhook: {url: 'http://127.0.0.1:%s/', "
        "secret: {env: NOTIFIER_TEST_SECRET}}}]" % port))
    log = await open_local_log(Path(folder), partitions={})
    await run_notifier(log, lambda: places, egress=Egress(EgressPolicy(("127.0.0.1",))), stop=asyncio.Event(),
        health=Health(clock_ms=1 << 60), max_alert_age_ms=1 << 60)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.timeout(60)
async def test_a_notifier_killed_while_it_sends_repeats_the_same_id_after_its_restart(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    await tell(log, *(transition("firing", 0, key=f"k{n}") for n in range(3)))
    await tell(log, transition("resolved", 1, key="k0"))
    await log.close()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    async with receiving(hangs=True) as receiver:
        for kills in range(1, 4):
            async with _process(SENDER, str(tmp_path), str(receiver.port), environ=environ):
                await receiver.has_come(3 * kills)
        hung = {message.id for message in receiver.messages}
        receiver.hangs = False
        async with _process(SENDER, str(tmp_path), str(receiver.port), environ=environ):
            await receiver.has_come(13)

    told = [(json.loads(message.body)["data"]["key"]["flow"], message.type) for message in receiver.messages]
    firing = {delivery_id(transition("firing", 0, key=f"k{n}").transition_id, "ops") for n in range(3)}
    assert hung == firing
    assert {message.id for message in receiver.messages} - firing == {
        delivery_id(transition("resolved", 1, key="k0").transition_id, "ops")
    }
    assert told[-1] == ("k0", "incident.resolved")
    assert len(told) == 13


@contextlib.asynccontextmanager
async def _process(code: str, *arguments: str, environ: dict[str, str]) -> AsyncGenerator[None]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments, env=environ)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
