"""Patterns of failures: what is planted is found and said, what chance does is not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from flowgauge.sinks.clickhouse.pattern_words import PATTERN_COLUMNS, pattern_row, statement
from flowgauge.sinks.clickhouse.patterns import LEVEL, FlowHours, Pattern, examine, patterns

MONDAY = (date(2026, 9, 28) - date(1970, 1, 1)).days
Counts = NDArray[np.int64]
Rates = NDArray[np.float64]


def flow(name: str, chance: np.random.Generator, finished: Counts, rate: float | Rates) -> FlowHours:
    """Return a flow whose runs fail at `rate`, hour by hour from a Monday on."""
    failed = chance.binomial(finished, rate)
    at = np.flatnonzero(finished)
    return FlowHours(name, (at + MONDAY * 24).tolist(), finished[at].tolist(), failed[at].tolist())


def scattered(chance: np.random.Generator, hours: int) -> tuple[Counts, float]:
    """Fail now and then, in a flow that runs at any time."""
    return chance.poisson(chance.choice([0.2, 1, 5]), hours), float(chance.choice([0.01, 0.05, 0.3]))


def bursts(chance: np.random.Generator, hours: int) -> tuple[Counts, Rates]:
    """Fail in outages of one hour to two and a half days, in a flow that runs more at some hours."""
    finished = chance.poisson(chance.choice([0.3, 1, 4, 20]), hours)
    if chance.random() < 0.5:
        finished = finished * np.resize(chance.choice([0, 1, 1, 5], 24), hours)
    rates = np.full(hours, 0.01)
    longest = int(chance.choice([2, 8, 60]))
    for begin in np.flatnonzero(chance.random(hours) < chance.choice([0.3, 1]) / 24):
        rates[begin : begin + chance.integers(1, longest + 1)] = chance.choice([0.3, 0.9, 1])
    return finished, rates


def only_at_2(chance: np.random.Generator, hours: int) -> tuple[Counts, float]:
    """Fail at no other hour, because there are no other runs."""
    return np.resize(np.asarray([0, 0, chance.choice([1, 5])] + [0] * 21), hours), float(chance.choice([0.05, 0.5]))


def by_schedule(chance: np.random.Generator, hours: int) -> tuple[Counts, float]:
    """Fail now and then, in a flow that runs at a few hours, at some much more than at others."""
    return np.resize(chance.choice([0, 0, 0, 1, 2, 20], 24), hours), float(chance.choice([0.02, 0.1, 0.3]))


def storms(chance: np.random.Generator, hours: int) -> tuple[Counts, Rates]:
    """Fail at any hour, and then again and again within it."""
    finished, rates = np.ones(hours, dtype=np.int64), np.full(hours, 0.005)
    at = np.flatnonzero(chance.random(hours) < chance.choice([0.1, 1]) / 24)
    finished[at] += chance.integers(1, 60, len(at))
    rates[at] = 1.0
    return finished, rates


def busy_hour(chance: np.random.Generator, hours: int) -> tuple[Counts, float]:
    """Fail a few times in all, in a flow that has half of its runs in one hour."""
    finished = np.resize(np.asarray([1] * 9 + [20] + [1] * 14), hours)
    return finished, float(chance.integers(4, 9)) / int(finished.sum())


KINDS: Sequence[Callable[[np.random.Generator, int], tuple[Counts, float | Rates]]] = (
    scattered,
    bursts,
    only_at_2,
    by_schedule,
    storms,
    busy_hour,
)


@pytest.mark.parametrize(("seed", "days"), [(1, 28), (2, 56), (3, 120)])
def test_of_a_thousand_flows_that_fail_by_chance_none_is_said_to_have_a_pattern(seed: int, days: int) -> None:
    """Alone each flow may err with LEVEL; of 1,000 that is at most 20 with a certainty of 99.8 % (binomial)."""
    chance = np.random.default_rng(seed)
    drawn = [KINDS[n % len(KINDS)](chance, days * 24) for n in range(1_000)]
    flows = [
        examine(flow(f"flow-{n}", chance, finished, rate)) for n, (finished, rate) in enumerate(drawn) if finished.any()
    ]

    assert sum(each.tried for each in flows) > 10_000
    assert patterns(flows) == []
    assert sum(bool(patterns([each])) for each in flows) <= 2 * 1_000 * LEVEL


def planted(days: int, at: slice | Sequence[int], *, finished: int = 2, rate: float = 1.0) -> FlowHours:
    """Return a flow that runs at all hours and fails at some, else at one time in a hundred."""
    rates = np.full(days * 24, 0.01)
    rates[at] = rate
    return flow("nightly-etl", np.random.default_rng(9), np.full(days * 24, finished), rates)


def months_first(days: int) -> list[int]:
    first = date(1970, 1, 1) + timedelta(days=MONDAY)
    return [
        24 * day + hour for day in range(days) if (first + timedelta(days=day)).day == 1 for hour in range(0, 24, 3)
    ]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (planted(28, slice(2, None, 24), rate=0.6), [("hour", (2,), ())]),
        (planted(10, slice(2, None, 24)), [("hour", (2,), ())]),
        (planted(56, slice(2, None, 168)), [("hour", (2,), (1,))]),
        (planted(28, [hour for day in range(28) for hour in (24 * day + 23, 24 * day)]), [("hour", (23, 0), ())]),
        (planted(70, [168 * week + hour for week in range(10) for hour in range(24)]), [("weekday", (1,), ())]),
        (planted(300, months_first(300), rate=0.9, finished=1), [("day of month", (1,), ())]),
    ],
    ids=["an hour", "within ten days", "an hour of Mondays", "around midnight", "Mondays", "the first of the month"],
)
def test_what_is_planted_is_found(data: FlowHours, found: object) -> None:
    assert [(each.kind, each.slots, each.weekdays) for each in patterns([examine(data)])] == found


def every(kind: str, times: int) -> FlowHours:
    """Return a flow with a run an hour that fails at one slot of that kind, so many times, and only then."""
    span_days = {"hour": 1, "weekday": 7, "day of month": 31}[kind] * (times + 2)
    days = [date(2026, 1, 5) + timedelta(days=day) for day in range(span_days)]
    places = {
        "hour": [24 * day + 2 for day in range(span_days)],
        "weekday": [24 * day for day, at in enumerate(days) if at.isoweekday() == 3],
        "day of month": [24 * day for day, at in enumerate(days) if at.day == 20],
    }[kind]
    failed = np.zeros(span_days * 24, dtype=np.int64)
    for place in places[1 : times + 1]:
        failed[place : place + (1 if kind == "hour" else 24)] = 1
    at = np.arange(len(failed)) + (days[0] - date(1970, 1, 1)).days * 24
    return FlowHours("f", at.tolist(), [1] * len(failed), failed.tolist())


@pytest.mark.parametrize(
    ("kind", "flows", "times"),
    [
        ("hour", 1, 3),
        ("weekday", 1, 5),
        ("day of month", 1, 3),
        ("hour", 1_000, 5),
        ("weekday", 1_000, 8),
        ("day of month", 1_000, 5),
    ],
)
def test_how_much_data_a_pattern_takes_is_as_the_guide_says(kind: str, flows: int, times: int) -> None:
    def found(times: int) -> list[str]:
        one = examine(every(kind, times))
        return [each.kind for each in patterns([one, *[replace(one, found=())] * (flows - 1)])]

    assert kind in found(times)
    assert kind not in found(times - 1)


def test_one_long_outage_and_two_bad_nights_are_no_pattern() -> None:
    outage = planted(28, slice(24 * 9, 24 * 12 + 5))
    two_nights = planted(28, [24 * 3 + 2, 24 * 17 + 2])

    assert patterns([examine(outage), examine(two_nights)]) == []


def test_a_pattern_that_stands_alone_may_fall_to_the_number_of_flows_tried() -> None:
    weak = examine(planted(6, slice(2, None, 24)))
    others = [examine(flow(f"{n}", np.random.default_rng(n), np.full(144, 2), 0.05)) for n in range(300)]

    assert len(patterns([weak])) == 1
    assert patterns([weak, *others] * 300) == []


def pattern(**more: object) -> Pattern:
    fields: dict[str, object] = {
        "flow": "nightly-etl",
        "kind": "hour",
        "slots": (2,),
        "weekdays": (),
        "failed": 100,
        "failed_then": 71,
        "finished": 1_000,
        "finished_then": 42,
        "times": 23,
        "chance": 0.00012,
    }
    return Pattern(**{**fields, **more})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # one of each


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            pattern(weekdays=(1,)),
            "between 02:00 and 03:00 Europe/Berlin, mostly Mondays, on 23 days; 4% of its runs end then",
        ),
        (
            pattern(slots=(23, 0), finished_then=3),
            "between 23:00 and 01:00 Europe/Berlin, on 23 days; less than 1% of its runs end then",
        ),
        (
            pattern(kind="weekday", slots=(1, 3, 5), times=9),
            "on Mondays, Wednesdays and Fridays (Europe/Berlin), in 9 weeks; 4% of its runs end then",
        ),
        (
            pattern(kind="day of month", slots=(1,), times=6),
            "on day 1 of the month (Europe/Berlin), in 6 months; 4% of its runs end then",
        ),
    ],
)
def test_a_pattern_is_said_in_one_sentence(found: Pattern, says: str) -> None:
    expected = f"71% of the failures of nightly-etl fall {says}; chance alone: p < 0.001"
    assert statement(found, "Europe/Berlin") == expected


def test_a_chance_that_is_not_tiny_is_said_as_it_is() -> None:
    assert statement(pattern(chance=0.0042), "UTC").endswith("chance alone: p = 0.004")


def test_a_row_has_the_sentence_and_its_numbers() -> None:
    row = pattern_row(pattern(weekdays=(1, 4)), "UTC")

    assert dict(zip(PATTERN_COLUMNS[:-1], row[:-1], strict=True)) == {
        "flow": "nightly-etl",
        "kind": "hour",
        "when": "02:00-03:00",
        "weekdays": "Monday and Thursday",
        "failed": 100,
        "failed_then": 71,
        "finished": 1_000,
        "finished_then": 42,
        "times": 23,
        "p": 0.00012,
    }
