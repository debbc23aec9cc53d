"""The kind `burn_rate`: when a budget burns too fast, over which windows, and what is held. Panes of 1 s and 2 s."""

from uuid import UUID

import msgspec
import pytest
from tests.property.detection import START_MS, Happening, Line, event_at, records, rules

from flowgauge.processors.kinds import BurnRate, Window
from flowgauge.processors.reading import Verdict
from flowgauge.schemas.sample import Sample

FAST = {"above": 4, "within": "60s", "short": "5s"}
SLOW = {"above": 2, "within": "4m", "short": "20s"}
FIELDS = {"objective": "90%", "pairs": [FAST], "min_samples": 5}
RULE = BurnRate.model_validate(FIELDS)
BOTH = BurnRate.model_validate(FIELDS | {"pairs": [FAST, SLOW]})
OPEN, GONE_ON = "more than 4 times too fast over 1m and 5s", "more than 2 times too fast over 4m and 20s"


def samples(failed: int, finished: int) -> list[Sample]:
    outcomes = ["failed"] * failed + ["finished"] * (finished - failed)
    return [Sample(0, 0, 0, ("t",), number, outcome, f"{number:02}") for number, outcome in enumerate(outcomes)]


def window_of(*panes: tuple[int, int, int], rule: BurnRate = RULE) -> Window:
    """Return a window with (second at which a pane ends, failed, finished)."""
    window = rule.new_window()
    for second, failed, finished in panes:
        window.add(second * 1_000, samples(failed, finished))
    return window


@pytest.mark.parametrize(
    ("panes", "expected"),
    [
        ([], Verdict.EMPTY),
        ([(10, 4, 4)], Verdict.HELD),  # fewer than 5, and they may be the first of many
        ([(10, 1, 4)], Verdict.HELD),
        ([(10, 2, 5)], Verdict.CLEAR),  # 40 % is not above 4 times 10 %
        ([(10, 3, 5)], Verdict.BREACH),
        ([(5, 3, 4), (10, 0, 1)], Verdict.CLEAR),  # it went on no longer: none of the last 5 s
        ([(5, 5, 5)], Verdict.HELD),  # nothing ended in the last 5 s
        ([(5, 0, 9), (10, 1, 1)], Verdict.CLEAR),  # a passing burst
    ],
)
def test_both_windows_must_burn_too_fast(panes: list[tuple[int, int, int]], expected: Verdict) -> None:
    assert window_of(*panes).read(10_000).verdict is expected


def test_a_run_that_no_pair_has_read_yet_is_data() -> None:
    pairs = [{"above": 4, "within": "180s", "short": "20s"}, {"above": 2, "within": "330s", "short": "30s"}]
    rule = BurnRate.model_validate(FIELDS | {"pairs": pairs})  # read every 2 s and every 3 s, in steps of 1 s

    window = window_of((7, 0, 1), rule=rule)

    assert [window.read(second * 1_000).verdict for second in (7, 8)] == [Verdict.HELD, Verdict.HELD]


def test_value_and_threshold_are_failure_rates_of_the_long_window() -> None:
    reading = window_of((5, 1, 3), (10, 3, 3)).read(10_000)

    assert (reading.value, reading.threshold, reading.samples) == (4 / 6, 0.4, 6)
    assert reading.reason == f"the error budget burns {OPEN}"


@pytest.mark.parametrize(
    ("panes", "at_s", "expected", "reason"),
    [
        ([(10, 3, 10)], 10, (Verdict.BREACH, 0.2), GONE_ON),  # 30 %: over twice, not four times
        ([(10, 9, 10)], 10, (Verdict.BREACH, 0.4), OPEN),
        ([(9, 3, 10)], 9, (Verdict.CLEAR, 0.4), "slowly enough over 1m"),  # the slow pair is read at 10 s
        ([(10, 2, 10)], 10, (Verdict.CLEAR, 0.4), "slowly enough over 1m"),
        ([(10, 3, 10)], 70, (Verdict.HELD, 0.2), "no run finished in the last 20s"),
        ([(10, 9, 10), (70, 1, 4)], 70, (Verdict.BREACH, 0.2), GONE_ON),  # the fast pair has too few to tell
        ([(10, 2, 30), (70, 1, 2)], 70, (Verdict.HELD, 0.4), "fewer than 5 runs finished"),  # but may burn
        ([(10, 0, 30), (70, 0, 2)], 70, (Verdict.CLEAR, 0.2), "slowly enough over 4m"),
        ([(10, 0, 1)], 70, (Verdict.HELD, 0.2), "fewer than 5 runs finished"),
        ([(10, 9, 10)], 250, (Verdict.EMPTY, 0.4), "no run finished in the window"),
    ],
)
def test_of_several_pairs_the_one_that_decides_is_told(
    panes: list[tuple[int, int, int]], at_s: int, expected: tuple[Verdict, float], reason: str
) -> None:
    reading = window_of(*panes, rule=BOTH).read(at_s * 1_000)

    assert (reading.verdict, reading.threshold) == expected
    assert reading.reason.endswith(reason)


def test_examples_are_the_earliest_failed_runs_of_the_pair_that_is_told() -> None:
    window = window_of((10, 3, 10), (180, 3, 5), rule=BOTH)

    window.read(180_000)
    of_the_fast = [run.event_id for run in window.examples()]
    window.read(190_000)

    assert of_the_fast == ["00", "01", "02"]
    assert [run.event_id for run in window.examples()] == ["00", "00", "01", "01", "02"]


