"""The folder of rule and channel files: what applies now, and what is wrong with what was written last.

A broken file never replaces a good set: it is told in the health banner until it is mended, and the rules go on.
Without `--rules DIR` the folder is `rules/` in the data folder, which `flowgauge rules apply` fills.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]  # one of its types is trio's

from flowgauge.processors.ruleset import RuleSet, load_rules
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.errors import BadInput, InvalidRules, Problem
from flowgauge.sinks.webhooks.channels import ChannelBook, load_channels
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log
from flowgauge.transport.patience import patiently
from flowgauge.transport.yaml_files import yaml_files

PART = "rules"  # how the health banner names these problems
APPLIED = "rules"  # the folder in the data folder
FILE_NAME_CHARS_MAX = 200
FILES_MAX = 1_000

log = structlog.get_logger("flowgauge.rules")


@dataclass(frozen=True, slots=True)
class Written:
    """What a folder says: rules and channels, both whole."""

    ruleset: RuleSet
    channels: ChannelBook


def read_written(paths: list[Path]) -> Written:
    """Return what files and folders say; raise InvalidRules with every mistake in rules and channels."""
    try:
        ruleset = load_rules(paths)
    except InvalidRules as error:
        raise InvalidRules(_with_channel_problems(error, paths)) from None
    return Written(ruleset, load_channels(paths))


class RuleFolder:
    """The rules and channels in force."""

    def __init__(self, folder: Path, health: Health) -> None:
        self.folder = folder
        self.channels = ChannelBook()
        self.rules = 0  # how many apply
        self._health = health
        self._changing = asyncio.Lock()  # one change at a time: else one version could get two contents

    def open(self) -> RuleSet:
        """Read the folder at the start; raise InvalidRules: nothing runs with half its rules."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = read_written([self.folder])
        self.channels, self.rules = written.channels, len(written.ruleset.rules)
        return written.ruleset

    async def watch(self, log_: Log, stop: asyncio.Event) -> None:
        """Put each good change in force until `stop`."""
        async for _ in awatch(self.folder, stop_event=stop, recursive=False):
            await self.apply(log_, stop)

    async def replace(self, texts: Mapping[str, str], log_: Log, stop: asyncio.Event) -> int:
        """Make the folder hold exactly `texts` and put them in force; return the version.

        Raises InvalidRules or BadInput and changes nothing when they are wrong.
        """
        async with self._changing:
            await asyncio.to_thread(replace_files, self.folder, texts)
            return await self._apply(log_, stop)

    async def apply(self, log_: Log, stop: asyncio.Event) -> int:
        """Read the folder again and put it in force; return the version, 0 when it is broken."""
        async with self._changing:
            return await self._apply(log_, stop)

    async def _apply(self, log_: Log, stop: asyncio.Event) -> int:
        try:
            written = await asyncio.to_thread(read_written, [self.folder])
        except InvalidRules as error:
            first = str(error).splitlines()[0]
            more = len(error.problems) - 1
            self._health.problems[PART] = f"{first}{f' and {more} more' if more else ''}; the rules before it go on"
            log.warning("rules not applied", problems=str(error))
            return 0
        self.channels = written.channels  # first: a new rule may tell at once
        version = await patiently(
            lambda: publish_rules(log_, written.ruleset), part=PART, health=self._health, stop=stop
        )
        self.rules = len(written.ruleset.rules)
        self._health.problems.pop(PART, None)
        log.info("rules applied", version=version, rules=len(written.ruleset.rules))
        return version


def replace_files(folder: Path, texts: Mapping[str, str]) -> Written:
    """Make `folder` hold exactly `texts`; raise InvalidRules or BadInput and change nothing when they are wrong."""
    if not texts or len(texts) > FILES_MAX:
        raise BadInput(f"expected 1 to {FILES_MAX} rule files, got {len(texts)}")
    for name in texts:
        if Path(name).name != name or Path(name).suffix not in {".yaml", ".yml"} or len(name) > FILE_NAME_CHARS_MAX:
            raise BadInput(f"{name!r} is no name of a rule file: expected NAME.yaml")
    draft = folder.with_name(f".{folder.name}.draft")
    draft.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for old in draft.iterdir():
        old.unlink()
    for name, text in texts.items():
        (draft / name).write_text(text, encoding="utf-8")
    written = read_written([draft / name for name in texts])
    for name in texts:
        (draft / name).replace(folder / name)
    for old in yaml_files([folder]):
        if old.name not in texts:
            old.unlink()
    return written


def _with_channel_problems(error: InvalidRules, paths: list[Path]) -> tuple[Problem, ...]:
    try:
        load_channels(paths)
    except InvalidRules as more:
        return tuple(dict.fromkeys((*error.problems, *more.problems)))
    return error.problems
