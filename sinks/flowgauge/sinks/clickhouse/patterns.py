"""Patterns: whether a flow fails at a certain hour, weekday or day of the month, beyond chance. Pure.

A slot of a rhythm, such as 02:00 of the day, comes round many times. Each time it is looked at in the middle of the
stretch around it, and what counts is the share of that stretch's failures which fall into the slot:

    stretch of one day      14:00 ............ 02:00 ............ 13:00
    finished                  4   4   4   4   4   4   4   4   4   4
    failed                    0   0   0   1   0   4   0   0   0   0      share 4/5

One stretch weighs the same however much fails in it: an outage is one observation. The shares are summed, and the sum
is compared with two kinds of chance, each given when the flow's runs ended; only what neither explains is a pattern:

    scattered   each failure of a stretch meets any of its finished runs alike;
    bursts      the stretch goes round by any number of its hours (days) with runs, failures as close as they are.

A flow that runs only at 02:00 has nowhere else to fail: it has no other hour, so neither chance can be beaten.
The chances are bounded above by exp(-t·sum)·E[exp(t·sum)] at the best t of a grid (Chernoff; Boucheron, Lugosi and
Massart, Concentration Inequalities, 2.2), the stretches being independent. A failure drawn without replacement has at
most the E[exp] of one drawn with it (Hoeffding, JASA 58, 1963, theorem 4). Neither is simulated: the answer to the same
data is the same. The bounds are multiplied by the number of slots tried in all flows (Bonferroni).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Counts: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Held: TypeAlias = NDArray[np.integer[Any]]  # of as few bytes as do
Kind: TypeAlias = Literal["hour", "weekday", "day of month"]

LEVEL = 0.01  # the chance that noise alone makes any statement, over all flows of one question
TIMES_MIN = 3  # a slot in which failures came less often shows no rhythm
LIFT_MIN = 2.0  # times as many failures as the slot's share of runs: less is no help to anybody
HOURS = 24
MONDAY_OF_DAY_0 = 3  # 1970-01-01 was a Thursday
_TILTS: Floats = np.asarray(2.0 ** np.arange(-2, 9.5, 0.5), dtype=np.float64)  # the t of the bounds: 0.25 to 512


@dataclass(frozen=True, slots=True)
class FlowHours:
    """Finished and failed runs of a flow by hour: hours of the local clock since 1970-01-01 00:00, in any order."""

    flow: str
    hours: Sequence[int] | Held
    finished: Sequence[int] | Held
    failed: Sequence[int] | Held


@dataclass(frozen=True, slots=True)
class Found:
    """A slot that stands out in one flow; `chance` bounds its probability, not corrected yet."""

    kind: Kind
    slot: int
    times: int
    chance: float


@dataclass(frozen=True, slots=True)
class Examined:
    """What one flow shows: its slots that would stand out if it were alone, and how many slots were tried.

    The data is there where anything was found: of flows without, which are most, nothing is held.
    """

    flow: str
    tried: int
    found: tuple[Found, ...]
    data: FlowHours | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A rhythm of failures that chance does not explain.

    `slots` are hours 0 to 23, weekdays 1 (Monday) to 7, or days of the month; `weekdays` those that most failures of
    an hour fall on, where that too is beyond chance. `times` counts days, weeks or months with such a failure.
    """

    flow: str
    kind: Kind
    slots: tuple[int, ...]
    weekdays: tuple[int, ...]
    failed: int
    failed_then: int
    finished: int
    finished_then: int
    times: int
    chance: float


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """Units in a row with the slot that each is in, and how far the stretch around a slot reaches."""

    kind: Kind
    slot: Counts
    finished: Counts
    failed: Counts
    before: int
    after: int


def examine(data: FlowHours) -> Examined:
    """Look at every slot of one flow."""
    rhythms = _rhythms(data)
    tried = sum(_slots_tried(rhythm) for rhythm in rhythms)
    found = tuple(each for rhythm in rhythms for each in _found(rhythm) if each.chance * tried <= LEVEL)
    return Examined(data.flow, tried, found, _held(data) if found else None)


