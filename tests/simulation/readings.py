"""What each kind reads at each pane end, by its definition and over all events: no window, no sum, no cache.

It is written from docs/rules.md and uses nothing of production. A kind without a line in `ORACLES` is held to the
undisturbed replay alone: faults may change nothing of it, but what it decides is not made again.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from tests.property.late_oracle import LateOracle, place
from tests.simulation.judged_alert import BETWEEN, BREACH, CLEAR, EMPTY, HELD
from tests.simulation.story import DrawnRule, Happened

ENDS = {"completed", "failed", "crashed", "cancelled"}
FINISHED, FAILED = {"completed", "failed", "crashed"}, {"failed", "crashed"}
OF_RUNS = {"failure_rate", "consecutive_failures", "late", "duration"}  # kinds that look at flow runs by themselves
HEARD_STATES = {"failure_rate": FINISHED, "consecutive_failures": FINISHED, "duration": {"running", *ENDS}}
Z = 1.959963984540054  # 95 % of a normal distribution lies within so many standard deviations
ROUNDED = 1 / 64  # by how much a quantile may be told too high


class Told(NamedTuple):
    """A reading. `is_rounded`: the value told may be higher by ROUNDED of itself."""

    verdict: str
    value: float | None = None
    samples: int = 0
    is_rounded: bool = False


class Heard(NamedTuple):
    """An event as a rule hears it: at `told_ms`, when it happened, or when the log got an end that came late."""

    number: int
    occurred_ms: int
    tenant: str
    flow: str
    run: str
    kind: str
    event: str
    state: str
    scheduled_ms: int | None
    event_id: str
    told_ms: int


Readings = Callable[[DrawnRule, Sequence[Heard], range], Iterator[Told]]


def pane_ms(rule: DrawnRule) -> int:
    """Return the pane of a rule: no window drawn is long enough for more than a second. 0 where it is told at once."""
    return 0 if rule.kind == "event" and not rule.fields else 1_000


def window_ms(rule: DrawnRule) -> int:
    """Return how far back a rule looks, 0 where nothing says."""
    return rule.ms("after" if rule.kind == "absence" else "within")


def hears(rule: DrawnRule, each: Happened) -> bool:
    """Tell whether an event is one for a rule."""
    if rule.kind == "absence" and "run" in rule.for_each and each.kind == "flow-run" and each.state in ENDS:
        return True
    if rule.kind in OF_RUNS and each.kind != "flow-run":
        return False
    named = {"kind": each.kind, "state": each.state, "event": each.event}
    if any(named[name] not in values for name, values in rule.match.items()):
        return False
    if rule.kind == "late":
        return each.state != "scheduled" or each.scheduled_ms is not None
    return each.state in HEARD_STATES.get(rule.kind, {each.state})


def _happened_so_often(rule: DrawnRule, heard: Sequence[Heard], ends: range) -> Iterator[Told]:
    for end_ms in ends:
        count = len(_within(rule, heard, end_ms))
        yield Told(BREACH if count >= rule.ms("times") else CLEAR, count, count)


def _failure_rates(rule: DrawnRule, heard: Sequence[Heard], ends: range) -> Iterator[Told]:
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
        # Wilson's interval: the rates from which `rate` lies no more than Z of their own deviations away.
        is_chance = (rate - above) ** 2 <= Z**2 * above * (1 - above) / finished
        verdict = BETWEEN if "guard" in rule.fields and is_chance else BREACH
    elif clear_below is not None and rate >= float(clear_below):
        verdict = BETWEEN
    return Told(verdict, rate, finished)


def _rows_of_failures(rule: DrawnRule, heard: Sequence[Heard], ends: range) -> Iterator[Told]:
    for end_ms in ends:
        ended = [each for each in heard if each.occurred_ms < end_ms]
        if not ended or (rule.ms("within") and not _within(rule, ended, end_ms)):
            yield Told(EMPTY if rule.ms("within") else HELD)
        else:
            yield _row_of_failures(rule, ended, end_ms)


def _row_of_failures(rule: DrawnRule, ended: Sequence[Heard], end_ms: int) -> Told:
    row: list[Heard] = []
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


def _pane_start(each: Heard) -> int:
    return each.occurred_ms // 1_000 * 1_000


class _Sighted(NamedTuple):
    occurred_us: int
    outcome: str
    event_id: str
    run: str
    flow: str
    scheduled_ms: int | None


_OUTCOMES = {"scheduled": "scheduled", "late": "late", "running": "started", **dict.fromkeys(ENDS, "ended")}


def _late_runs(rule: DrawnRule, heard: Sequence[Heard], ends: range) -> Iterator[Told]:
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


def hears_late(rule: DrawnRule, each: Happened) -> bool:
    """Tell whether a rule hears of an event whenever it is told: of the end of a run that it watches."""
    if rule.kind == "absence":
        return "run" in rule.for_each and each.kind == "flow-run" and each.state in ENDS
    return rule.kind == "duration" and "quantile" not in rule.fields and each.state in ENDS


def _silences(rule: DrawnRule, heard: Sequence[Heard], ends: range) -> Iterator[Told]:
    after_ms = rule.ms("after")
    is_of_runs = "run" in rule.for_each
    in_order = sorted(heard, key=lambda each: (each.occurred_ms, is_of_runs and each.state in ENDS))
    for end_ms in ends:
        seen: list[tuple[int, bool]] = []  # (when, whether its run has ended with it); echoes of an end are none
        for each in in_order:
            is_state = is_of_runs and each.kind == "flow-run" and bool(each.state)
            is_echo = seen and seen[-1][1] and not is_state and each.occurred_ms <= seen[-1][0] + after_ms
            if each.told_ms < end_ms and not is_echo:
                seen.append((each.occurred_ms, is_state and each.state in ENDS))
        if not seen:
            yield Told(HELD)
            continue
        last_ms, has_ended = seen[-1]
        is_silent = not has_ended and last_ms < end_ms - after_ms
        yield Told(BREACH if is_silent else CLEAR, (end_ms - last_ms) / 1000, 1)


class _Span(NamedTuple):
    """One run: from when to when, when its end was told, and whether it finished."""

    started_ms: int
    ended_ms: int | None
    told_ms: int
    is_finish: bool


def _spans(heard: Sequence[Heard]) -> list[_Span]:
    spans: list[_Span] = []
    for run in {each.run for each in heard}:
        starts = sorted(each.occurred_ms for each in heard if each.run == run and each.state == "running")
        over_ms = -1  # up to when it is told to be over; an end counts for the first start after that
        told = sorted((each for each in heard if each.run == run and each.state != "running"), key=_when_told)
        for end in told:
            began_ms = next((start for start in starts if over_ms < start <= end.occurred_ms), None)
            if began_ms is not None:
                spans.append(_Span(began_ms, end.occurred_ms, end.told_ms, end.state in FINISHED))
                over_ms = end.occurred_ms
        spans += [_Span(start, None, 0, is_finish=False) for start in starts if start > over_ms][:1]
    return spans


def _when_told(each: Heard) -> tuple[int, int, int]:
    return each.told_ms // 1_000, each.occurred_ms, each.number


def _durations(rule: DrawnRule, heard: Sequence[Heard], ends: range) -> Iterator[Told]:
    spans = _spans(heard)
    for end_ms in ends:
        if "quantile" not in rule.fields:
            so_far = _spans([each for each in heard if each.told_ms < end_ms])
            yield _long_runs(rule.ms("above"), so_far, end_ms)
            continue
        finished = [span for span in spans if span.is_finish and span.ended_ms is not None and span.ended_ms < end_ms]
        first_ms = min(_pane_start(each) for each in heard) + 1_000 if heard else end_ms
        yield _quantile(rule, finished, end_ms, full_ms=first_ms + rule.ms("within"))


def _long_runs(above_ms: int, spans: Sequence[_Span], end_ms: int) -> Told:
    underway = [span.started_ms for span in spans if span.ended_ms is None]
    over = [started_ms for started_ms in underway if started_ms < end_ms - above_ms]
    ended = [  # told of in the last pane, having taken too long
        span
        for span in spans
        if span.ended_ms is not None and span.told_ms >= end_ms - 1_000 and span.ended_ms - span.started_ms > above_ms
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


def _within(rule: DrawnRule, heard: Sequence[Heard], end_ms: int) -> list[Heard]:
    from_ms = end_ms - rule.ms("within")
    return [each for each in heard if from_ms <= each.occurred_ms < end_ms]


ORACLES: dict[str, Readings] = {
    "event": _happened_so_often,
    "failure_rate": _failure_rates,
    "consecutive_failures": _rows_of_failures,
    "late": _late_runs,
    "absence": _silences,
    "duration": _durations,
}

# Kinds that are drawn and have no oracle here, each with the reason.
HELD_TO_THE_REPLAY = {
    "burn_rate": "its laws have one, by pairs of windows",
    "change": "its laws have one, by baselines",
    "sequence": "its laws have one, by all orders of events",
    "missed": "its laws have one, by the slots of a schedule",
    "all_of": "its laws have one, over the readings of its conditions",
    "any_of": "its laws have one, over the readings of its conditions",
}
