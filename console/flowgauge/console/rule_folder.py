"""The folder of rule, channel and action files: what applies now, and what is wrong with what was written last.

A broken file never replaces a good set: it is told in the health banner until it is mended, and the rules go on. So
is a folder that lost its last file, for good or while somebody moves files: a file with `rules: []` ends all rules. A
start in an empty folder begins with none.
A rule that names no channel, and a channel without its secret, are told there too: detection goes on with them.
Without `--rules DIR` the folder is `rules/` in the data folder, which `flowgauge rules apply` fills.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]  # one of its types is trio's

from flowgauge.console.notify_check import (
    address_problems,
    has_any_defined,
    routes_to_nowhere,
    secret_problems,
    unknown_names,
)
from flowgauge.console.rule_files import check_file_names, finish_replacing, replace_files
from flowgauge.console.watched_file import not_applied
from flowgauge.console.web.words import count
from flowgauge.processors.ruleset import RuleSet, rules_of
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.errors import BadInput, InvalidRules, Problem, Transient
from flowgauge.schemas.setting_parts import ActionSettings, SecretRef
from flowgauge.schemas.settings import SECRET_CHARS_MAX, resolve_secret
from flowgauge.schemas.yaml_places import Document, read_yaml
from flowgauge.sinks.webhooks.actions.action import ActionBook, actions_of
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.channels import ChannelBook, channels_of
from flowgauge.sinks.webhooks.egress import refused_unasked
from flowgauge.sinks.webhooks.places import Places
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log
from flowgauge.transport.patience import Patience
from flowgauge.transport.wall_clock import now_ms
from flowgauge.transport.yaml_files import read_documents, refuse_no_files

PART = "rules"  # how the health banner names what is wrong with the files
TELLING_PART = "notify"  # and what keeps people from being told
APPLIED = "rules"  # the folder in the data folder
LOOK_AGAIN_MS = 30_000  # while somebody would not be told: the file of a secret may have come

PUBLIC_ONLY = EgressPolicy()

NO_PROGRAMS = ActionSettings()

log = structlog.get_logger("flowgauge.rules")


@dataclass(frozen=True, slots=True)
class Written:
    """What files say, whole: rules, channels, actions, and what would keep people from being told."""

    ruleset: RuleSet
    channels: ChannelBook
    actions: ActionBook
    unknown_names: tuple[Problem, ...] = ()  # of channels and actions that rules name
    here: tuple[Problem, ...] = ()  # of the place that this process runs in: its secrets, its way out

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What to mend, though the rules can apply."""
        return (*self.ruleset.warnings, *self.unknown_names, *self.here)

    def __str__(self) -> str:
        """Return how much it is, such as `3 rules and 1 channel`."""
        counts = [count(len(self.ruleset.rules), "rule"), count(len(self.channels.channels), "channel")]
        if self.actions.actions:
            counts.append(count(len(self.actions.actions), "action"))
        return f"{', '.join(counts[:-1])} and {counts[-1]}"

    def refuse_unknown_names(self) -> None:
        """Raise InvalidRules when a rule names a channel or an action that is not there."""
        if self.unknown_names:
            raise InvalidRules(self.unknown_names)


@dataclass(frozen=True, slots=True)
class Applied:
    """A rule set that was put in force, and what to mend in it."""

    version: int
    warnings: tuple[str, ...] = ()


def read_written(paths: Sequence[Path], egress: EgressPolicy) -> Written:
    """Return what files and folders say; raise InvalidRules with every mistake in rules and channels."""
    return _written(*read_documents(paths), egress)


def check_written(documents: Sequence[Document], unread: Sequence[Problem], egress: EgressPolicy) -> Written:
    """Return what `documents` say that people mean to put in force; raise InvalidRules where they should not.

    That is with every mistake, the `unread` first, a rule whose times are over, and an unknown channel where there are
    channels: where there are none they may be elsewhere.
    """
    written = _written(documents, unread, egress)
    written.ruleset.refuse_lapsed(now_ms())
    if written.channels.channels or written.actions.actions:
        written.refuse_unknown_names()
    return written


def read_texts(texts: Mapping[str, str], egress: EgressPolicy, *, channels_may_be_elsewhere: bool = False) -> Written:
    """Return what `texts`, by file name, say as the whole set.

    Raises BadInput for a name that no rule file can have, InvalidRules as `check_written`, and for unknown channels
    too where `texts` hold no channel at all, unless they may be elsewhere.
    """
    check_file_names(texts)
    documents: list[Document] = []
    problems: list[Problem] = []
    for name in sorted(texts):
        try:
            documents.append(read_yaml(name, texts[name]))
        except InvalidRules as error:
            problems.extend(error.problems)
    written = check_written(documents, problems, egress)
    if not channels_may_be_elsewhere:
        written.refuse_unknown_names()
    return written


