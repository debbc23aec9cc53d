"""Rule sets in the log: what two publishers at once leave behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowgauge.processors.ruleset import RuleSet, rules_of
from flowgauge.processors.ruletopic import CURRENT, RuleBook, announced_versions, publish_rules
from flowgauge.schemas.topics import EVENTS, RULES
from flowgauge.schemas.yaml_places import read_yaml
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Log, Outgoing

SOURCES = 2


def rules(name: str) -> RuleSet:
    return rules_of([read_yaml("rules.yaml", f"rules: [{{name: {name}, when: {{event: {{}}}}}}]")])


def names(ruleset: RuleSet) -> list[str]:
    return [item.rule.name for item in ruleset.rules]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = await open_local_log(tmp_path, partitions={EVENTS: SOURCES, RULES: 1})
    yield opened
    await opened.close()


async def read(log: Log) -> RuleBook:
    book = RuleBook(log)
    await book.refresh()
    return book


async def test_sets_that_are_published_at_once_get_a_version_each(log: Log) -> None:
    early = RuleBook(log)

    versions = await asyncio.gather(*(publish_rules(log, rules(name)) for name in ("a", "b", "c")))

    await early.refresh()
    late = await read(log)
    assert sorted(versions) == sorted(late.rulesets) == [1, 2, 3]
    found = {version: names(ruleset) for version, ruleset in late.rulesets.items()}
    assert found == dict(zip(versions, (["a"], ["b"], ["c"]), strict=True))
    assert {version: names(ruleset) for version, ruleset in early.rulesets.items()} == found


async def test_every_source_is_told_of_each_of_them_and_the_newest_is_current(log: Log) -> None:
    await asyncio.gather(*(publish_rules(log, rules(name)) for name in ("a", "b", "c")))

    for source in range(SOURCES):
        assert announced_versions(await log.read(EVENTS, source, 0, 100), source) == {1, 2, 3}
    assert (await read(log)).current_version == 3


async def test_a_pointer_that_was_written_late_does_not_lead_back(log: Log) -> None:
    for name in ("a", "b"):
        await publish_rules(log, rules(name))
    await log.append(RULES, [Outgoing(0, f"{CURRENT}1", b'{"version":1}')])

    assert (await read(log)).current_version == 2


async def test_the_set_in_force_is_not_published_again(log: Log) -> None:
    assert [await publish_rules(log, rules("a")) for _ in range(2)] == [1, 1]
    assert len(await log.read(EVENTS, 0, 0, 100)) == 1
