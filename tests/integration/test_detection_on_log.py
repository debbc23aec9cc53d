"""Matcher and detector on the real log find what the pure replay finds: equal ids, however the log is cut."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from tests.captures import captured
from tests.property.detection import START_MS, in_order
from tests.property.switching import read_in_order

from flowgauge.console.history import Entry, entries
from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.processors.ruletopic import RuleBook, publish_rules
from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS, RULES, SAMPLES, TRANSITIONS, RecordKind
from flowgauge.schemas.transition import Transition, decode_transition
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Outgoing, Record

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

RULES_TEXT = """
rules:
  - name: flow failing
    for_each: [flow]
    when: {failure_rate: {above: 20%, within: 5m, min_samples: 3, clear_below: 10%}}
    for: 10s
    keep_firing_for: 30s
  - name: anything failing
    when: {failure_rate: {above: 10%, within: 1m, min_samples: 1}}
    no_data: resolve
  - name: crashed
    match: {event: prefect.flow-run.Crashed}
    for_each: [flow]
    when: {event: {}}
"""
CHANGED_TEXT = RULES_TEXT.replace("above: 20%", "above: 60%").replace("name: crashed", "name: has crashed")


def rules(text: str = RULES_TEXT) -> RuleSet:
    return parse_rules("rules.yaml", text)


@cache
def history() -> tuple[Entry, ...]:
    """Return the recorded outage: every event with its append time and key."""
    found = [entry for entry in entries(captured("outage"), shift_ms=0) if isinstance(entry, Entry)]
    assert len(found) > 1_000
    return tuple(found)


def replayed(partitions: int) -> list[Transition]:
    """Return what the pure replay of the same file finds, cut over partitions as the log cuts it."""
    lines = [
        b'{"_append":%d,"_partition":%d,' % (entry.append_ms, events_partition(entry.key, partitions)) + entry.value[1:]
        for entry in history()
    ]
    return in_order(list(Replay(lambda: lines, rules()).transitions()))


@asynccontextmanager
async def new_log(folder: Path, *, events: int, samples: int) -> AsyncGenerator[LocalLog]:
    log = await open_local_log(folder, partitions={EVENTS: events, SAMPLES: samples, RULES: 1, TRANSITIONS: 2})
    try:
        yield log
    finally:
        await log.close()


async def load(log: LocalLog, history: Sequence[Entry]) -> None:
    """Append history with its recorded append times."""
    partitions = log.partitions(EVENTS)
    await log.append(
        EVENTS,
        [
            Outgoing(events_partition(entry.key, partitions), entry.key, entry.value, append_ms=entry.append_ms)
            for entry in history
        ],
    )


async def end_history(log: LocalLog, append_ms: int) -> None:
    await log.append(
        EVENTS,
        [Outgoing(each, "", b"{}", RecordKind.LOADED, append_ms) for each in range(log.partitions(EVENTS))],
    )


async def run_until(log: LocalLog, done: Callable[[Health], bool], *, is_killed: bool = False) -> None:
    """Run matcher and detector until `done`, then stop them, or cut them off wherever they are."""
    stop, health = asyncio.Event(), Health()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(run_matcher(log, stop=stop, health=health)),
            tasks.create_task(run_detector(log, stop=stop, health=health)),
        ]
        while not done(health):  # noqa: ASYNC110  # health is a plain record, written by the detector
            await asyncio.sleep(0.005)
        if is_killed:
            for task in running:
                task.cancel()
        stop.set()


async def pulse(log: LocalLog, partition: int, seconds: range) -> None:
    """Let these seconds after START pass in a partition."""
    await log.append(
        EVENTS,
        [
            Outgoing(partition, "", encode_record(Pulse(sent_ms=at_ms, log_id=log.log_id)), RecordKind.PULSE, at_ms)
            for at_ms in (START_MS + second * 1_000 for second in seconds)
        ],
    )


async def told(log: LocalLog) -> list[Transition]:
    """Return every transition in the log, in order; assert that none is there twice."""
    found: list[Transition] = []
    for partition in range(log.partitions(TRANSITIONS)):
        offset = 0
        while records := await log.read(TRANSITIONS, partition, offset, 1_000):
            found += [decode_transition(record.value) for record in records if record.value is not None]
            offset = records[-1].offset + 1
    assert len({item.transition_id for item in found}) == len(found)
    return in_order(found)


async def events_of(log: LocalLog) -> list[list[Record]]:
    """Return the records of the events topic by partition."""
    found: list[list[Record]] = []
    for partition in range(log.partitions(EVENTS)):
        records: list[Record] = []
        while more := await log.read(EVENTS, partition, len(records), 1_000):
            records += more
        found.append(records)
    return found


@pytest.mark.parametrize(("events", "samples"), [(1, 1), (4, 1), (4, 3)])
async def test_the_log_tells_what_the_replay_tells(tmp_path: Path, events: int, samples: int) -> None:
    last_ms = history()[-1].append_ms
    async with new_log(tmp_path, events=events, samples=samples) as log:
        first_ms = history()[0].append_ms
        await publish_rules(log, rules(), first_append_ms=dict.fromkeys(range(events), first_ms))
        await load(log, history())
        await end_history(log, last_ms)

        await run_until(log, lambda health: health.clock_ms >= last_ms)

        found = await told(log)
    assert {"firing", "resolved"} <= {item.to_state for item in found}
    assert found == replayed(events)


def test_the_replay_tells_the_same_for_one_and_four_partitions() -> None:
    assert replayed(1) == replayed(4)


def after(looks: int) -> Callable[[Health], bool]:
    """Return what is true from the look number `looks` on: as far as they got by then."""
    left = iter(range(looks))
    return lambda _: next(left, None) is None


async def test_killing_midway_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    last_ms = history()[-1].append_ms
    quarter = len(history()) // 4
    async with new_log(tmp_path, events=4, samples=3) as log:
        await publish_rules(log, rules(), first_append_ms=dict.fromkeys(range(4), history()[0].append_ms))
        for number in range(4):
            part = history()[number * quarter : (number + 1) * quarter if number < 3 else None]
            await load(log, part)
            await end_history(log, part[-1].append_ms)  # moves idle partitions, as pulses do
            for looks in range(6):
                await run_until(log, after(looks), is_killed=True)
        await run_until(log, lambda health: health.clock_ms >= last_ms)
        found = await told(log)

    assert found == replayed(4)


async def test_a_reopened_log_goes_on_where_it_was(tmp_path: Path) -> None:
    half, last_ms = len(history()) // 2, history()[-1].append_ms
    async with new_log(tmp_path, events=2, samples=1) as log:
        await publish_rules(log, rules(), first_append_ms=dict.fromkeys(range(2), history()[0].append_ms))
        await load(log, history()[:half])
        await end_history(log, history()[half - 1].append_ms)
        await run_until(log, lambda health: health.clock_ms >= history()[half - 1].append_ms)
    async with new_log(tmp_path, events=2, samples=1) as log:
        await load(log, history()[half:])
        await end_history(log, last_ms)
        await run_until(log, lambda health: health.clock_ms >= last_ms)
        found = await told(log)

    assert found == replayed(2)


async def test_a_rule_set_published_while_running_switches_at_its_markers(tmp_path: Path) -> None:
    half, last_ms = len(history()) // 2, history()[-1].append_ms
    async with new_log(tmp_path, events=3, samples=2) as log:
        times = dict.fromkeys(range(3), history()[0].append_ms)
        assert await publish_rules(log, rules(), first_append_ms=times) == 1
        assert await publish_rules(log, rules(), first_append_ms=times) == 1  # it says the same: no new version

        async def publish_between() -> None:
            await load(log, history()[:half])
            switch_ms = history()[half].append_ms
            version = await publish_rules(log, rules(CHANGED_TEXT), first_append_ms=dict.fromkeys(range(3), switch_ms))
            assert version == 2
            await load(log, history()[half:])
            await end_history(log, last_ms)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish_between())
            tasks.create_task(run_until(log, lambda health: health.clock_ms >= last_ms and health.rules_version == 2))

        found, partitions = await told(log), await events_of(log)
        book = RuleBook(log)
        await book.refresh()

    assert book.current_version == 2
    assert {item.rules_version for item in found} == {1, 2}
    assert {item.rule for item in found} >= {"flow failing", "anything failing", "crashed", "has crashed"}
    assert found == read_in_order(book.rulesets, partitions)


async def test_a_partition_that_stands_still_leaves_detection_unknown_and_nothing_is_told_for_it(
    tmp_path: Path,
) -> None:
    """An alert that needs only the other partition waits too: nobody knows what lies in this one."""
    silent = rules("rules: [{name: silent, when: {absence: {after: 10s}}}]")
    seen: list[Health] = []

    def has_passed(source: int) -> Callable[[Health], bool]:
        def look(health: Health) -> bool:
            seen.append(health)
            return health.source_clocks_ms.get(source, 0) >= START_MS + 60_000

        return look

    async with new_log(tmp_path, events=2, samples=1) as log:
        await publish_rules(log, silent, first_append_ms={0: START_MS, 1: START_MS})
        beat = {"id": str(UUID(int=1)), "tenant": "default", "occurred": rfc3339(START_MS), "event": "beat"}
        value = msgspec.json.encode({**beat, "kind": "flow-run", "state": "running", "resource": {"id": "r"}})
        await log.append(EVENTS, [Outgoing(0, "r", value, append_ms=START_MS)])
        await pulse(log, 1, range(2))
        await pulse(log, 0, range(61))

        await run_until(log, has_passed(0))
        standing, told_meanwhile = seen[-1], await told(log)
        await pulse(log, 1, range(2, 61))
        await run_until(log, has_passed(1))
        going, told_then = seen[-1], await told(log)

    now_ms = START_MS + 61_000
    assert standing.unknown_since_ms(now_ms) == START_MS + 1_000
    assert standing.holding_back(now_ms) == [1]
    assert told_meanwhile == []
    assert (going.unknown_since_ms(now_ms), going.holding_back(now_ms)) == (0, [])
    assert [(each.rule, each.to_state) for each in told_then] == [("silent", "firing")]
