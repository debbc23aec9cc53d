"""What rules of kind `prefect` see and tell, from the log alone."""

from collections.abc import Iterable

from tests.oracles.prefect import Arrived, Fired, PrefectOracle
from tests.simulation.story import DrawnRule, Happened

LEAST_MS = 10_000  # of a Proactive trigger, and what it takes where nothing is written
LABELS = {"prefect.resource.id": "flow-run.{}", "prefect.resource.name": ""}  # of a run; events have no names


def sees(rule: DrawnRule, each: Happened) -> bool:
    """Tell whether a trigger looks at an event."""
    named = (*rule.fields["expect"], *rule.fields["after"])
    if rule.fields["expect"] and each.event not in named:
        return False
    wanted = rule.fields["match"].get("prefect.resource.id", ("*",))
    resource = _label("prefect.resource.id", each)
    return any(resource.startswith(pattern.removesuffix("*")) for pattern in wanted)


def group(rule: DrawnRule, each: Happened) -> tuple[str, ...]:
    """Return by what a rule is kept apart from itself: a Proactive trigger judges all its keys together."""
    return () if _is_proactive(rule) else _key(rule, each)


def firings(rule: DrawnRule, arrived: Iterable[tuple[int, Happened]], until_ms: int) -> list[Fired]:
    """Return all that a trigger tells of events in the order of the log, each with when the log got it."""
    fields, is_proactive = rule.fields, _is_proactive(rule)
    oracle = PrefectOracle(
        is_proactive=is_proactive,
        has_after=bool(fields["after"]),
        has_keys=bool(fields["for_each"]),
        threshold=rule.ms("threshold"),
        within_ms=max(rule.ms("within"), LEAST_MS) if is_proactive else rule.ms("within"),
    )
    seen: dict[int, Arrived] = {}  # what is sent again counts no more
    for append_ms, each in arrived:
        starts = each.event in fields["after"]
        counts = not fields["expect"] or each.event in fields["expect"]
        if starts or counts:
            key = _key(rule, each) if is_proactive else ()
            event = Arrived(append_ms, each.occurred_ms, each.event_id, key, starts=starts, counts=counts)
            seen.setdefault(each.number, event)
    return oracle.firings(seen.values(), until_ms)


def _is_proactive(rule: DrawnRule) -> bool:
    return bool(rule.fields["posture"] == "Proactive")


def _key(rule: DrawnRule, each: Happened) -> tuple[str, ...]:
    return tuple(_label(name, each) for name in sorted(rule.fields["for_each"]))


def _label(name: str, each: Happened) -> str:
    return LABELS[name].format(each.run)
