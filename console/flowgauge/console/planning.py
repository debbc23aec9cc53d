"""`flowgauge rules plan`: what a change of rules would do, as lines for people and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Final

from flowgauge.processors.rule_plan import FieldChange, Planned
from flowgauge.schemas.counted import counted

SIGNS: Final = {"added": "+", "changed": "~", "retold": "~", "unchanged": "=", "removed": "-"}


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
    return {
        "rules": [
            {
                "rule": each.rule,
                "tenant": each.tenant,
                "what": each.what,
                "fate": None if each.fate is None else each.fate.value,
                "effect": each.effect,
                "fields": [change._asdict() for change in each.fields],
            }
            for each in planned
        ]
    }


def _field_line(change: FieldChange) -> str:
    if change.before is None:
        return f"{change.field}: {change.after}"
    return f"{change.field}: {change.before} → {'not there' if change.after is None else change.after}"
