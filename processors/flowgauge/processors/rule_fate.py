"""The fate of a rule when another rule set comes into force: what becomes of its windows and of its open incidents.

    the set has it as it was            kept          windows and incidents go on, and nobody notices
    another of its name, for the same   carried_on    new windows; an open incident goes on in them
    another, for other keys or at once  ended         an open incident is resolved: the rule was changed
    none of its name                    removed       an open incident is resolved: the rule was removed

A pending alert lapses in all but the first. The detector does by this what `rules plan` tells by this. Pure.
"""

from enum import StrEnum
from typing import NamedTuple

from flowgauge.processors.rule_view import RuleView
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.transition import RULE_CHANGED, RULE_REMOVED


class Fate(StrEnum):
    """What becomes of a rule."""

    KEPT = "kept"
    CARRIED_ON = "carried_on"
    ENDED = "ended"
    REMOVED = "removed"


class Succession(NamedTuple):
    """The fate of a rule, and the rule that comes after it; None where it was removed."""

    fate: Fate
    heir: CompiledRule | None


REASONS = {Fate.ENDED: RULE_CHANGED, Fate.REMOVED: RULE_REMOVED}  # why incidents are resolved


def succession(rule: CompiledRule, tenant: str, view: RuleView) -> Succession:
    """Return what becomes of `rule`, as far as it sees events of `tenant`, when the set of `view` comes into force."""
    if view.sees(rule.uid, tenant):
        return Succession(Fate.KEPT, view.by_uid[rule.uid])
    heir = view.named(rule.name, tenant)
    if heir is None:
        return Succession(Fate.REMOVED, None)
    carries_on = heir.rule.for_each == rule.rule.for_each and heir.pane_ms > 0 and not heir.by_arrival
    return Succession(Fate.CARRIED_ON if carries_on else Fate.ENDED, heir)
