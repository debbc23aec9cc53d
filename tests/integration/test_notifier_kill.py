"""kill -9 of the notifier at each place of its step: all is told, under one id, in order, and nothing hidden."""

import asyncio
import json
import os
import random
import re
import signal
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from tests.integration import killed_notifier as killed
from tests.integration.flaky_receiver import FlakyReceiver
from tests.integration.notifier_scene import (
    FILE,
    PARTITIONS,
    Scene,
    newest_of,
    until,
)
from tests.integration.notifier_story import ACTIONS, CHANNELS, Story, never_told, replay

from flowgauge.schemas.ids import delivery_id
from flowgauge.transport.local import open_local_log
from flowgauge.transport.wall_clock import now_ms

KILLS = int(os.environ.get("FLOWGAUGE_KILLS", "12"))  # `make torture` does more
SEED = 20261201
LIVES_S_MAX = 5.0  # whose place does not come up is killed wherever it is then
WHILE_OUT = "a request is out"
ANYWHERE = "anywhere"
OLD_PLACES = (killed.READ, killed.BEFORE_OUTCOME, killed.AFTER_OUTCOME)  # nothing begins while history is loaded
FINAL = {"delivered", "dead", "superseded", "backfilled"}


async def _die(scene: Scene, place: str, *loading: str) -> None:
    """Let a notifier live until its place comes up."""
    chance = scene.story.chance
    at = chance.choice(("/hook", "/hook", "/chat", "/once", "/again"))
    async with scene.running(place, chance.choice((1, 1, 2, 3)), *loading) as process:
        if place == WHILE_OUT:
            scene.receiver.kills[at] = process.kill
        try:
            await asyncio.wait_for(process.wait(), LIVES_S_MAX)
        except TimeoutError:
            process.kill()
            place = ANYWHERE
        scene.receiver.kills.clear()
        assert await process.wait() == -signal.SIGKILL, (scene.folder / "notifier.err").read_text()
    scene.kills[place] += 1


async def _load_history(scene: Scene, kills: int) -> None:
    """Kill it while it takes in what is too old to be told; at the end all of that is committed, and nobody heard."""
    await scene.tell(scene.story.old_ones(scene.clock()))
    for number in range(kills):
        await _die(scene, OLD_PLACES[number % len(OLD_PLACES)], "loading")
    async with scene.running(killed.NEVER, 1, "loading"):
        await until(scene.has_read_all)
    scene.early += [each.id for each in scene.receiver.at("/hook")]


async def _turn(scene: Scene, number: int) -> None:
    """Let something happen, while no notifier is there, and let one take it in until it is killed."""
    story = scene.story
    if number % 4 == 0:
        await scene.say(story.silence(number, scene.clock()))
        await scene.tell(story.quiet_ones(number, scene.clock()))
    if len(story.silences) > 3 and await scene.has_read_all():
        await scene.expire(story.silences[:1])
    heard = {str(each.body["data"]["incident_id"]) for each in scene.receiver.at("/hook", accepted=True)}
    await scene.tell(story.turn(number, scene.clock()))
    await scene.say(*story.acts(number, heard, scene.clock()))
    places = (*killed.PLACES, WHILE_OUT, killed.AFTER_STARTED, killed.BEFORE_OUTCOME, WHILE_OUT)
    await _die(scene, places[number % len(places)])


async def _settle(scene: Scene) -> None:
    """Let all be told: the receiver is well, no silence is left, and what was given up is asked for again."""
    scene.receiver.is_calm = True
    async with scene.running():
        await until(scene.has_read_all)
        await scene.expire(list(scene.story.silences))
        asked = 0

        async def is_settled() -> bool:
            nonlocal asked
            await scene.look()
            newest = newest_of(scene.records)
            is_final = all(each.outcome in FINAL for each in newest.values())
            owed = [each for each in _owed_to_channels(scene) if each not in newest]
            has_dead = any(each.outcome == "dead" and each.channel == "chat" for each in newest.values())
            if is_final and has_dead:
                asked += 1
                await scene.say(replay(f"last replay {asked}", scene.clock()))
                await asyncio.sleep(1)  # the notifier looks for controls twice a second
            return is_final and not owed and not has_dead

        await until(is_settled)


def _owed_to_channels(scene: Scene) -> list[str]:
    """Return the ids of the deliveries of which something must be recorded."""
    return [delivery_id(each.transition_id, channel) for each in scene.story.transitions for channel in each.notify]


