"""Two notifiers own one incident for a moment: one was frozen between its commit and its request, and wakes."""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest
from tests.integration import killed_notifier as killed
from tests.integration.flaky_receiver import FlakyReceiver
from tests.integration.notifier_scene import (
    FILE,
    LOOK_S,
    PARTITIONS,
    SECRET,
    SETTLE_S_MAX,
    Scene,
    is_stopped,
    newest_of,
    until,
)
from tests.integration.notifier_story import ACTIONS, Story
from tests.integration.own_log import made, opened

from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.notifier_app import SEND_WITHIN_MS, run_notifier
from flowgauge.sinks.webhooks.schedule import NOT_SENT
from flowgauge.sinks.webhooks.telling import UNKNOWN_OUTCOME
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
SEED = 20261201


async def test_on_the_local_log_who_wakes_beside_a_successor_is_fenced_and_sends_nothing(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    await _freeze_and_take_over(tmp_path, log)
    await log.close()


async def test_on_kafka_who_wakes_beside_a_successor_is_fenced_and_sends_nothing(kafka: str, tmp_path: Path) -> None:
    connection = await made(kafka)
    async with opened(connection) as log:
        await _freeze_and_take_over(tmp_path, log, f"kafka {connection.bootstrap} {connection.prefix} ")


async def _freeze_and_take_over(folder: Path, log: Log, where: str = "") -> None:
    """Freeze one for longer than SEND_WITHIN_MS, let another tell of the incident, wake it, and look what came."""
    receiver = FlakyReceiver(random.Random(SEED), is_calm=True)
    scene = Scene(folder, log, receiver, Story(random.Random(SEED)), now_ms())
    with receiver.serving():
        (folder / "places.yaml").write_text(FILE.format(port=receiver.port))
        await scene.tell(scene.story.turn(0, scene.clock())[:1])
        first, second = (where and f"{where}{name}" for name in ("first", "second"))
        async with scene.running(killed.AFTER_STARTED, 1, sent="SIGSTOP", where=first) as frozen:
            await until(lambda: is_stopped(frozen.pid))
            stopped_s = time.monotonic()
            async with scene.running(where=second):
                await until(lambda: receiver.at("/hook", accepted=True))
                await until(lambda: time.monotonic() - stopped_s > 1.1 * SEND_WITHIN_MS / 1000)
                frozen.send_signal(signal.SIGCONT)
                code = await frozen.wait()
            await scene.look()

    said = (folder / "notifier.err").read_text()
    assert (code, "Fenced" in said) == (1, True), said
    assert len(receiver.at("/hook")) == 1
    assert receiver.at("/once") == []
    (ran,) = [each for each in newest_of(scene.records).values() if each.channel == ACTIONS[0]]
    assert (ran.outcome, ran.reason) == ("dead", UNKNOWN_OUTCOME)


async def test_an_attempt_whose_commit_is_long_past_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time to send began to run after the commit: who was frozen just there sent all the same."""
    monkeypatch.setenv("NOTIFIER_TEST_SECRET", SECRET)
    receiver, stop, loop = FlakyReceiver(random.Random(SEED), is_calm=True), asyncio.Event(), asyncio.get_running_loop()
    true_time, frozen_s = loop.time, [0.0]
    monkeypatch.setattr(loop, "time", lambda: true_time() + frozen_s[0])
    fate = killed.Fate(lambda: frozen_s.append(frozen_s.pop() + 1.1 * SEND_WITHIN_MS / 1000), killed.AFTER_STARTED)
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    scene = Scene(tmp_path, log, receiver, Story(random.Random(SEED)), now_ms())
    with receiver.serving():
        (tmp_path / "places.yaml").write_text(FILE.format(port=receiver.port))
        places = killed.read_places(tmp_path / "places.yaml")
        await scene.tell(scene.story.turn(0, scene.clock())[:1])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                run_notifier(
                    killed.watched(log, fate),
                    lambda: places,
                    egress=Egress(EgressPolicy(("127.0.0.1",))),
                    stop=stop,
                    health=Health(clock_ms=1 << 60),
                    max_alert_age_ms=killed.ALERT_AGE_MS_MAX,
                )
            )
            async with asyncio.timeout(SETTLE_S_MAX):
                while not {each.outcome for each in scene.records} - {"started"}:
                    await scene.look()
                    await asyncio.sleep(LOOK_S)
            stop.set()
    await log.close()

    begun = {each.delivery_id for each in scene.records if each.outcome == "started"}
    assert {(each.outcome, each.reason) for each in scene.records if each.outcome != "started"} == {
        ("failed", NOT_SENT)
    }
    assert [each.id for each in receiver.taken if each.id in begun] == []
