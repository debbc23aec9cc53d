"""The rules in force as programs are answered: what each says, with its defaults, and how many incidents it has open.

A tenant sees its own rules and those of all tenants. What `actions` say is for the operator, who wrote it. Pure.
"""

import msgspec

from flowgauge.console.web.answer_records import OpenOfRule, RunningRule
from flowgauge.processors.rule_fields import fields_of
from flowgauge.processors.rule_plan import OpenIncidents
from flowgauge.processors.rule_view import ANY_TENANT, RuleView
from flowgauge.processors.ruleset import CompiledRule, RuleSet

PAGE_RULES = 1_000
PAGE_BYTES = 4 * 1_048_576  # a rule may have thousands of patterns: a page ends where it is past this
FOR_THE_OPERATOR = "actions"

_encode = msgspec.json.Encoder().encode


def rules_page(
    ruleset: RuleSet, tenant: str, open_incidents: OpenIncidents | None, *, is_whole: bool, after: int
) -> bytes:
    """Return as JSON the rules that `tenant` sees, or all where it may see the whole set, past the first `after`.

    Of `open_incidents` those are told whose rule there is.
    """
    seen = [item for item in ruleset.rules if is_whole or item.rule.tenant in {ANY_TENANT, tenant}]
    view = RuleView(ruleset)
    rows: list[msgspec.Raw] = []
    size = 0
    for item in seen[after : after + PAGE_RULES]:
        applies = is_whole or view.named(item.name, tenant) is item
        row = _encode(_row(item, applies=applies, is_whole=is_whole))
        rows.append(msgspec.Raw(row))
        size += len(row)
        if size > PAGE_BYTES:
            break
    last = after + len(rows)
    body = {
        "version": ruleset.version,
        "tenant": tenant,
        "whole": is_whole,
        "rows": rows,
        "open_incidents": None if open_incidents is None else _open_of(open_incidents, view),
        "next": str(last) if last < len(seen) else None,
    }
    return _encode(body) + b"\n"


def _open_of(open_incidents: OpenIncidents, view: RuleView) -> list[OpenOfRule]:
    counts = ((name, tenant, count) for (name, tenant), count in open_incidents.items() if view.named(name, tenant))
    return [{"rule": name, "tenant": tenant, "open": count} for name, tenant, count in counts]


def _row(item: CompiledRule, *, applies: bool, is_whole: bool) -> RunningRule:
    fields, written = fields_of(item), dict(item.source)
    if not is_whole:
        written.pop(FOR_THE_OPERATOR, None)
        fields = {name: value for name, value in fields.items() if not name.startswith(FOR_THE_OPERATOR)}
    return {
        "rule": item.name,
        "tenant": item.rule.tenant,
        "kind": item.kind.name,
        "severity": item.rule.severity,
        "applies": applies,
        "meaning": item.uid,
        "fields": fields,
        "written": written,
    }
