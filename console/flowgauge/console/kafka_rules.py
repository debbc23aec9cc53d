"""Rules on Kafka: a rule set goes through the log, where every matcher and detector reads it.

Channels do not: `flowgauge notify` reads them where it sends from, because there are their secrets. So files that hold
both can be given to both, and each takes its own.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowgauge.console.access import egress_policy
from flowgauge.console.role import opened_log
from flowgauge.console.rule_files import texts_of
from flowgauge.console.rule_folder import Applied, Written, read_texts
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.errors import BadEnvironment, Transient
from flowgauge.schemas.settings import Settings
from flowgauge.transport.log import Log
from flowgauge.transport.yaml_files import yaml_files

ELSEWHERE = "the {} of these files apply where `flowgauge notify --rules DIR` reads them, not here"


async def apply_to_kafka(settings: Settings, files: Sequence[Path]) -> tuple[Written, Applied]:
    """Put the rules of `files` in force on the log that the settings name; return what they say and what became of it.

    Raises InvalidRules before it asks anyone, BadEnvironment when the log is away.
    """
    texts = texts_of(yaml_files(files))
    written = _read(texts, settings)
    async with opened_log(settings) as log:
        try:
            version = await publish_rules(log, written.ruleset)
        except Transient as error:
            raise BadEnvironment(str(error).removesuffix("; trying again")) from error
    return written, Applied(version, _warnings(written))


async def put_in_force(log: Log, texts: Mapping[str, str], settings: Settings) -> Applied:
    """Put the rules of `texts`, by file name, in force.

    Raises InvalidRules or BadInput, Transient when the log cannot take them now.
    """
    written = await asyncio.to_thread(_read, texts, settings)
    return Applied(await publish_rules(log, written.ruleset), _warnings(written))


def _read(texts: Mapping[str, str], settings: Settings) -> Written:
    return read_texts(texts, egress_policy(settings), channels_may_be_elsewhere=True)


def _warnings(written: Written) -> tuple[str, ...]:
    """Return what to mend. Secrets and ways out are for the notifier's machine to miss."""
    elsewhere = [
        ELSEWHERE.format(what)
        for what, entries in (("channels", written.channels.channels), ("actions", written.actions.actions))
        if entries
    ]
    return (*map(str, written.ruleset.warnings), *elsewhere)


def told_elsewhere(written: Written) -> str:
    """Return the names that `flowgauge notify` must know, as a line for people; nothing where there are none."""
    rules = [rule.rule for rule in written.ruleset.rules]
    named = {
        "they tell {}: channels": {name for rule in rules for name in rule.notify},
        "they run {}: actions": {each.run for rule in rules for each in rule.actions},
    }
    told = [said.format(", ".join(sorted(names))) for said, names in named.items() if names]
    return f"{'; '.join(told)} that `flowgauge notify --rules DIR` must know" if told else ""
