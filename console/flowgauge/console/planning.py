"""`flowgauge rules plan`: what a change of rules would do, as lines for people and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from flowgauge.processors.rule_fate import Fate
from flowgauge.processors.rule_plan import FieldChange, Planned, What
from flowgauge.schemas.counted import counted

SIGNS: Mapping[What, str] = {"new": "+", "changed": "~", "unchanged": "=", "removed": "-"}
BECOME: Final = {  # of windows, and of incidents that are open
    None: ("new", "none"),
    Fate.KEPT: ("kept", "kept"),
    Fate.CARRIED_ON: ("new", "kept"),
    Fate.ENDED: ("new", "resolved"),
    Fate.REMOVED: ("none", "resolved"),
}


def plan_lines(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield each rule with what becomes of it, its fields that change below it, and a count at the end."""
    for each in planned:
        whose = "" if each.tenant == "*" else f" (tenant {each.tenant})"
        yield f"{SIGNS[each.what]} {each.rule}{whose}: {each.what}; {each.effect}"
        yield from (f"    {_field_line(change)}" for change in each.fields)
    counts = {what: sum(each.what == what for each in planned) for what in SIGNS}
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    yield f"{counted(len(planned), 'rule')}: {told}" if planned else "no rules before or after"


def plan_json(planned: Sequence[Planned]) -> dict[str, object]:
    """Return everything as JSON has it."""
    return {"rules": [_planned_json(each) for each in planned]}


def _planned_json(each: Planned) -> dict[str, object]:
    windows, incidents = BECOME[each.fate]
    return {
        "rule": each.rule,
        "tenant": each.tenant,
        "what": each.what,
        "windows": windows,
        "incidents": incidents,
        "open_incidents": each.open_incidents,
        "effect": each.effect,
        "fields": [change._asdict() for change in each.fields],
    }


def _field_line(change: FieldChange) -> str:
    if change.before is None:
        return f"{change.field}: {change.after}"
    return f"{change.field}: {change.before} → {'not there' if change.after is None else change.after}"
