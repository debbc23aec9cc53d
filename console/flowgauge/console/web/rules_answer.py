"""The rules in force as programs are answered: what each says, with its defaults, and how many incidents it has open.

A tenant sees its own rules and those of all tenants. What `actions` say is for the operator, who wrote it. Pure.
"""

from collections.abc import Mapping

import msgspec

from flowgauge.console.web.answer_records import RunningRule
from flowgauge.processors.rule_fields import fields_of
from flowgauge.processors.rule_plan import OpenIncidents
from flowgauge.processors.rule_view import ANY_TENANT, RuleView
from flowgauge.processors.ruleset import CompiledRule, RuleSet

PAGE_RULES = 1_000
PAGE_BYTES = 4 * 1_048_576  # a rule may have thousands of patterns: a page ends where it is past this
FOR_THE_OPERATOR = "actions"

_encode = msgspec.json.Encoder().encode


def rules_page(ruleset: RuleSet, tenant: str, open_incidents: OpenIncidents, *, is_whole: bool, after: int) -> bytes:
    """Return as JSON the rules that `tenant` sees, or all where it may see the whole set, past the first `after`."""
    seen = [item for item in ruleset.rules if is_whole or item.rule.tenant in {ANY_TENANT, tenant}]
    view, counts = RuleView(ruleset), _by_rule(ruleset, open_incidents)
    rows: list[msgspec.Raw] = []
    size = 0
    for item in seen[after : after + PAGE_RULES]:
        applies = is_whole or view.named(item.name, tenant) is item
        row = _encode(_row(item, counts.get(item.uid, {}), applies=applies, is_whole=is_whole))
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
        "next": str(last) if last < len(seen) else None,
    }
    return _encode(body) + b"\n"


def _by_rule(ruleset: RuleSet, open_incidents: OpenIncidents) -> dict[str, dict[str, int]]:
    """Return by the rule's uid how many incidents are open of each tenant; one whose rule is gone is nobody's."""
    view = RuleView(ruleset)
    found: dict[str, dict[str, int]] = {}
    for (name, tenant), count in open_incidents.items():
        if (item := view.named(name, tenant)) is not None:
            found.setdefault(item.uid, {})[tenant] = count
    return found


def _row(item: CompiledRule, open_incidents: Mapping[str, int], *, applies: bool, is_whole: bool) -> RunningRule:
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
        "open_incidents": dict(open_incidents),
    }
