"""Checks of when a rule fires: never, always, at a single failure, to and fro, or twice. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from flowgauge.processors.kinds.kind import CountedEnds
from flowgauge.processors.lint.placed_rule import Complaint, Finding, PlacedRule
from flowgauge.processors.reading import Verdict
from flowgauge.processors.rule_view import ANY_TENANT
from flowgauge.processors.ruleset import detected_by
from flowgauge.processors.selector import text_test
from flowgauge.schemas.times import format_duration

_ANYBODY = ""  # no tenant is called so: rules of all tenants
# How the ends of runs are called by what sends them: our publisher, and Prefect.
_EVENTS_OF_ENDS: Sequence[Mapping[str, str]] = [
    {state: f"{start}.{state.title() if is_title else state}" for state in ("completed", "failed", "crashed")}
    for start, is_title in (
        ("flow-run", False),
        ("task-run", False),
        ("prefect.flow-run", True),
        ("prefect.task-run", True),
    )
]


def cannot_fire(item: PlacedRule) -> Iterator[Complaint]:
    """Find thresholds that are out of reach."""
    kind, ends = item.kind, item.kind.counted_ends
    if ends is not None and not ends.failures:
        message = "no state counts as failed: it can never fire"
        yield ("when", kind.name, "failures"), message, "name one, or remove `failures`"
    elif ends is not None and not item.states & ends.failures:
        yield ("match", "state"), "no run that fails is seen: it can never fire", "let the states of `failures` match"
    yield from kind.out_of_reach()


def one_run_a_key(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules that ask for several runs of a key that is one run: they hardly ever fire."""
    what = _once_a_key(item)
    field, needed = item.kind.needed_at_once(item.states)
    if needed > 1 and what:
        message = f"each {what} {item.kind.happens_to_runs} once, and {needed} are asked for"
        yield ("for_each", item.rule.for_each.index(what)), message, f"group by flow, or write `{field}: 1`"


def _once_a_key(item: PlacedRule) -> str:
    """Return the field of `for_each` that makes each key one single run, if any."""
    if "run" in item.rule.for_each and item.event_kinds == frozenset({"flow-run"}):
        return "run"
    return "task" if "task" in item.rule.for_each and item.event_kinds == frozenset({"task-run"}) else ""


def only_failures(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules about ends of runs that see no run end well."""
    ends = item.kind.counted_ends
    if ends is None or not ends.of_failures_alone:
        return
    seen = item.states & ends.finished
    if seen & ends.failures and seen <= ends.failures:
        field = ("match", "state") if "state" in item.rule.match else ("when", item.kind.name)
        yield field, f"only runs that fail are seen: {ends.of_failures_alone}", "let runs that complete match too"
    elif "event" in item.rule.match and _sees_only_events_of_failures(item, ends):
        message = f"only events of runs that fail are seen: {ends.of_failures_alone}"
        yield ("match", "event"), message, "remove `event`: the kind looks at the states itself"


def _sees_only_events_of_failures(item: PlacedRule, ends: CountedEnds) -> bool:
    test = text_test(item.rule.match["event"])
    seen = {state for names in _EVENTS_OF_ENDS for state, name in names.items() if test(name)}
    return bool(seen) and seen <= ends.failures


def single_failure(item: PlacedRule) -> Iterator[Complaint]:
    """Find shares that one failed run makes fire, though more than one seems to be asked for."""
    return item.kind.passed_by_one()


def wavering(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules whose incidents open and close with each run while the value lies at the threshold."""
    if item.kind.wavers() and not item.lingers:
        message = "fires and resolves again and again while the value lies at the threshold"
        yield ("when", item.kind.name), message, "add `for`, `keep_firing_for` or `clear_below`"


def rounded_wait(item: PlacedRule) -> Iterator[Complaint]:
    """Find waits that are shorter than the step in which the rule is evaluated."""
    step_ms = item.compiled.pane_ms
    for field, wait_ms in (("for", item.rule.for_), ("keep_firing_for", item.rule.keep_firing_for)):
        if 0 < wait_ms < step_ms:
            step = format_duration(step_ms)
            message = f"the rule is evaluated every {step}, so {format_duration(wait_ms)} is as long as {step}"
            yield (field,), message, f"write {step}, or a shorter `within`"


def never_without_data(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules that are to fire without data, of kinds to which nothing is a count of 0."""
    if item.rule.no_data == "fire" and item.kind.new_window().read(0).verdict is not Verdict.EMPTY:
        message = f"nothing in the window is a count of 0 to `{item.kind.name}`, so it never fires for want of data"
        yield ("no_data",), message, "remove it, and write an `absence` rule"


def duplicate(items: Sequence[PlacedRule]) -> Iterator[Finding]:
    """Find rules that look for the very same as one before: whoever is told is told twice."""
    # By what they look for, and whose events they see: the first two of different names, one of which is no namesake.
    before: dict[tuple[str, str], dict[str, PlacedRule]] = {}
    for item in items:
        what, tenant, name = detected_by(item.compiled), item.rule.tenant, item.rule.name
        seen_by = (_ANYBODY,) if tenant == ANY_TENANT else (tenant, ANY_TENANT)
        twins = (before.get((what, whose), {}) for whose in seen_by)
        twin = next((other for found in twins for other in found.values() if other.rule.name != name), None)
        if twin is not None:
            place = f"{twin.document.file}:{twin.document.place((*twin.path, 'name'))[0]}"
            message = f"looks for the very same as {twin.rule.name!r} at {place}"
            yield item.finding("duplicate", (("name",), message, "keep one, with the channels of both"))
        for whose in (tenant, _ANYBODY):
            found = before.setdefault((what, whose), {})
            if len(found) < 2:
                found.setdefault(name, item)