def test_it_says_when_a_pane_ends_or_leaves_a_window() -> None:
    window = window_of((9, 5, 5), rule=BOTH)

    changes: list[int | None] = [window.next_change_ms()]
    while (at_ms := changes[-1]) is not None:
        window.read(at_ms)
        changes.append(window.next_change_ms())

    # the fast one's short and long window, between them the slow one's short one, then its long one
    assert changes == [9_000, 10_000, 14_000, 30_000, 69_000, 250_000, None]


@pytest.mark.parametrize("at_s", [9, 10, 11])
def test_a_window_stored_and_restored_reads_the_same(at_s: int) -> None:
    window = window_of((3, 2, 6), (9, 3, 4), rule=BOTH)
    window.read(at_s * 1_000)

    restored = BOTH.load_window(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))

    moments = range(at_s * 1_000, 260_000, 1_000)
    read = [(restored.read(at), restored.examples(), restored.next_change_ms()) for at in moments]
    assert read == [(window.read(at), window.examples(), window.next_change_ms()) for at in moments]


def test_a_guarded_rate_breaches_only_where_chance_is_ruled_out() -> None:
    guarded = BurnRate.model_validate(FIELDS | {"guard": "wilson"})

    verdicts = [window_of((10, failed, 5), rule=guarded).read(10_000).verdict for failed in (2, 4, 5)]

    assert verdicts == [Verdict.CLEAR, Verdict.BETWEEN, Verdict.BREACH]  # 4 of 5: 38 % … 96 %, 5 of 5: from 57 %


@pytest.mark.parametrize(
    ("pairs", "windows"),
    [
        ("page", [(14.4, 3_600_000, 300_000), (6.0, 21_600_000, 1_800_000)]),
        ("ticket", [(1.0, 259_200_000, 21_600_000)]),
    ],
)
def test_the_usual_pairs_are_those_of_the_workbook(pairs: str, windows: list[tuple[float, int, int]]) -> None:
    rule = BurnRate.model_validate({"objective": "99%", "pairs": pairs})

    assert [(pair.above, pair.within, pair.short_ms) for pair in rule.pairs] == windows
    assert (rule.window_ms, rule.pane_ms) == (windows[-1][1], windows[0][1] // 120)


def test_a_pair_means_the_same_with_its_short_window_written_out() -> None:
    in_short = BurnRate.model_validate({"objective": "99%", "pairs": "ticket"})
    written = BurnRate.model_validate({"objective": 0.99, "pairs": [{"above": 1, "within": "3d", "short": "6h"}]})

    assert written.model_dump() == in_short.model_dump()


@pytest.mark.parametrize(
    ("objective", "above", "failed", "finished"),
    [("90%", 1, 1, 10), ("99%", 1, 1, 100), ("99.9%", 14, 14, 1_000), ("97.3%", 3, 81, 1_000)],
)
def test_a_budget_that_burns_just_as_fast_as_written_is_not_above(
    objective: str, above: float, failed: int, finished: int
) -> None:
    """1 - 0.9 is less than 0.1 in doubles: the threshold is that of the decimals."""
    rule = BurnRate.model_validate({"objective": objective, "pairs": [FAST | {"above": above}], "min_samples": 1})

    assert window_of((10, failed, finished), rule=rule).read(10_000).verdict is Verdict.CLEAR
    assert window_of((10, failed + 1, finished), rule=rule).read(10_000).verdict is Verdict.BREACH


@pytest.mark.parametrize(
    ("objective", "min_samples", "guard", "note"),
    [
        ("99%", 20, None, "1 failed run of 20 makes it fire: `min_samples: 25` asks for two"),
        ("99%", 25, None, None),
        ("99%", 20, "wilson", None),
        ("90%", 20, None, None),
    ],
)
def test_it_notes_where_one_failed_run_is_enough(
    objective: str, min_samples: int, guard: str | None, note: str | None
) -> None:
    fields = {"objective": objective, "pairs": [FAST], "min_samples": min_samples, "guard": guard}
    rule = BurnRate.model_validate(fields)

    failed_once = window_of((10, 1, min_samples), rule=rule).read(10_000).verdict

    assert (failed_once is Verdict.BREACH) == (note is not None)
    assert rule.notes() == ({"min_samples": f"{note}, `guard: wilson` rules out chance"} if note else {})


PAGED = """
rules:
  - name: budget
    for_each: [flow]
    when: {burn_rate: {objective: 90%, min_samples: 5, pairs: [{above: 4, within: 60s, short: 5s}]}}
    keep_firing_for: 10s
    no_data: resolve
"""


def test_a_budget_that_burns_is_told_and_resolved_soon_after_it_stops() -> None:
    line = Line(rules(PAGED))
    states = ["completed"] * 4 + ["failed"] * 6 + ["completed"] * 30
    made = [
        Happening(START_MS + at * 1000, START_MS + at * 1000, event_at(UUID(int=at + 1), at * 1000, state))
        for at, state in enumerate(states)
    ]

    line.feed(0, records(made))

    told = [(item.to_state, (item.at_ms - START_MS) // 1000, item.value) for item in line.end(START_MS + 300_000)]
    # 3 of 7 fail at the end of second 6; at 13 the last 5 s hold 2 failures of 5, and 10 s later it is over
    assert told == [("firing", 7, 3 / 7), ("recovering", 13, 6 / 13), ("resolved", 23, 6 / 23)]