def patterns(flows: Iterable[Examined]) -> list[Pattern]:
    """Return what stands out in `flows` after correction for all slots of all of them, the surest of a flow first."""
    flows = list(flows)
    tried = sum(each.tried for each in flows)
    sure = [(each, [found for found in each.found if found.chance * tried <= LEVEL]) for each in flows]
    grouped = [(each.data, list(_neighbours(found))) for each, found in sure if each.data is not None]
    hours = sum(group[0].kind == "hour" for _, groups in grouped for group in groups)
    made = [pattern for data, groups in grouped if groups for pattern in _patterns(data, groups, tried, hours)]
    said = {(pattern.flow, pattern.weekdays) for pattern in made if pattern.weekdays}
    return [pattern for pattern in made if pattern.kind != "weekday" or (pattern.flow, pattern.slots) not in said]


def _held(data: FlowHours) -> FlowHours:
    return FlowHours(data.flow, _narrow(data.hours), _narrow(data.finished), _narrow(data.failed))


def _narrow(counts: Sequence[int] | Held) -> Held:
    whole = np.asarray(counts, dtype=np.int64)
    return whole.astype(np.result_type(np.min_scalar_type(whole.min()), np.min_scalar_type(whole.max())))


def _rhythms(data: FlowHours) -> tuple[_Rhythm, ...]:
    day_0, finished, failed = _by_hour(data, range(HOURS))
    days = np.arange(len(finished) // HOURS)
    days_finished, days_failed = finished.reshape(-1, HOURS).sum(axis=1), failed.reshape(-1, HOURS).sum(axis=1)
    first = date(1970, 1, 1) + timedelta(days=day_0)
    month_days = np.asarray([(first + timedelta(days=int(day))).day for day in days], dtype=np.int64)
    return (
        _Rhythm("hour", np.arange(len(finished)) % HOURS, finished, failed, 12, 11),
        _weekdays(day_0, days_finished, days_failed),
        # The shortest month has 28 days: stretches of that length share no day.
        _Rhythm("day of month", month_days, days_finished, days_failed, 14, 13),
    )


def _weekdays(day_0: int, finished: Counts, failed: Counts) -> _Rhythm:
    return _Rhythm("weekday", (day_0 + np.arange(len(finished)) + MONDAY_OF_DAY_0) % 7 + 1, finished, failed, 3, 3)


def _by_hour(data: FlowHours, hours: Iterable[int]) -> tuple[int, Counts, Counts]:
    """Return the first day, and finished and failed runs of each hour from its begin; hours not in `hours` are 0."""
    at = np.asarray(data.hours, dtype=np.int64)
    day_0, days = int(at.min()) // HOURS, int(at.max()) // HOURS - int(at.min()) // HOURS + 1
    wanted = np.isin(at % HOURS, list(hours))
    finished, failed = np.zeros(days * HOURS, dtype=np.int64), np.zeros(days * HOURS, dtype=np.int64)
    np.add.at(finished, at[wanted] - day_0 * HOURS, np.asarray(data.finished, dtype=np.int64)[wanted])
    np.add.at(failed, at[wanted] - day_0 * HOURS, np.asarray(data.failed, dtype=np.int64)[wanted])
    return day_0, finished, failed


def _slots_tried(rhythm: _Rhythm) -> int:
    """Count the slots in which runs ended often enough: by the runs alone, so that failures choose nothing."""
    return int((np.bincount(rhythm.slot[rhythm.finished > 0]) >= TIMES_MIN).sum())


def _found(rhythm: _Rhythm) -> Iterable[Found]:
    """Yield the slots with enough failures, often enough, and what chance makes of each."""
    finished, failed = np.bincount(rhythm.slot, rhythm.finished), np.bincount(rhythm.slot, rhythm.failed)
    times = np.bincount(rhythm.slot[rhythm.failed > 0], minlength=len(failed))
    if not failed.sum():
        return
    is_lifted = failed / failed.sum() >= LIFT_MIN * finished / finished.sum()
    for slot in np.flatnonzero(is_lifted & (times >= TIMES_MIN)):
        yield Found(rhythm.kind, int(slot), int(times[slot]), _chance(rhythm, int(slot)))


def _chance(rhythm: _Rhythm, slot: int) -> float:
    """Bound the probability that chance puts as great a share of failures into `slot`."""
    places, middle = np.flatnonzero(rhythm.slot == slot), rhythm.before
    finished, failed = _stretches(rhythm, rhythm.finished)[places], _stretches(rhythm, rhythm.failed)[places]
    tells = (failed.sum(axis=1) > 0) & (finished[:, middle] > 0)
    finished, failed = finished[tells], failed[tells]
    return max(_scattered(finished, failed, middle), _bursts(finished, failed, middle))


def _stretches(rhythm: _Rhythm, counts: Counts) -> Counts:
    return sliding_window_view(np.pad(counts, (rhythm.before, rhythm.after)), rhythm.before + rhythm.after + 1)


def _scattered(finished: Counts, failed: Counts, middle: int) -> float:
    all_failed = failed.sum(axis=1)[:, None]
    share = finished[:, middle, None] / finished.sum(axis=1)[:, None]
    log_means = all_failed * np.log1p(share * np.expm1(_TILTS / all_failed))
    return _bound(log_means, failed[:, middle] / all_failed[:, 0])


def _bursts(finished: Counts, failed: Counts, middle: int) -> float:
    has_runs = finished > 0
    rates = failed / np.maximum(finished, 1)
    shares = rates / rates.sum(axis=1)[:, None]
    tilted = np.exp(shares[:, :, None] * _TILTS) * has_runs[:, :, None]
    return _bound(np.log(tilted.sum(axis=1) / has_runs.sum(axis=1)[:, None]), shares[:, middle])


def _bound(log_means: Floats, shares: Floats) -> float:
    """Bound P(sum of shares >= what came) by the logs of E[exp(t·share)], one row a stretch and one column a t."""
    return float(np.exp(min(0.0, (log_means.sum(axis=0) - _TILTS * shares.sum()).min())))


def _neighbours(found: Sequence[Found]) -> Iterable[list[Found]]:
    """Yield hours that follow each other together, and all weekdays and all days of a month of a flow together."""
    hours = {each.slot: each for each in found if each.kind == "hour"}
    for slot in [slot for slot in hours if (slot - 1) % HOURS not in hours]:
        group = [hours[slot]]
        while (following := hours.get((group[-1].slot + 1) % HOURS)) is not None:
            group.append(following)
        yield group
    for kind in ("weekday", "day of month"):
        group = [each for each in found if each.kind == kind]
        if group:
            yield group


def _patterns(data: FlowHours, groups: Sequence[Sequence[Found]], tried: int, hours: int) -> Iterable[Pattern]:
    rhythms = {rhythm.kind: rhythm for rhythm in _rhythms(data)}
    for group in groups:
        kind, slots = group[0].kind, tuple(found.slot for found in group)
        rhythm = rhythms[kind]
        then = np.isin(rhythm.slot, slots)
        yield Pattern(
            flow=data.flow,
            kind=kind,
            slots=slots,
            weekdays=_mostly_on(data, slots, hours) if kind == "hour" else (),
            failed=int(rhythm.failed.sum()),
            failed_then=int(rhythm.failed[then].sum()),
            finished=int(rhythm.finished.sum()),
            finished_then=int(rhythm.finished[then].sum()),
            times=max(found.times for found in group),
            chance=min(1.0, max(found.chance for found in group) * tried),
        )


def _mostly_on(data: FlowHours, slots: Sequence[int], hours: int) -> tuple[int, ...]:
    """Return the weekdays that most failures at these hours fall on, when the weekday matters beyond chance.

    It is asked only where the hour already stands, so it is corrected for the weekdays of the `hours` that stand.
    """
    day_0, finished, failed = _by_hour(data, slots)
    rhythm = _weekdays(day_0, finished.reshape(-1, HOURS).sum(axis=1), failed.reshape(-1, HOURS).sum(axis=1))
    days = tuple(found.slot for found in _found(rhythm) if found.chance * 7 * hours <= LEVEL)
    on_them = rhythm.failed[np.isin(rhythm.slot, days)].sum()
    return days if 2 * on_them > rhythm.failed.sum() else ()
