"""Bytes that nobody of ours wrote, or a newer version did, in each topic and note that only our programs write.

Each part ends with one line that names the place and the remedy, at each start, and consumes nothing. What is read
from outside, events, goes to the dlq instead (test_dlq); so do transitions, deliveries and dead letters.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.clickhouse.memory import MemoryTables
from tests.contract.contract_log import take_assigned
from tests.integration.own_log import made, opened

from flowgauge.console.ending import Ending, Part, run_parts
from flowgauge.processors.detection_watch import PART, run_detection_watch
from flowgauge.processors.detector_app import run_detector
from flowgauge.processors.matcher_app import run_matcher
from flowgauge.schemas.errors import InvariantBroken
from flowgauge.schemas.topics import EVENTS, RULES, SAMPLES, TRANSITIONS, RecordKind
from flowgauge.sinks.clickhouse.rows import SPECS
from flowgauge.sinks.clickhouse.sink_app import run_sink
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.notifier_app import run_notifier
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.health import Health
from flowgauge.transport.kafka import KafkaLog
from flowgauge.transport.log import Committed, Outgoing

POISON = b"\xff poison"
STARTS = 2
DEADLINE_S = 60
NEWER_RULE = json.dumps({"version": 1, "content_id": "x", "rules": [{"name": "x", "when": {"newer": {}}}]}).encode()

Place = Callable[[KafkaLog], Awaitable[object]]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
async def log(kafka: str) -> AsyncIterator[KafkaLog]:
    async with opened(await made(kafka)) as log:
        yield log


def record(topic: str, value: bytes = POISON, key: str = "", kind: RecordKind = RecordKind.EVENT) -> Place:
    """Append a record."""
    return lambda log: log.append(topic, [Outgoing(0, key, value, kind)])


def kept(topic: str, group: str, name: str) -> Place:
    """Let a stage keep something as `name`."""

    async def place(log: KafkaLog) -> None:
        steps = await log.open_steps(topic, group)
        await take_assigned(steps)
        await steps.commit(0, next_offset=None, state={name: POISON}, outputs=[])
        await steps.close()

    return place


def noted(topic: str, group: str) -> Place:
    """Let a group note something with its offset."""

    async def place(log: KafkaLog) -> None:
        reader = await log.open_reader(topic, group)
        await take_assigned(reader)
        await reader.commit({0: Committed(0, "poison")})
        await reader.close()

    return place


def part(name: str, log: KafkaLog) -> Part:
    """Return a part as its role runs it."""
    health = Health()
    runs: dict[str, Part] = {
        "matcher": ("matcher", lambda stop: run_matcher(log, stop=stop, health=health)),
        "detector": ("detector", lambda stop: run_detector(log, stop=stop, health=health)),
        "clickhouse": ("sink", lambda stop: run_sink(log, MemoryTables(), stop=stop, health=health, specs=SPECS[:1])),
        "notifier": (
            "notifier",
            lambda stop: run_notifier(
                log, Places, egress=Egress(EgressPolicy()), stop=stop, health=health, max_alert_age_ms=60_000
            ),
        ),
    }
    return runs[name]


REMEDY = r" cannot be read \(.+\): update this program to the version that wrote it; if it is damaged, restore "
CASES: dict[str, tuple[Place, str, str, str]] = {
    "samples": (record(SAMPLES), "detector", SAMPLES, r"flowgauge\.samples partition 0 offset 0" + REMEDY),
    **{
        f"state, {name}": (
            kept(SAMPLES, "detector", name),
            "detector",
            SAMPLES,
            rf"flowgauge\.state, of flowgauge\.samples partition 0: what the detector keeps as '{said}'" + REMEDY,
        )
        for name, said in (("position", "position"), ("k/u/x/1", "k/u/x"), ("w/3", "w/3"), ("i/u/x", "i/u/x"))
    },
    "rules": (
        record(RULES, key="*/1/x"),
        "detector",
        SAMPLES,
        r"flowgauge\.rules partition 0 offset 0 \(key '\*/1/x'\)" + REMEDY,
    ),
    "the version in force": (
        record(RULES, key="current/1"),
        "detector",
        SAMPLES,
        r"offset 0 \(key 'current/1'\)" + REMEDY,
    ),
    "a rule of a newer version": (
        record(RULES, NEWER_RULE, "*/1/x"),
        "detector",
        SAMPLES,
        r"\(key '\*/1/x'\) cannot be read",
    ),
    "a marker": (
        record(EVENTS, kind=RecordKind.RULES),
        "matcher",
        EVENTS,
        r"the marker of rules at flowgauge\.events partition 0 offset 0" + REMEDY,
    ),
    "a pulse, matched": (
        record(EVENTS, kind=RecordKind.PULSE),
        "matcher",
        EVENTS,
        r"the pulse at flowgauge\.events partition 0 offset 0" + REMEDY,
    ),
    "a pulse, stored": (
        record(EVENTS, kind=RecordKind.PULSE),
        "clickhouse",
        EVENTS,
        r"the pulse at flowgauge\.events partition 0 offset 0" + REMEDY,
    ),
    "the matcher's note": (
        noted(EVENTS, "matcher"),
        "matcher",
        EVENTS,
        r"what group matcher noted at flowgauge\.events partition 0 offset 0" + REMEDY,
    ),
    "the sink's note": (
        noted(EVENTS, "clickhouse"),
        "clickhouse",
        EVENTS,
        r"group clickhouse on flowgauge\.events partition 0: the note at offset 0 cannot be read",
    ),
    "the outbox": (
        kept(TRANSITIONS, "notifier", "incident"),
        "notifier",
        TRANSITIONS,
        r"flowgauge\.outbox, of flowgauge\.transitions partition 0: what the notifier keeps of incident 'incident'"
        + REMEDY,
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_only_our_programs_write_is_not_passed_over_where_it_cannot_be_read(
    case: str, log: KafkaLog
) -> None:
    place, name, topic, said = CASES[case]
    await place(log)

    for _ in range(STARTS):
        with pytest.raises(InvariantBroken) as told:
            async with asyncio.timeout(DEADLINE_S):
                await run_parts([[part(name, log)]], Ending(asyncio.Event()), ready=lambda: None)
        assert re.search(said, str(told.value)), str(told.value)
        assert "\n" not in str(told.value)

    assert (await log.committed(topic, name))[0].next_offset == 0


async def test_who_only_watches_detection_shows_what_cannot_be_read_and_goes_on(log: KafkaLog) -> None:
    await record(SAMPLES)(log)
    reader = await log.open_reader(SAMPLES, "detector")
    await take_assigned(reader)
    await reader.commit({0: Committed(1)})
    stop, health = asyncio.Event(), Health()

    watching = asyncio.ensure_future(run_detection_watch(log, stop=stop, health=health))
    async with asyncio.timeout(DEADLINE_S):
        while PART not in health.problems:  # noqa: ASYNC110  # the part tells nobody else
            await asyncio.sleep(0.01)
    stop.set()
    await watching

    assert "flowgauge.samples partition 0 offset 0 cannot be read" in health.problems[PART]
