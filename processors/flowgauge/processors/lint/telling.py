"""Checks of what people are told: by whom a rule is heard, and what its summary says. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import cast
from uuid import UUID

from flowgauge.processors.kinds.kind import Unit
from flowgauge.processors.lint.placed_rule import Complaint, Finding, PlacedRule
from flowgauge.processors.ruleset import absent_names
from flowgauge.processors.selector import predicate
from flowgauge.schemas.event import DEFAULT_TENANT, Event
from flowgauge.schemas.lane import ACTION_EVENTS
from flowgauge.schemas.summary import names_in, render_summary, shown_by, written_name
from flowgauge.schemas.times import EPOCH

# The filter that shows a value of each unit as people read it.
_FILTER_OF: dict[Unit, str] = {"share": "percent", "seconds": "seconds", "count": "round"}
_EXAMPLE_OF: dict[Unit, float] = {"share": 0.6, "seconds": 90.0, "count": 10.0}
_SINGULAR: dict[Unit, str] = {"share": "share", "seconds": "time", "count": "count"}
_FILTERS_OF_UNITS = frozenset({"percent", "seconds", "duration"})
_NUMBERS = ("value", "threshold")
_OF_A_WINDOW = ("value", "threshold", "late_samples", "window_ms")
_OF_AN_EVENT = "event_id"
_OF_A_RUN = ("flow", "task", "run")
# The end of some action.
_RESULT = Event(
    id=UUID(int=0),
    tenant=DEFAULT_TENANT,
    occurred=EPOCH,
    event=ACTION_EVENTS[0],
    resource={"id": "flowgauge.action.restart", "name": "restart"},
    related=[{"id": "0", "role": "incident"}, {"id": "failing", "role": "rule"}],
)


def nobody_told(items: Sequence[PlacedRule]) -> Iterator[Finding]:
    """Find rules that tell nobody, and do not say by `notify: []` that it is on purpose.

    Those called urgent, those whose firings do not last, and where there are channels all that no rule looks at.
    """
    has_channels = any(item.document.data.get("channels") for item in items)
    looked_at = {name for item in items for each in (item, *item.in_place()) for name in each.kind.names()}
    for item in items:
        rule, remedy = item.rule, "add `notify: [CHANNEL]`, or `notify: []` if that is meant"
        if "notify" in rule.model_fields_set or _may_be_routed(item, items):
            continue
        if rule.severity in {"error", "critical"}:
            message = f"it is called {rule.severity}, and nobody is told"
            yield item.finding("nobody-told", (("severity",), message, "add `notify: [CHANNEL]`"))
        elif item.compiled.tells_moments and not rule.actions:
            message = "each firing is told at once and never open, and nobody is told"
            yield item.finding("nobody-told", (("when", item.kind.name), message, remedy))
        elif has_channels and not rule.actions and rule.name not in looked_at:
            yield item.finding("nobody-told", (("name",), "there are channels, and it tells none", remedy))


def _may_be_routed(item: PlacedRule, items: Sequence[PlacedRule]) -> bool:
    """Tell whether a route may take the rule's incidents: what hangs on their keys may be anything."""
    rule = item.rule
    known = {"rule": rule.name, "severity": rule.severity, **rule.labels}
    of_key = set(rule.for_each) - known.keys()
    return any(
        all(name in of_key or _is_like(known.get(name, ""), patterns) for name, patterns in match.items())
        for match in _route_matches(items)
    )


def _route_matches(items: Sequence[PlacedRule]) -> Iterator[dict[str, object]]:
    for document in {id(item.document): item.document for item in items}.values():
        routes = cast("object", document.data.get("routes"))
        for route in cast("list[object]", routes) if isinstance(routes, list) else ():
            match = cast("dict[str, object]", route).get("match") if isinstance(route, dict) else None
            if isinstance(match, dict):
                yield cast("dict[str, object]", match)


def _is_like(value: str, patterns: object) -> bool:
    texts = [str(each) for each in (cast("list[object]", patterns) if isinstance(patterns, list) else [patterns])]
    wanted = [each for each in texts if not each.startswith("!")]
    refused = [each[1:] for each in texts if each.startswith("!")]
    is_wanted = not wanted or any(fnmatchcase(value, each) for each in wanted)
    return is_wanted and not any(fnmatchcase(value, each) for each in refused)


def own_events(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules with actions that see how actions end, so that an action could set itself off."""
    compiled = item.compiled
    if not item.rule.actions or not any(compiled.could_match(name, _RESULT.kind, None) for name in ACTION_EVENTS):
        return
    of_runs = (predicate(name, item.rule.match[name]) for name in _OF_A_RUN if name in item.rule.match)
    if compiled.key_of(_RESULT) is not None and all(holds(_RESULT) for holds in of_runs):
        message = "it sees what actions did too: such a firing is refused, unless the action `follows_actions`"
        yield ("actions",), message, 'add `event: "!flowgauge.action.*"` to `match`'


def absent_name(item: PlacedRule) -> Iterator[Complaint]:
    """Find names in the summary that are empty in every message of this rule."""
    for name, remedy in absent_names(item.rule, item.kind):
        yield ("summary",), f"the name `{name}` is always empty here", remedy
    is_at_once = not item.compiled.pane_ms
    for name in names_in(item.rule.summary):
        if is_at_once and name in _OF_A_WINDOW:
            yield ("summary",), f"`{name}` says nothing here: each event is told by itself", "remove it"
        elif not is_at_once and name == _OF_AN_EVENT and name not in item.compiled.key_names:
            yield ("summary",), f"`{name}` is always empty here: the rule counts events", "remove it"


def wrong_unit(item: PlacedRule) -> Iterator[Complaint]:
    """Find numbers that the summary shows in another unit than they have."""
    unit = item.kind.unit
    if unit is None or not item.compiled.pane_ms:
        return
    fitting = _FILTER_OF[unit]
    for name in _NUMBERS:
        for filters in shown_by(item.rule.summary, name):
            if not {fitting, "round"} & {*filters} or {*filters} & _FILTERS_OF_UNITS - {fitting}:
                written = "|".join((name, *filters))
                shown, meant = (_shown(unit, each) for each in (filters, (fitting,)))
                message = f"`{written}` shows a {_SINGULAR[unit]} such as {meant} as {shown or 'nothing'}"
                yield ("summary",), message, f"write `{name}|{fitting}`"


def _shown(unit: Unit, filters: Iterable[str]) -> str:
    """Return how a value of `unit` is shown through these filters, with their own arguments left out."""
    template = "{{ " + "|".join(("value", *filters)) + " }}"
    return render_summary(template, {"value": _EXAMPLE_OF[unit], "rule": ""})


def key_not_told(item: PlacedRule) -> Iterator[Complaint]:
    """Find summaries from which people cannot tell whose incident it is."""
    rule = item.rule
    named = {name if name in rule.for_each else name.partition(".")[0] for name in names_in(rule.summary)}
    if not rule.notify or not rule.for_each or {"key", *rule.for_each} & named:
        return
    fields = " and ".join(rule.for_each)
    message = f"each {fields} has incidents of its own, and no summary tells whose it is"
    yield ("summary",), message, f"name it in `summary`: {{{{ {written_name(rule.for_each[0].split('.'))} }}}}"
