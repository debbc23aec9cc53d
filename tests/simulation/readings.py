"""What each kind reads at each pane end, by its definition and over all events: no window, no sum, no cache.

It is written from docs/rules.md and uses nothing of production. Oracles that the laws in tests/property use too are in
tests/oracles.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil, gcd
from typing import NamedTuple

from tests.oracles.burn_rate import SHORT_PART, BurnOracle, Pair
from tests.oracles.change import PANES_OF_A_WINDOW, ChangeOracle, Counted
from tests.oracles.compound import holds, lingers_ms
from tests.oracles.late import LateOracle, place
from tests.oracles.missed import MissedOracle, Seen
from tests.oracles.sequence import SequenceOracle, Step
from tests.oracles.told import BETWEEN, BREACH, CLEAR, EMPTY, HELD, Told, may_be_chance, pane_end
from tests.simulation import judged_triggers
from tests.simulation.judged_alert import JudgedAlert
from tests.simulation.simulated_log import START_MS
from tests.simulation.story import DrawnRule, Happened, Ms, is_told_at_once

ENDS = {"completed", "failed", "crashed", "cancelled"}
FINISHED, FAILED = {"completed", "failed", "crashed"}, {"failed", "crashed"}
OF_RUNS = {  # kinds that look at flow runs by themselves
    "failure_rate",
    "burn_rate",
    "consecutive_failures",
    "late",
    "missed",
    "duration",
    "change",
}
TAKEN = {"running", *ENDS}  # states that tell how long a run takes
HEARD_STATES = {
    "failure_rate": FINISHED,
    "burn_rate": FINISHED,
    "consecutive_failures": FINISHED,
    "duration": TAKEN,
}
OF_CHANGE = {"runs": FINISHED, "failures": FINISHED, "failure_rate": FINISHED, "duration": TAKEN}
PANE_MS = 1_000  # of what no window drawn makes longer
HOUR_MS = 3_600_000

Readings = Callable[[DrawnRule, Sequence[Happened], range], Iterator[Told]]


def pane_ms(rule: DrawnRule) -> int:
    """Return the pane of a rule: how far the moments at which it is read lie apart. 0 where it is told at once."""
    if is_told_at_once(rule):
        return 0
    if rule.kind == "change":
        return rule.ms("within") // PANES_OF_A_WINDOW
    if rule.kind == "burn_rate":
        return gcd(*(pair.step_ms for pair in _pairs(rule)))
    return gcd(*(pane_ms(each) or PANE_MS for each in conditions(rule))) or PANE_MS


def window_ms(rule: DrawnRule) -> int:
    """Return how far back a rule looks, 0 where nothing says."""
    if rule.kind == "burn_rate":
        return max(pair.long_ms for pair in _pairs(rule))
    return rule.ms("after" if rule.kind == "absence" else "within")


def conditions(rule: DrawnRule) -> Sequence[DrawnRule]:
    """Return the conditions of a compound; others have none."""
    found: Sequence[DrawnRule] = rule.fields.get("conditions", ())
    return found


def first_read_ms(rule: DrawnRule, heard: Sequence[Happened]) -> int | None:
    """Return the first pane end at which something of `heard` is in a window of the rule; None where nothing is."""
    if not conditions(rule):
        pane = pane_ms(rule) or PANE_MS
        return min((pane_end(each.heard_ms, pane) for each in heard), default=None)
    firsts = (first_read_ms(each, _own(each, heard)) for each in conditions(rule))
    return min((first_ms for first_ms in firsts if first_ms is not None), default=None)


def hears(rule: DrawnRule, each: Happened) -> bool:
    """Tell whether an event is one for a rule."""
    if rule.kind == "prefect":
        return judged_triggers.sees(rule, each)
    if conditions(rule):
        return any(hears(condition, each) for condition in conditions(rule))
    if rule.kind == "absence" and "run" in rule.for_each and each.kind == "flow-run" and each.state in ENDS:
        return True
    if each.kind != "flow-run" and rule.kind in OF_RUNS:
        return False
    return _matches(rule.match, each) and _means_something(rule, each)


def hears_late(rule: DrawnRule, each: Happened) -> bool:
    """Tell whether a rule hears of an event whenever it is told: of the end of a run that it watches."""
    if conditions(rule):
        return any(hears(condition, each) and hears_late(condition, each) for condition in conditions(rule))
    if rule.kind == "absence":
        return "run" in rule.for_each and each.kind == "flow-run" and each.state in ENDS
    return rule.kind == "duration" and "quantile" not in rule.fields and each.state in ENDS


def _own(condition: DrawnRule, heard: Sequence[Happened]) -> list[Happened]:
    """Return what a condition hears of what its compound does."""
    return [each for each in heard if hears(condition, each) and (each.told_ms is None or hears_late(condition, each))]


def _means_something(rule: DrawnRule, each: Happened) -> bool:
    if rule.kind == "late":
        return each.state != "scheduled" or each.scheduled_ms is not None
    if rule.kind == "sequence":
        return bool(_steps(rule, each))
    states = OF_CHANGE.get(rule.fields["of"]) if rule.kind == "change" else HEARD_STATES.get(rule.kind)
    return states is None or each.state in states


def _matches(match: Mapping[str, Sequence[str]], each: Happened) -> bool:
    named = {"kind": each.kind, "state": each.state, "event": each.event}
    return all(named[name] in values for name, values in match.items())


def _happened_so_often(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    for end_ms in ends:
        count = len(_within(rule, heard, end_ms))
        yield Told(BREACH if count >= rule.ms("times") else CLEAR, count, count)


def _failure_rates(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    for end_ms in ends:
        states = [each.state for each in _within(rule, heard, end_ms)]
        failed = sum(state in FAILED for state in states)
        yield _failure_rate(rule, failed, len(states)) if states else Told(EMPTY)


def _failure_rate(rule: DrawnRule, failed: int, finished: int) -> Told:
    rate, above = failed / finished, float(rule.fields["above"])
    clear_below = rule.fields.get("clear_below")
    verdict = CLEAR
    if finished < rule.ms("min_samples"):
        verdict = HELD
    elif rate > above:
        is_chance = may_be_chance(Fraction(failed, finished), Fraction(str(above)), finished)
        verdict = BETWEEN if "guard" in rule.fields and is_chance else BREACH
    elif clear_below is not None and rate >= float(clear_below):
        verdict = BETWEEN
    return Told(verdict, rate, finished)


def _rows_of_failures(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    for end_ms in ends:
        ended = [each for each in heard if each.occurred_ms < end_ms]
        if not ended or (rule.ms("within") and not _within(rule, ended, end_ms)):
            yield Told(EMPTY if rule.ms("within") else HELD)
        else:
            yield _row_of_failures(rule, ended, end_ms)


def _row_of_failures(rule: DrawnRule, ended: Sequence[Happened], end_ms: int) -> Told:
    row: list[Happened] = []
    for each in ended:
        is_forgotten = rule.ms("within") and row and row[-1].occurred_ms < _pane_start(each) - rule.ms("within")
        if each.state not in FAILED or is_forgotten:
            row = []
        if each.state in FAILED:
            row.append(each)
    times = rule.ms("times")
    if not row:
        return Told(CLEAR, 0, 0)
    is_wide = rule.ms("within") and len(row) >= times and row[-times].occurred_ms < end_ms - rule.ms("within")
    return Told(BETWEEN if len(row) < times or is_wide else BREACH, len(row), len(row))


def _pane_start(each: Happened) -> int:
    return each.occurred_ms // 1_000 * 1_000


class _Sighted(NamedTuple):
    occurred_us: int
    outcome: str
    event_id: str
    run: str
    flow: str
    scheduled_ms: int | None


_OUTCOMES = {"scheduled": "scheduled", "late": "late", "running": "started", **dict.fromkeys(ENDS, "ended")}


def _late_runs(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    oracle = LateOracle(after_ms=rule.ms("after"), within_ms=rule.ms("within"), pane_ms=1_000)
    sighted = [
        _Sighted(
            each.occurred_ms * 1000,
            _OUTCOMES.get(each.state, "went on"),
            each.event_id,
            each.run,
            each.flow,
            each.scheduled_ms,
        )
        for each in heard
    ]
    sighted.sort(key=place)
    for end_ms in ends:
        for each in sighted:
            if end_ms - 1_000 <= each.occurred_us // 1000 < end_ms:
                oracle.hear(each)
        count = oracle.count(end_ms)
        yield Told(BREACH if count >= rule.ms("at_least") else CLEAR, count, count)


def _silences(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    after_ms = rule.ms("after")
    is_of_runs = "run" in rule.for_each
    in_order = sorted(heard, key=lambda each: (each.occurred_ms, is_of_runs and each.state in ENDS))
    for end_ms in ends:
        seen: list[tuple[int, bool]] = []  # (when, whether its run has ended with it); echoes of an end are none
        for each in in_order:
            is_state = is_of_runs and each.kind == "flow-run" and bool(each.state)
            is_echo = seen and seen[-1][1] and not is_state and each.occurred_ms <= seen[-1][0] + after_ms
            if each.heard_ms < end_ms and not is_echo:
                seen.append((each.occurred_ms, is_state and each.state in ENDS))
        if not seen:
            yield Told(HELD)
            continue
        last_ms, has_ended = seen[-1]
        is_silent = not has_ended and last_ms < end_ms - after_ms
        yield Told(BREACH if is_silent else CLEAR, (end_ms - last_ms) / 1000, 1)


class _Span(NamedTuple):
    """One run: from when to when, when its end was heard of, and whether it finished."""

    started_ms: int
    ended_ms: int | None
    heard_ms: int
    is_finish: bool


def _spans(heard: Sequence[Happened]) -> list[_Span]:
    spans: list[_Span] = []
    for run in {each.run for each in heard}:
        starts = sorted(each.occurred_ms for each in heard if each.run == run and each.state == "running")
        over_ms = -1  # up to when it is told to be over; an end counts for the first start after that
        told = sorted((each for each in heard if each.run == run and each.state != "running"), key=_when_heard)
        for end in told:
            began_ms = next((start for start in starts if over_ms < start <= end.occurred_ms), None)
            if began_ms is not None:
                spans.append(_Span(began_ms, end.occurred_ms, end.heard_ms, end.state in FINISHED))
                over_ms = end.occurred_ms
        spans += [_Span(start, None, 0, is_finish=False) for start in starts if start > over_ms][:1]
    return spans


def _when_heard(each: Happened) -> tuple[int, int, int]:
    return each.heard_ms // PANE_MS, each.occurred_ms, each.number


def _durations(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    spans = _spans(heard)
    for end_ms in ends:
        if "quantile" not in rule.fields:
            so_far = _spans([each for each in heard if each.heard_ms < end_ms])
            yield _long_runs(rule.ms("above"), so_far, end_ms)
            continue
        finished = [span for span in spans if span.is_finish and span.ended_ms is not None and span.ended_ms < end_ms]
        first_ms = min(_pane_start(each) for each in heard) + 1_000 if heard else end_ms
        yield _quantile(rule, finished, end_ms, full_ms=first_ms + rule.ms("within"))


def _long_runs(above_ms: int, spans: Sequence[_Span], end_ms: int) -> Told:
    underway = [span.started_ms for span in spans if span.ended_ms is None]
    over = [started_ms for started_ms in underway if started_ms < end_ms - above_ms]
    ended = [  # heard of in the last pane, having taken too long
        span
        for span in spans
        if span.ended_ms is not None and span.heard_ms >= end_ms - 1_000 and span.ended_ms - span.started_ms > above_ms
    ]
    is_news = any(span.started_ms + above_ms >= end_ms - 1_000 for span in ended)
    took_ms = [span.ended_ms - span.started_ms for span in ended if span.ended_ms is not None]
    took_ms += [end_ms - min(underway)] if underway else []
    value = max(took_ms) / 1000 if took_ms else None
    return Told(BREACH if over or is_news else CLEAR, value, len(over) + len(ended))


def _quantile(rule: DrawnRule, finished: Sequence[_Span], end_ms: int, *, full_ms: int) -> Told:
    from_ms = end_ms - rule.ms("within")
    took_ms = sorted(
        span.ended_ms - span.started_ms for span in finished if span.ended_ms is not None and span.ended_ms >= from_ms
    )
    if not took_ms:
        return Told(EMPTY if finished or end_ms >= full_ms else HELD)
    rank = ceil(Fraction(str(rule.fields["quantile"])) * len(took_ms))
    quantile_ms = took_ms[max(1, rank) - 1]
    verdict = CLEAR
    if len(took_ms) < rule.ms("min_samples"):
        verdict = HELD
    elif quantile_ms > rule.ms("above"):
        verdict = BREACH
    elif "clear_below" in rule.fields and quantile_ms >= rule.ms("clear_below"):
        verdict = BETWEEN
    return Told(verdict, quantile_ms / 1000, len(took_ms), is_rounded=True)


def _within(rule: DrawnRule, heard: Sequence[Happened], end_ms: int) -> list[Happened]:
    from_ms = end_ms - rule.ms("within")
    return [each for each in heard if from_ms <= each.occurred_ms < end_ms]


def _burn_rates(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    oracle = BurnOracle(
        budget=1 - Fraction(str(rule.fields["objective"])),
        pairs=_pairs(rule),
        min_samples=rule.ms("min_samples"),
        is_guarded="guard" in rule.fields,
    )
    ended = [(each.occurred_ms, each.state in FAILED) for each in heard]
    for end_ms in ends:
        yield oracle.read(ended, end_ms)


def _pairs(rule: DrawnRule) -> Sequence[Pair]:
    return [
        Pair(Fraction(pair["above"]), pair["within"], pair.get("short", pair["within"] // SHORT_PART))
        for pair in rule.fields["pairs"]
    ]


def _sequences(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    is_of_incomplete = rule.fields["fires_when"] == "incomplete"
    oracle = SequenceOracle(len(rule.fields["steps"]), rule.ms("within"), is_of_incomplete)
    ordered = sorted(heard, key=lambda each: (each.occurred_ms, min(_steps(rule, each)), each.number))
    came = [Step(each.occurred_ms, _steps(rule, each)) for each in ordered]
    for end_ms in ends:
        yield oracle.read(came, end_ms)


def _steps(rule: DrawnRule, each: Happened) -> set[int]:
    return {number for number, step in enumerate(rule.fields["steps"]) if _matches(step, each)}


class _Stand(NamedTuple):
    """A condition at a pane end of its own: whether it is open, and how many samples it looked at."""

    end_ms: int
    is_open: bool
    samples: int


def _together(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    """Judge each condition as a rule of its own, then how many hold."""
    of_all = [_stands(condition, heard, ends.stop) for condition in conditions(rule)]
    changes = [_changes_of(stands) for stands in of_all]
    linger_ms = [lingers_ms(window_ms(rule), is_momentary=is_told_at_once(each)) for each in conditions(rule)]
    needed = len(of_all) if rule.kind == "all_of" else max(1, rule.ms("at_least"))
    for end_ms in ends:
        held = [
            [each.samples for each in stands if each.is_open and each.end_ms <= end_ms]
            for stands, changed, wait_ms in zip(of_all, changes, linger_ms, strict=True)
            if holds(changed, end_ms, wait_ms)
        ]
        samples = sum(counts[-1] for counts in held)
        yield Told(BREACH if len(held) >= needed else CLEAR, len(held), samples)


def _stands(condition: DrawnRule, heard: Sequence[Happened], until_ms: int) -> Sequence[_Stand]:
    own = _own(condition, heard)
    if is_told_at_once(condition):  # it counts in steps of a second
        condition = replace(condition, fields={"times": 1, "within": Ms(PANE_MS)})
    first_ms = first_read_ms(condition, own)
    if first_ms is None:
        return []
    alert = JudgedAlert(condition.for_ms, condition.keep_firing_for_ms, condition.no_data)
    ends = range(first_ms, until_ms, pane_ms(condition))
    found: list[_Stand] = []
    for end_ms, told in zip(ends, ORACLES[condition.kind](condition, own, ends), strict=True):
        alert.read(told.verdict, end_ms)
        found.append(_Stand(end_ms, alert.is_open, told.samples))
    return found


def _changes_of(stands: Sequence[_Stand]) -> list[tuple[int, bool]]:
    before = [False, *(each.is_open for each in stands)]
    return [(each.end_ms, each.is_open) for each, was in zip(stands, before, strict=False) if each.is_open != was]


def _missed_slots(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    every_ms = rule.ms("every")
    begin_ms = START_MS // every_ms * every_ms
    oracle = MissedOracle(
        slots=range(begin_ms - HOUR_MS // every_ms * every_ms, begin_ms + HOUR_MS, every_ms),
        grace_ms=rule.ms("grace"),
        completes_within_ms=rule.ms("completes_within"),
        skips_failed=rule.fields.get("if_failed") == "skip",
    )
    seen = [Seen(each.occurred_ms, each.event_id, each.run, each.state, each.scheduled_ms) for each in heard]
    yield from oracle.readings(seen, ends)


def _changes(rule: DrawnRule, heard: Sequence[Happened], ends: range) -> Iterator[Told]:
    fields = rule.fields
    oracle = ChangeOracle(
        of=fields["of"],
        within_ms=rule.ms("within"),
        windows=rule.ms("trailing") // rule.ms("within"),
        direction=fields["direction"],
        factor=fields["factor"],
        sigma=fields["sigma"],
        min_samples=rule.ms("min_samples"),
        min_windows=rule.ms("min_windows"),
    )
    counted = [Counted(each.occurred_ms, has_failed=each.state in FAILED) for each in heard]
    if fields["of"] == "duration":
        counted = [
            Counted(span.ended_ms, took_us=(span.ended_ms - span.started_ms) * 1000)
            for span in _spans(heard)
            if span.is_finish and span.ended_ms is not None
        ]
    yield from oracle.readings(counted, ends)


ORACLES: dict[str, Readings] = {
    "event": _happened_so_often,
    "failure_rate": _failure_rates,
    "consecutive_failures": _rows_of_failures,
    "late": _late_runs,
    "absence": _silences,
    "duration": _durations,
    "burn_rate": _burn_rates,
    "sequence": _sequences,
    "all_of": _together,
    "any_of": _together,
    "missed": _missed_slots,
    "change": _changes,
}
