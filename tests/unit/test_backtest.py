"""The backtest: intervals of incidents, their numbers, and what two rule sets would have done differently."""

import pytest

from flowgauge.processors.backtest import Difference, Limits, Tally, differences, found_in, tallies
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.transition import AlertState, Transition

LIMITS = Limits(flap_ms=100, brief_ms=10)
GROUP = ("acme", "failing", (("flow", "etl"),))


def moved(at_ms: int, to: AlertState, *, incident: str = "i", from_: AlertState = "inactive", **key: str) -> Transition:
    return Transition(
        transition_id=f"{incident}-{at_ms}-{to}",
        incident_id=incident,
        seq=0,
        tenant="acme",
        rule="failing",
        rule_kind="failure_rate",
        rules_version=1,
        key={"flow": "etl", **key},
        from_state=from_,
        to_state=to,
        at_ms=at_ms,
        opened_at_ms=at_ms,
        reason="",
    )


def lived(*spans: tuple[str, int, int | None]) -> list[Transition]:
    """Return the transitions of incidents, each with its name, when it fired and when it ended."""
    told: list[Transition] = []
    for incident, fired_ms, ended_ms in spans:
        told.append(moved(fired_ms, "firing", incident=incident))
        if ended_ms is not None:
            told.append(moved(ended_ms, "resolved", incident=incident, from_="firing"))
    return told


def spans(told: list[Transition]) -> list[tuple[str, int, int | None]]:
    return [(each.told.incident_id, each.fired_ms, each.ended_ms) for each in found_in(told).intervals]


def test_an_interval_lasts_from_the_first_firing_to_the_end_through_every_recovery() -> None:
    told = [
        moved(1, "pending"),
        moved(5, "firing", from_="pending"),
        moved(7, "recovering", from_="firing"),
        moved(8, "firing", from_="recovering"),
        moved(20, "resolved", from_="recovering"),
    ]

    assert spans(told) == [("i", 5, 20)]
    assert spans(told[:-1]) == [("i", 5, None)]


def test_missing_data_that_is_told_is_an_interval_too() -> None:
    assert spans([moved(5, "no_data"), moved(9, "resolved", from_="no_data")]) == [("i", 5, 9)]


def test_a_pending_alert_that_lapsed_is_counted_and_is_no_interval() -> None:
    found = found_in([moved(1, "pending"), moved(2, "inactive", from_="pending")])

    assert found.intervals == []
    assert tallies(found, 10, LIMITS) == {GROUP: Tally(lapsed=1)}


def test_single_events_are_one_group_and_are_over_as_they_fire() -> None:
    told = [moved(at, "firing", incident=str(at), event_id=str(at)) for at in (5, 50, 500)]

    assert spans(told) == [("5", 5, 5), ("50", 50, 50), ("500", 500, 500)]
    assert tallies(found_in(told), 1000, LIMITS) == {GROUP: Tally(incidents=3, flaps=1, noisy=1)}


def test_flaps_and_brief_incidents_are_noise_and_what_is_both_counts_once() -> None:
    told = lived(("a", 0, 500), ("b", 600, 609), ("c", 710, 720), ("d", 900, None))
    (tally,) = tallies(found_in(told), 1000, LIMITS).values()

    # b: 100 after a, and 9 long; c: 101 after b, and 10 long; d: 180 after c, and open.
    assert tally == Tally(incidents=4, firing_ms=500 + 9 + 10 + 100, longest_ms=500, open=1, flaps=1, brief=1, noisy=1)
    assert tally.noise == 0.25
    assert Tally().noise is None


def test_only_what_was_firing_since_then_is_kept() -> None:
    found = found_in(lived(("a", 0, 50), ("b", 60, 90), ("c", 95, None)))

    assert [each.told.incident_id for each in found.since(90, 100).intervals] == ["b", "c"]


def said(ours: list[Transition], theirs: list[Transition]) -> list[tuple[str, int | None, int | None]]:
    return [
        (each.what, each.fired_by_ms, each.ended_by_ms) for each in differences(found_in(ours), found_in(theirs), 1000)
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (("a", 10, 20), ("a", 10, 20), []),
        (("a", 10, None), ("a", 10, None), []),
        (("a", 10, 20), ("b", 12, 25), [("earlier", -2, -5)]),
        (("a", 12, 25), ("b", 10, 20), [("later", 2, 5)]),
        (("a", 10, 20), ("a", 10, 25), [("shorter", 0, -5)]),
        (("a", 10, 20), ("a", 10, None), [("shorter", 0, None)]),
        (("a", 10, None), ("a", 10, 20), [("longer", 0, None)]),
        (("a", 10, 20), ("b", 20, 25), [("earlier", -10, -5)]),
        (("a", 10, 20), ("b", 21, 25), [("more", None, None), ("fewer", None, None)]),
    ],
)
def test_two_incidents_are_compared(
    ours: tuple[str, int, int | None],
    theirs: tuple[str, int, int | None],
    expected: list[tuple[str, int | None, int | None]],
) -> None:
    assert said(lived(ours), lived(theirs)) == expected


def test_one_long_incident_against_two_short_ones_is_the_first_of_them_and_one_fewer() -> None:
    ours, theirs = lived(("a", 10, 100)), lived(("b", 10, 20), ("c", 50, 60))

    assert said(ours, theirs) == [("longer", 0, 80), ("fewer", None, None)]


def test_other_keys_are_never_paired() -> None:
    ours = found_in([moved(5, "firing", incident="a", run="r1")])
    theirs = found_in([moved(5, "firing", incident="b", run="r2")])

    (more, fewer) = differences(ours, theirs, 10)
    assert more == Difference("more", ours.intervals[0], None)
    assert fewer == Difference("fewer", None, theirs.intervals[0])


def test_more_intervals_than_can_be_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowgauge.processors.backtest.INTERVALS_MAX", 2)

    with pytest.raises(BadInput, match="more than 2 times"):
        found_in(lived(("a", 0, 1), ("b", 2, 3), ("c", 4, 5)))
