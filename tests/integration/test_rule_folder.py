"""The rules folder in force: changes that come at once are taken one after the other."""

import asyncio
from pathlib import Path

from flowgauge.console.rule_folder import RuleFolder
from flowgauge.console.up import partitions_of
from flowgauge.processors.ruletopic import RuleBook
from flowgauge.schemas.settings import Settings
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log

RULE = "rules: [{{name: {name}, when: {{event: {{}}}}}}]\n"


async def test_rule_sets_applied_at_once_each_get_a_version_of_their_own(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=partitions_of(Settings(data=tmp_path)))
    folder = RuleFolder(tmp_path / "rules", Health())
    stop = asyncio.Event()

    versions = await asyncio.gather(
        *(folder.replace({f"{name}.yaml": RULE.format(name=name)}, log, stop) for name in ("a", "b", "c"))
    )

    book = RuleBook(log)
    await book.refresh()
    await log.close()
    names = {version: [item.name for item in ruleset.rules] for version, ruleset in book.rulesets.items()}
    assert sorted(versions) == [1, 2, 3]
    assert sorted(names.values()) == [["a"], ["b"], ["c"]]
    assert [file.stem for file in (tmp_path / "rules").iterdir()] == names[book.current_version]