@pytest.mark.integration
@pytest.mark.timeout(240 + 10 * KILLS)
async def test_kills_at_each_place_lose_and_double_nothing_and_tell_nothing_that_is_hidden(tmp_path: Path) -> None:
    start_ms, chance = now_ms(), random.Random(SEED)
    receiver = FlakyReceiver(chance)
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    scene = Scene(tmp_path, log, receiver, Story(chance), start_ms)
    with receiver.serving():
        (tmp_path / "places.yaml").write_text(FILE.format(port=receiver.port))
        await _load_history(scene, KILLS // 8)
        for number in range(KILLS - KILLS // 8):
            await _turn(scene, number)
        await _settle(scene)
    await log.close()

    counts = _counts(scene)
    print(f"kills {sum(scene.kills.values())}: {dict(scene.kills)}\n{counts}")
    assert sum(scene.kills.values()) == KILLS
    assert scene.early == []
    assert _untold(scene) == []
    assert _told_though_hidden(scene) == []
    assert _ids_beside_the_records(scene) == []
    assert _unnamed_in_chat(scene) == []
    assert _requests_that_nobody_committed(scene) == []
    assert _ended_before_it_began(scene) == []
    assert [each for each in newest_of(scene.records).values() if each.outcome not in FINAL] == []
    assert [key for key, times in Counter(each.id for each in receiver.at("/once")).items() if times > 1] == []


def _counts(scene: Scene) -> dict[str, int]:
    hook = scene.receiver.at("/hook")
    return {
        "incidents": len(scene.story.incidents),
        "transitions": len(scene.story.transitions),
        "hidden or backfilled to their end": len(never_told(scene.story.incidents)),
        "by hand": sum(bool(each.by_hand_ms) for each in scene.story.incidents),
        "records": len(scene.records),
        "hook requests": len(hook),
        "hook ids": len({each.id for each in hook}),
        "chat requests": len(scene.receiver.at("/chat")),
        "chat deliveries": len({each.delivery_id for each in scene.records if each.channel == "chat"}),
        "runs of once": len(scene.receiver.at("/once")),
        "of unknown outcome": len(
            {each.delivery_id for each in scene.records if each.outcome == "dead" and each.channel == ACTIONS[0]}
        ),
        "runs of again": len(scene.receiver.at("/again")),
        "repeated under one id": len(hook) - len({each.id for each in hook}),
    }


def _untold(scene: Scene) -> list[tuple[str, str]]:
    """Return openings that a channel never heard of, though nothing hid them to their end."""
    accepted = {each.id for each in scene.receiver.at("/hook", accepted=True)}
    delivered = {each.delivery_id for each in scene.records if each.outcome == "delivered"}
    said = {"hook": accepted & delivered, "chat": delivered}
    hidden = never_told(scene.story.incidents)
    return [
        (incident.flow, channel)
        for incident in scene.story.incidents
        for channel in CHANNELS
        if incident.id not in hidden
        and not any(delivery_id(each.transition_id, channel) in said[channel] for each in incident.transitions)
    ]


def _told_though_hidden(scene: Scene) -> list[str]:
    hidden = never_told(scene.story.incidents)
    flows = {each.flow for each in scene.story.incidents if each.id in hidden}
    bodies = [(each.path, str(each.body)) for each in scene.receiver.taken]
    return [f"{path} {flow}" for path, body in bodies for flow in flows if flow in body]


def _ids_beside_the_records(scene: Scene) -> list[str]:
    """Return ids that are of no transition and the webhook, and those of which log and webhook do not say the same.

    What was accepted is recorded as delivered, unless a kill lost the answer and something newer took its place.
    """
    taken = scene.receiver.at("/hook")
    wrong = [each.id for each in taken if each.id != delivery_id(str(each.body["data"]["transition_id"]), "hook")]
    newest = {each.delivery_id: each.outcome for each in newest_of(scene.records).values() if each.channel == "hook"}
    delivered = {each for each, outcome in newest.items() if outcome == "delivered"}
    accepted = {each.id for each in taken if each.is_accepted}
    lost = [each for each in accepted - delivered if newest.get(each) != "superseded"]
    return [*wrong, *sorted(delivered - accepted), *lost]


def _unnamed_in_chat(scene: Scene) -> list[str]:
    """Return incidents that were told of in the chat by the log alone, beyond those that messages only count."""
    messages = [json.dumps(each.body) for each in scene.receiver.at("/chat", accepted=True)]
    named = {each.id for each in scene.story.incidents if any(f"{each.flow} fails" in text for text in messages)}
    delivered = {each.incident_id for each in scene.records if (each.channel, each.outcome) == ("chat", "delivered")}
    counted = sum(int(found) for text in messages for found in re.findall(r"and (\d+) more", text))
    unnamed = sorted(delivered - named)
    return unnamed if len(unnamed) > counted else []


def _requests_that_nobody_committed(scene: Scene) -> list[str]:
    """Return the deliveries that went out more often than `started` was committed."""
    started = Counter(each.delivery_id for each in scene.records if each.outcome == "started")
    came = Counter(each.id for each in scene.receiver.taken if each.id)
    return [each for each, times in came.items() if times > started[each]]


def _ended_before_it_began(scene: Scene) -> list[str]:
    """Return incidents whose end came to a channel before something else was accepted there."""
    wrong: list[str] = []
    begun: dict[str, bool] = defaultdict(bool)
    for each in scene.receiver.at("/hook"):
        about = str(each.body["data"]["incident_id"])
        if each.body["type"] == "incident.resolved" and not begun[about]:
            wrong.append(f"hook {about}")
        begun[about] |= each.is_accepted
    told: set[tuple[str, str]] = set()
    for record in scene.records:
        line = record.channel, record.incident_id
        if (record.outcome, record.to_state) == ("started", "resolved") and line not in told:
            wrong.append(" ".join(line))
        if record.outcome == "delivered":
            told.add(line)
    return wrong
