"""The alert's state machine, as time lines: a verdict a second, B breach, b between, C clear, H held, E empty."""

import pytest

from flowgauge.processors.alert_state import Alert, NoData, Policy, close, next_timer_ms, step
from flowgauge.processors.reading import Verdict

VERDICTS = {
    "B": Verdict.BREACH,
    "b": Verdict.BETWEEN,
    "C": Verdict.CLEAR,
    "H": Verdict.HELD,
    "E": Verdict.EMPTY,
}
SHORT = {
    "inactive": "i",
    "pending": "p",
    "firing": "F",
    "recovering": "r",
    "resolved": "R",
    "no_data": "n",
}


def told(line: str, *, for_s: int = 0, keep_s: int = 0, no_data: NoData = "hold") -> str:
    """Return the state entered at each second, a point where nothing changed."""
    alert, policy = Alert(), Policy(for_s * 1000, keep_s * 1000, no_data)
    changes = [step(alert, VERDICTS[letter], second * 1000, policy) for second, letter in enumerate(line)]
    return "".join("." if change is None else SHORT[change.to_state] for change in changes)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CCBBCC", "..F.R."),
        ("BCBC", "FRFR"),
        ("BbbbCB", "F...RF"),  # between is neither
        ("BHHHC", "F...R"),  # too few samples hold
        ("BEEEC", "F...R"),
        ("bbHHEE", "......"),
    ],
)
def test_without_waits_a_breach_fires_and_a_clear_value_resolves(line: str, expected: str) -> None:
    assert told(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("BBBBB", "p..F."),
        ("BBCBBBB", "p.ip..F"),  # it did not hold
        ("BBbBBBB", "p.ip..F"),
        ("BHHHHB", "p....F"),  # held changes nothing, and a breach is needed to fire
        ("BEEEEB", "p....F"),
    ],
)
def test_for_must_hold_without_a_break(line: str, expected: str) -> None:
    assert told(line, for_s=3) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("BCCCC", "Fr..R"),
        ("BCCBCCCC", "Fr.Fr..R"),  # a breach fires again, under the same incident
        ("BCCbCCCC", "Fr.....R"),  # between starts the wait again
        ("BCHHHC", "Fr...R"),
    ],
)
def test_keep_firing_for_must_be_clear_without_a_break(line: str, expected: str) -> None:
    assert told(line, keep_s=3) == expected


@pytest.mark.parametrize(
    ("no_data", "line", "expected"),
    [
        ("resolve", "BEEB", "FR.F"),
        ("fire", "EEBEEC", "n.Fn.R"),
        ("fire", "EHbC", "n..R"),
        ("hold", "EEBE", "..F."),
    ],
)
def test_an_empty_window_does_what_no_data_says(no_data: NoData, line: str, expected: str) -> None:
    assert told(line, no_data=no_data) == expected


def test_no_data_resolves_only_after_keep_firing_for() -> None:
    assert told("BEEEE", keep_s=3, no_data="resolve") == "Fr..R"


def test_transitions_of_an_incident_are_numbered_and_the_next_incident_begins_anew() -> None:
    alert, policy = Alert(), Policy(1_000, 0, "hold")
    line = ((0, "B"), (1_000, "B"), (2_000, "C"), (9_000, "B"))

    changes = [step(alert, VERDICTS[letter], at, policy) for at, letter in line]

    assert [(change.seq, change.opened_at_ms) for change in changes if change] == [(0, 0), (1, 0), (2, 0), (0, 9_000)]


def test_a_timer_says_when_a_wait_runs_out() -> None:
    alert, policy = Alert(), Policy(3_000, 5_000, "hold")
    assert next_timer_ms(alert, policy) is None

    step(alert, Verdict.BREACH, 1_000, policy)
    assert next_timer_ms(alert, policy) == 4_000

    step(alert, Verdict.BREACH, 4_000, policy)
    assert next_timer_ms(alert, policy) is None

    step(alert, Verdict.CLEAR, 6_000, policy)
    assert next_timer_ms(alert, policy) == 11_000

    step(alert, Verdict.BETWEEN, 7_000, policy)
    assert next_timer_ms(alert, policy) is None


@pytest.mark.parametrize(
    ("line", "for_s", "to_state"), [("", 0, None), ("B", 3, "inactive"), ("B", 0, "resolved"), ("BC", 0, None)]
)
def test_closing_ends_what_is_open(line: str, for_s: int, to_state: str | None) -> None:
    alert, policy = Alert(), Policy(for_s * 1000, 0, "hold")
    for second, letter in enumerate(line):
        step(alert, VERDICTS[letter], second * 1000, policy)

    change = close(alert, 9_000, "the rule was removed")

    assert (change and change.to_state) == to_state
    assert alert.state == "inactive"