class RuleFolder:
    """The rules, channels and actions in force."""

    def __init__(
        self,
        folder: Path,
        health: Health,
        egress: EgressPolicy = PUBLIC_ONLY,
        actions: ActionSettings = NO_PROGRAMS,
    ) -> None:
        self.folder = folder
        self._egress = egress
        self._actions = actions
        self.places = Places()
        self.ruleset = RuleSet()  # in force
        self._health = health
        self._changing = asyncio.Lock()  # one change at a time: else one version could get two contents

    def open(self) -> Written:
        """Read the folder at the start; raise InvalidRules: nothing runs with half its rules."""
        self.folder.mkdir(parents=True, exist_ok=True)
        finish_replacing(self.folder)
        written = read_written([self.folder], self._egress)
        self.places, self.ruleset = self._places(written), written.ruleset
        self._tell(written)
        return written

    def in_force_as(self, version: int) -> None:
        """Note as which version the rules that were read at the start are in the log."""
        self.ruleset = replace(self.ruleset, version=version)

    async def watch(self, log_: Log | None, stop: asyncio.Event) -> None:
        """Put each good change in force until `stop`; look again for what keeps people from being told.

        Without a log only the channels are taken: the rules in force come from elsewhere.
        """
        watching = awatch(
            self.folder, stop_event=stop, recursive=False, rust_timeout=LOOK_AGAIN_MS, yield_on_timeout=True
        )
        async for changes in watching:
            if changes or TELLING_PART in self._health.operator_problems:
                await self.apply(log_, stop)

    async def replace(self, texts: Mapping[str, str], log_: Log, stop: asyncio.Event) -> Applied:
        """Make the folder hold exactly `texts` and put them in force.

        Raises InvalidRules or BadInput and changes nothing when they are wrong, Transient when the disk is full.
        """
        written = await asyncio.to_thread(read_texts, texts, self._egress)
        async with self._changing:
            writing = asyncio.ensure_future(asyncio.to_thread(replace_files, self.folder, texts))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])  # a thread goes on: the lock is its own until it ends
                raise
            version = await self._put_in_force(written, log_, stop)
        return Applied(version, tuple(str(each) for each in written.warnings))

    async def apply(self, log_: Log | None, stop: asyncio.Event) -> int:
        """Read the folder again and put it in force; return the version, 0 when it is broken or holds no file."""
        async with self._changing:
            try:
                written = await asyncio.to_thread(self._read_again)
            except (BadInput, Transient) as error:
                first, *more = str(error).splitlines()
                more_text = f" and {len(more)} more" if more else ""
                self._health.problems[PART] = not_applied(PART)
                self._health.operator_problems[PART] = f"{first}{more_text}; the rules before it go on"
                log.warning("rules not applied", problems=str(error))
                return 0
            return await self._put_in_force(written, log_, stop)

    def _read_again(self) -> Written:
        finish_replacing(self.folder)
        refuse_no_files([self.folder])
        return read_written([self.folder], self._egress)

    async def _put_in_force(self, written: Written, log_: Log | None, stop: asyncio.Event) -> int:
        was_broken = PART in self._health.problems
        self.places = self._places(written)  # first: a new rule may tell at once
        version = await self._publish(written.ruleset, log_, stop) if log_ else 0
        before, self.ruleset = self.ruleset.version, replace(written.ruleset, version=version)
        self._health.problems.pop(PART, None)
        self._health.operator_problems.pop(PART, None)
        self._tell(written)
        if version != before or was_broken:  # mended by what was there before
            log.info("rules applied", version=version, rules=len(self.ruleset.rules))
        elif log_ is None:
            log.info("channels read", channels=len(self.places.channels.channels))
        return version

    def _places(self, written: Written) -> Places:
        return Places(
            written.channels,
            written.actions,
            run_actions=self._actions.enabled,
            commands=frozenset(self._actions.commands),
        )

    async def _publish(self, ruleset: RuleSet, log_: Log, stop: asyncio.Event) -> int:
        return await Patience(PART, self._health, stop)(lambda: publish_rules(log_, ruleset))

    def _tell(self, written: Written) -> None:
        problems = [*written.unknown_names, *written.here]
        before = self._health.operator_problems.pop(TELLING_PART, "")
        if problems:
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            told = self._health.operator_problems[TELLING_PART] = f"{problems[0]}{more}"
            if told != before:
                log.warning("somebody would not be told", problems=[str(problem) for problem in problems])


def _written(documents: Sequence[Document], problems: Sequence[Problem], egress: EgressPolicy) -> Written:
    found: list[Problem] = []
    ruleset, channels, actions = RuleSet(), ChannelBook(), ActionBook()
    try:
        ruleset = rules_of(documents, problems)
    except InvalidRules as error:
        found += error.problems
    try:
        channels = channels_of(documents, problems)
    except InvalidRules as error:
        found += error.problems
    try:
        actions = actions_of(documents, problems)
    except InvalidRules as error:
        found += error.problems
    unknown = tuple(unknown_names(documents))
    if found:
        found += unknown if has_any_defined(documents) else ()
        raise InvalidRules(_in_order(documents, found))
    return Written(
        ruleset,
        channels,
        actions,
        unknown,
        (
            *routes_to_nowhere(documents),
            *secret_problems(documents, channels, actions, _secret_of),
            *address_problems(documents, channels, actions, partial(refused_unasked, policy=egress)),
        ),
    )


def _in_order(documents: Sequence[Document], problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return each problem once, as the files are read from top to bottom; files that nobody could read come first."""
    files = {document.file: index for index, document in enumerate(documents)}
    once = dict.fromkeys(problems)
    return tuple(sorted(once, key=lambda each: (files.get(each.file, -1), each.line, each.column)))


def _secret_of(ref: SecretRef) -> str:
    return resolve_secret(ref, os.environ, _read_secret)


def _read_secret(file: str) -> str:
    with Path(file).open(encoding="utf-8") as opened:
        return opened.read(SECRET_CHARS_MAX + 2)  # past the bound it is refused anyway
