"""A log that is lived: events come in batches of any size while matcher and detector are at work, and are killed.

    life 1     append ▪▪ ▪ ▪▪▪ …      match, detect …     kill -9
    life 2                              append ▪▪▪ …      match, detect …     kill -9
    last life                                               append …  match and detect all, end

`python -m tests.equality.lives --data … --history … --rules … --seed …` is one life: it goes on after the last event
that its log holds, and kills itself once that holds as many as `--die-at` says.
"""

import argparse
import asyncio
import os
import random
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.integration.audit_log import left_of

from flowgauge.console.history import Entry, entries
from flowgauge.console.loading import event_lines
from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.processors.ruleset import RuleSet, load_rules
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.topics import EVENTS, RULES, SAMPLES, TRANSITIONS, RecordKind
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log, Outgoing

PARTITIONS = 5
TOPICS = {EVENTS: PARTITIONS, SAMPLES: 3, TRANSITIONS: 1, RULES: 1}
BATCH_MAX = 3_000  # records of one append
AHEAD_MAX = 20_000  # so that a kill finds both at work, and not only the one that appends
LOOK_S = 0.02


async def until(done: Callable[[], bool]) -> None:
    """Return when `done`, which is told by a plain record."""
    while not done():  # noqa: ASYNC110  # health is a plain record, written by the detector
        await asyncio.sleep(LOOK_S)


async def at_work(log: Log, story: Callable[[Health], Coroutine[None, None, None]]) -> None:
    """Run matcher and detector while `story` goes on, and until both have passed all of the log."""
    stop, health = asyncio.Event(), Health()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_matcher(log, stop=stop, health=health))
        tasks.create_task(run_detector(log, stop=stop, health=health))
        await story(health)
        for topic, group in ((EVENTS, "matcher"), (SAMPLES, "detector")):
            await _until_left(log, topic, group, 0)
        stop.set()


async def _until_left(log: Log, topic: str, group: str, most: int) -> None:
    while await left_of(log, topic, group) > most:  # noqa: ASYNC110  # a log tells when asked
        await asyncio.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class Life:
    """What is appended to the log in `data`, by which rules, in batches of which sizes; and when it ends early."""

    data: Path
    history: Path
    ruleset: RuleSet
    chance: random.Random
    die_at: int | None = None


async def live(life: Life) -> None:
    """Live until all is appended and told of, from where the log ends."""
    log = await open_local_log(life.data, partitions=TOPICS)
    try:
        await at_work(log, lambda _health: _append(log, life))
    finally:
        await log.close()


async def _append(log: Log, life: Life) -> None:
    appended = max(sum((await log.ends(EVENTS)).values()) - PARTITIONS, 0)  # less the markers
    append_ms = 0
    for batch in _batches(islice(event_lines(life.history), appended, None), life.chance):
        if not appended:
            begin_ms = batch[0].append_ms
            await publish_rules(log, life.ruleset, first_append_ms=dict.fromkeys(range(PARTITIONS), begin_ms))
        append_ms = batch[-1].append_ms
        await log.append(
            EVENTS,
            [
                Outgoing(events_partition(each.key, PARTITIONS), each.key, each.value, append_ms=each.append_ms)
                for each in batch
            ],
        )
        appended += len(batch)
        if life.die_at is not None and appended >= life.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        await _until_left(log, EVENTS, "matcher", AHEAD_MAX)
    ends = [Outgoing(partition, "", b"{}", RecordKind.LOADED, append_ms) for partition in range(PARTITIONS)]
    await log.append(EVENTS, ends)


def _batches(lines: Iterator[bytes], chance: random.Random) -> Iterator[Sequence[Entry]]:
    found = (each for each in entries(lines) if isinstance(each, Entry))
    while batch := list(islice(found, chance.randint(1, BATCH_MAX))):
        yield batch


def main() -> None:
    """Live once."""
    parser = argparse.ArgumentParser(prog="python -m tests.equality.lives", description=__doc__)
    for name in ("data", "history", "rules"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--die-at", type=int)
    asked = parser.parse_args()
    asyncio.run(
        live(Life(asked.data, asked.history, load_rules([asked.rules]), random.Random(asked.seed), asked.die_at))
    )


if __name__ == "__main__":
    main()
