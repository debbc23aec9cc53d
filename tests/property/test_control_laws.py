"""The laws of controls in force, under any controls of some tenants in any order.

* The order in which they are read does not matter.
* A control that was read already changes nothing, and says so.
* One that is erased is as if it had never been.
* However many there are, no more is kept than the bounds say, and what is newest of its kind stays.
* Of incidents merged in any way, every one is looked after in one that is part of no other.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas import controls_in_force, silencing
from flowgauge.schemas.control import (
    Acknowledged,
    Act,
    ActionsSwitched,
    Assigned,
    Control,
    Merged,
    Noted,
    ResolvedByHand,
    Silence,
    Silenced,
    SilenceExpired,
)
from flowgauge.schemas.controls_in_force import ControlsInForce, order
from flowgauge.schemas.settings import ANY_TENANT

TENANTS = ("acme", "zoo")
INCIDENTS = ("i", "j", "k")
TIMES = st.integers(0, 20)  # few, so that many are equal

_Kind = TypeVar("_Kind", bound=Control)

tenants = st.sampled_from(TENANTS)
people = st.sampled_from(["ann", "bob"])
silence_ids = st.sampled_from(["s", "t"])


def silence(silence_id: str, starts_ms: int, length_ms: int) -> Silence:
    return Silence(silence_id=silence_id, matchers=[], starts_ms=starts_ms, ends_ms=starts_ms + length_ms, reason="")


silences = st.builds(silence, silence_ids, TIMES, TIMES)


def said_of(
    kind: type[_Kind], tenant: st.SearchStrategy[str] = tenants, **more: st.SearchStrategy[object]
) -> st.SearchStrategy[_Kind]:
    """Return controls of a kind, all with the same id."""
    return st.builds(kind, control_id=st.just(""), tenant=tenant, at_ms=TIMES, by=people, **more)


incidents = st.sampled_from(INCIDENTS)
any_controls: st.SearchStrategy[Control] = st.one_of(
    said_of(Acknowledged, incident_id=incidents),
    said_of(Assigned, incident_id=incidents, to=st.sampled_from(["", "ann"])),
    said_of(Noted, incident_id=incidents, text=st.just("looked")),
    said_of(ResolvedByHand, incident_id=incidents),
    said_of(Merged, incident_id=incidents, into=incidents),
    said_of(Silenced, silence=silences),
    said_of(SilenceExpired, silence_id=silence_ids),
    said_of(ActionsSwitched, st.sampled_from([*TENANTS, ANY_TENANT]), are_stopped=st.booleans()),
)


def with_ids(controls: Sequence[Control]) -> list[Control]:
    return [msgspec.structs.replace(each, control_id=f"c{number}") for number, each in enumerate(controls)]


def controls() -> st.SearchStrategy[list[Control]]:
    """Return controls, each with an id of its own."""
    return st.lists(any_controls, max_size=25).map(with_ids)


@st.composite
def merges(draw: st.DrawFn) -> list[Control]:
    """Return merges of incidents of one tenant."""
    names = st.sampled_from("abcdefg")
    return [
        Merged(
            control_id=f"c{n}", tenant="acme", at_ms=draw(TIMES), by="ann", incident_id=draw(names), into=draw(names)
        )
        for n in range(draw(st.integers(0, 15)))
    ]


def in_force(of: Sequence[Control]) -> ControlsInForce:
    found = ControlsInForce()
    for control in of:
        found.take(control)
    return found


def told(of: ControlsInForce) -> object:
    """Return everything that can be asked."""
    return [
        (
            [of.handling(tenant, each) for each in INCIDENTS],
            of.silences.of(tenant),
            of.are_actions_stopped(tenant),
        )
        for tenant in TENANTS
    ]


@given(controls(), st.randoms())
def test_the_order_of_reading_does_not_matter(given_: list[Control], chance: Random) -> None:
    shuffled = [*given_]
    chance.shuffle(shuffled)

    assert told(in_force(shuffled)) == told(in_force(given_))


@given(controls(), st.data())
def test_what_was_read_already_changes_nothing_and_says_so(given_: list[Control], data: st.DataObject) -> None:
    found = in_force(given_)
    before = told(found)

    changed = [found.take(each) for each in data.draw(st.lists(st.sampled_from(given_)) if given_ else st.just([]))]

    assert (told(found), any(changed)) == (before, False)


@given(controls(), st.data())
def test_an_erased_act_is_as_if_it_had_never_been(given_: list[Control], data: st.DataObject) -> None:
    acts = [each for each in given_ if isinstance(each, Act)]
    erased = {each.control_id for each in data.draw(st.lists(st.sampled_from(acts)) if acts else st.just([]))}
    found = in_force(given_)

    for control_id in erased:
        found.forget(control_id)

    assert told(found) == told(in_force([each for each in given_ if each.control_id not in erased]))


@given(controls(), st.integers(5, 10), st.integers(1, 2))
def test_no_more_is_kept_than_the_bounds_say(given_: list[Control], acts_max: int, others_max: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controls_in_force, "ACTS_MAX", acts_max)
        patch.setattr(controls_in_force, "ALL_ACTS_MAX", acts_max + 1)
        patch.setattr(silencing, "SILENCES_MAX", others_max)
        patch.setattr(controls_in_force, "SWITCHES_MAX", others_max)
        found = in_force(given_)

    acts = [found.handling(tenant, each).acts for tenant in TENANTS for each in INCIDENTS]
    assert sum(map(len, acts)) == len(found) <= acts_max + 1
    assert all(len(each) <= acts_max for each in acts)
    assert len({each.silence.silence_id for tenant in TENANTS for each in found.silences.of(tenant)}) <= others_max


def test_a_tenant_that_does_much_drives_out_its_own_acts_alone() -> None:
    note = Noted(control_id="one", tenant="zoo", at_ms=1, by="ann", incident_id="i", text="looked")
    many = [
        msgspec.structs.replace(note, control_id=f"c{n}", tenant="acme", incident_id=f"i{n}")
        for n in range(controls_in_force.ALL_ACTS_MAX + 10)
    ]

    found = in_force([note, *many])

    assert found.handling("zoo", "i").acts == (note,)
    assert (found.handling("acme", "i10").acts, found.dropped["incidents"]) == ((), 11)


@given(controls())
def test_what_is_newest_of_its_kind_outlasts_many_notes(given_: list[Control]) -> None:
    notes = [
        Noted(control_id=f"n{n}", tenant="acme", at_ms=30 + n, by="ann", incident_id="i", text="more")
        for n in range(controls_in_force.ACTS_MAX)
    ]
    before, after = in_force(given_).handling("acme", "i"), in_force([*given_, *notes]).handling("acme", "i")

    assert (after.acknowledged, after.assignee, after.resolved, after.part_of) == (
        before.acknowledged,
        before.assignee,
        before.resolved,
        before.part_of,
    )
    assert after.is_cut == (len(before.acts) > 0)


@given(merges())
def test_every_merged_incident_is_looked_after_in_one_that_is_part_of_no_other(given_: list[Control]) -> None:
    found = in_force(given_)

    roots = {each: found.root("acme", each) for each in "abcdefg"}

    assert all(roots[root] == root for root in roots.values())


@given(controls(), TIMES)
def test_an_act_done_now_is_newer_than_what_was_done(given_: list[Control], now_ms: int) -> None:
    found = in_force(given_)

    at_ms = found.later_than("acme", "i", now_ms)
    act = Assigned(control_id="", tenant="acme", at_ms=at_ms, by="ann", incident_id="i", to="eve")
    found.take(act)

    assert max(found.handling("acme", "i").acts, key=order) == act
    assert found.handling("acme", "i").assignee == "eve"
