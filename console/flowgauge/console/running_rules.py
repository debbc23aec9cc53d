"""The rules in force, as a command that reads gets them: from the server, or out of the data folder's log."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from flowgauge.console.ask import RULES, Place, ask_pages
from flowgauge.console.web.rules_answer import FOR_THE_OPERATOR
from flowgauge.processors.rule_plan import OpenIncidents
from flowgauge.processors.rule_view import ANY_TENANT
from flowgauge.processors.ruleset import RuleSet, rules_from_sources
from flowgauge.schemas.errors import ServerAway


@dataclass(frozen=True, slots=True)
class RunningRules:
    """The rules in force that `tenant` may see, or all, with their open incidents; `folder` where no server ran."""

    ruleset: RuleSet
    tenant: str
    is_whole: bool
    open_incidents: OpenIncidents | None  # None where there are too many to count
    folder: Path | None

    def of_the_same(self, ruleset: RuleSet) -> RuleSet:
        """Return as much of `ruleset` as whoever sees these rules would see of it: of others' and `actions` nothing."""
        if self.is_whole:
            return ruleset
        seen = [item.source for item in ruleset.rules if item.rule.tenant in {ANY_TENANT, self.tenant}]
        shown = [{name: value for name, value in source.items() if name != FOR_THE_OPERATOR} for source in seen]
        return rules_from_sources(shown, ruleset.version)


class _Row(msgspec.Struct):
    rule: str
    written: dict[str, Any]


class _Open(msgspec.Struct):
    rule: str
    tenant: str
    open: int


class _Page(msgspec.Struct):
    version: int
    tenant: str
    whole: bool
    rows: list[_Row]
    open_incidents: list[_Open] | None


async def running_rules(place: Place, whose: Mapping[str, str]) -> RunningRules:
    """Return the rules in force, all of them where `whose` names no tenant and the token is the operator's.

    Raises ServerAway when nobody can answer, and where they change while they are read.
    """
    pages: list[_Page] = []
    folder: Path | None = None
    async for answer in ask_pages(place, RULES, whose):
        pages.append(msgspec.json.decode(answer.text, type=_Page))
        folder = answer.folder
    first, rows = pages[0], [row for page in pages for row in page.rows]
    if any(page.version != first.version for page in pages):
        raise ServerAway("the rules in force changed while they were read: ask again")
    ruleset = rules_from_sources([row.written for row in rows], first.version)
    opened = first.open_incidents
    counts = None if opened is None else {(each.rule, each.tenant): each.open for each in opened}
    return RunningRules(ruleset, first.tenant, first.whole, counts, folder)
