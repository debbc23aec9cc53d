"""A trial of an action: the firing of a rule that never was, for people to see what it would do. Pure."""

from collections.abc import Mapping, Sequence

from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.ids import delivery_id, incident_id, transition_id
from flowgauge.schemas.lane import action_lane
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun, Transition
from flowgauge.sinks.webhooks.actions.action import Action, ActionBook
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.message import fitted

REASON = "a trial by hand"


def action_named(book: ActionBook, name: str, tenant: str) -> Action:
    """Return the action that `tenant`'s rules call `name`; raise BadInput with the names that there are."""
    if found := book.find(tenant, name):
        return found
    names = sorted({each.name for each in book.actions if each.tenant in {tenant, ANY_TENANT}})
    raise BadInput(f"no action is called {name!r}: " + (f"there are {', '.join(names)}" if names else "there is none"))


def trial_notice(  # a trial is made of what people say of it
    ruleset: RuleSet, rule_name: str, action: Action, *, tenant: str, key: Mapping[str, str], runs: Sequence[str],
    now_ms: int, public_url: str,
) -> Notice:  # fmt: skip
    """Return the notice of a firing of the rule for `key` with these runs behind it; raise BadInput for no such rule.

    Numbers are unknown in it. No two trials have an id in common, nor one with a firing.
    """
    rule = next((each for each in ruleset.rules if each.name == rule_name), None)
    if rule is None:
        names = ", ".join(each.name for each in ruleset.rules[:10])
        raise BadInput(f"no rule is called {rule_name!r}: " + (f"there are {names}" if names else "there is none"))
    if unknown := sorted(key.keys() - set(rule.key_names)):
        raise BadInput(f"{unknown[0]}: the key of this rule has {', '.join(rule.key_names) or 'no fields'}")
    incident = incident_id(
        tenant, f"{REASON}: {rule_name}", [f"{name}={value}" for name, value in sorted(key.items())], now_ms
    )
    transition = Transition(
        transition_id=transition_id(incident, 0, "firing"),
        incident_id=incident,
        seq=0,
        tenant=tenant,
        rule=rule.name,
        rule_kind=rule.kind.name,
        rules_version=ruleset.version,
        key=dict(key),
        from_state="inactive",
        to_state="firing",
        at_ms=now_ms,
        opened_at_ms=now_ms,
        reason=REASON,
        window_ms=rule.window_ms,
        examples=[ExampleRun(now_ms * 1000, "", run, key.get("flow", "")) for run in runs[:EXAMPLES_MAX]],
        severity=rule.rule.severity,
        labels=dict(rule.rule.labels),
        summary=rule.rule.summary,
    )
    told = delivery_id(transition.transition_id, action_lane(action.name))
    return Notice(told, (fitted(transition),), public_url=public_url)
