"""`flowgauge rules backtest`: what rules would have told over past events, as tables and as JSON.

The evaluator is the replay's, which is the live one's: an incident has the same id in all three.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from flowgauge.console.past_events import PastEvents, Span
from flowgauge.console.text_table import text_table
from flowgauge.processors.backtest import (
    Difference,
    Found,
    Group,
    Interval,
    Limits,
    Tally,
    differences,
    found_in,
    tallies,
)
from flowgauge.processors.replay import ReplayCounts
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import format_duration, rfc3339

NUMBERS = ("incidents", "firing", "longest", "open", "flaps", "brief", "noise")
INCIDENT = ("fired", "ended", "lasted", "rule", "key", "value", "samples", "reason")
DIFFERENCE = ("what", "rule", "key", "fired", "ended", "before: fired", "before: ended")


@dataclass(frozen=True, slots=True)
class Backtest:
    """What one or two rule sets would have done. `until_ms` is where the clock ended."""

    span: Span
    until_ms: int
    limits: Limits
    counts: ReplayCounts
    rules: Sequence[str]
    found: Found
    against: Found | None = None

    def tallies(self, found: Found) -> dict[Group, Tally]:
        """Return the numbers of each key."""
        return tallies(found, self.until_ms, self.limits)

    def differences(self) -> list[Difference]:
        """Return what the rules would have done otherwise than those they are compared with."""
        return [] if self.against is None else differences(self.found, self.against, self.until_ms)


def backtest(past: PastEvents, rules: tuple[RuleSet, RuleSet | None], span: Span, limits: Limits) -> Backtest:
    """Return what the first of `rules` would have done over `past`, and the second, if any.

    Raises BadInput for a past without any event, and for one that ends before `span` begins.
    """
    ruleset, against = rules

    def found_by(rules: RuleSet) -> tuple[Found, ReplayCounts]:
        replay = past.replay(rules, until_ms=span.until_ms)
        found = found_in(replay.transitions())
        past.refuse_nothing(replay.counts)
        _refuse_later(span, replay.counts.clock_ms)
        return found.since(span.since_ms or 0, replay.counts.clock_ms), replay.counts

    other = None if against is None else found_by(against)[0]
    found, counts = found_by(ruleset)
    names = list(dict.fromkeys(item.name for item in ruleset.rules))
    return Backtest(span, counts.clock_ms, limits, counts, names, found, other)


def _refuse_later(span: Span, end_ms: int) -> None:
    if span.since_ms is not None and span.since_ms > end_ms:
        raise BadInput(
            f"--since: the history ends at {rfc3339(end_ms)}, before {rfc3339(span.since_ms)}: nothing can be told of "
            "that time; write an earlier --since, or a later --until"
        )


# ── for programs ──


def backtest_json(test: Backtest) -> dict[str, object]:
    """Return everything as JSON has it."""
    return {
        "since": None if test.span.since_ms is None else rfc3339(test.span.since_ms),
        "until": rfc3339(test.until_ms),
        "flap": format_duration(test.limits.flap_ms),
        "brief": format_duration(test.limits.brief_ms),
        "events": {name: value for name, value in asdict(test.counts).items() if name != "clock_ms"},
        "rules": list(_rules_json(test, test.found)),
        "incidents": [_interval_json(each, test.until_ms) for each in test.found.intervals],
        "against": None
        if test.against is None
        else {
            "rules": list(_rules_json(test, test.against)),
            "differences": [_difference_json(each, test.until_ms) for each in test.differences()],
        },
    }


def _rules_json(test: Backtest, found: Found) -> Iterator[dict[str, object]]:
    by_group = test.tallies(found)
    for rule, total in _by_rule(test, by_group).items():
        keys = [
            {"tenant": group[0], "key": dict(group[2]), **_tally_json(tally)}
            for group, tally in by_group.items()
            if group[1] == rule
        ]
        yield {"rule": rule, **_tally_json(total), "keys": keys}


def _tally_json(tally: Tally) -> dict[str, object]:
    return {
        "incidents": tally.incidents,
        "firing_seconds": tally.firing_ms / 1000,
        "longest_seconds": tally.longest_ms / 1000,
        "open": tally.open,
        "flaps": tally.flaps,
        "brief": tally.brief,
        "noise": tally.noise,
        "lapsed": tally.lapsed,
    }


def _interval_json(each: Interval, until_ms: int) -> dict[str, object]:
    told = each.told
    return {
        "tenant": told.tenant,
        "rule": told.rule,
        "key": told.key,
        "incident_id": told.incident_id,
        "transition_id": told.transition_id,
        "opened_at": rfc3339(told.opened_at_ms),
        "fired_at": rfc3339(each.fired_ms),
        "ended_at": _time(each.ended_ms),
        "seconds": (each.last_ms(until_ms) - each.fired_ms) / 1000,
        "to": told.to_state,
        "value": told.value,
        "threshold": told.threshold,
        "samples": told.samples,
        "reason": told.reason,
        "examples": [example.run for example in told.examples],
    }


def _difference_json(each: Difference, until_ms: int) -> dict[str, object]:
    return {
        "what": each.what,
        "fired_by_seconds": _seconds(each.fired_by_ms),
        "ended_by_seconds": _seconds(each.ended_by_ms),
        "incident": None if each.interval is None else _interval_json(each.interval, until_ms),
        "against": None if each.against is None else _interval_json(each.against, until_ms),
    }


def _by_rule(test: Backtest, by_group: Mapping[Group, Tally]) -> dict[str, Tally]:
    """Return the numbers of each rule, those that did nothing too; and of rules that are only compared with."""
    totals = {rule: Tally() for rule in test.rules}
    for (_, rule, _), tally in by_group.items():
        totals.setdefault(rule, Tally()).add(tally)
    return totals


# ── for people ──


def backtest_tables(test: Backtest, limit: int) -> Iterator[str]:
    """Yield the numbers of each key, then at most `limit` incidents, then as many differences, if two are compared."""
    yield text_table(("rule", "key", *NUMBERS), _tally_rows(test))
    if test.found.intervals:
        yield text_table(INCIDENT, [_interval_row(each, test.until_ms) for each in test.found.intervals[:limit]])
    if test.against is None:
        return
    found = test.differences()
    if not found:
        yield "no difference: the same incidents at the same times"
        return
    yield text_table(DIFFERENCE, [_difference_row(each) for each in found[:limit]])


def _tally_rows(test: Backtest) -> list[list[object]]:
    by_group = test.tallies(test.found)
    rows: list[list[object]] = []
    for rule in _by_rule(test, by_group):
        groups = [(group, tally) for group, tally in by_group.items() if group[1] == rule]
        rows += [_tally_row(rule, _whose(test, group), tally) for group, tally in groups]
        if not groups:
            rows.append(_tally_row(rule, {}, Tally()))
    return rows


def _tally_row(rule: str, key: Mapping[str, str], tally: Tally) -> list[object]:
    return [
        rule,
        key,
        tally.incidents,
        format_duration(tally.firing_ms),
        format_duration(tally.longest_ms),
        tally.open,
        tally.flaps,
        tally.brief,
        None if tally.noise is None else f"{tally.noise:.0%}",
    ]


def _whose(test: Backtest, group: Group) -> dict[str, str]:
    """Return a key as a table shows it, with the tenant where there are several."""
    tenants = {each.group[0] for each in test.found.intervals}
    return dict(group[2]) if len(tenants) < 2 else {"tenant": group[0], **dict(group[2])}


def _interval_row(each: Interval, until_ms: int) -> list[object]:
    told = each.told
    lasted = format_duration(each.last_ms(until_ms) - each.fired_ms) + ("" if each.ended_ms is not None else " so far")
    fired = rfc3339(each.fired_ms)
    return [fired, _time(each.ended_ms), lasted, told.rule, told.key, told.value, told.samples, told.reason]


def _difference_row(each: Difference) -> list[object]:
    rule, key = each.shown.told.rule, each.shown.told.key
    return [each.what, rule, key, *_times(each.interval), *_times(each.against)]


def _times(each: Interval | None) -> tuple[object, object]:
    return (None, None) if each is None else (rfc3339(each.fired_ms), _time(each.ended_ms))


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
