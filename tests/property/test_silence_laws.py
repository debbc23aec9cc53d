"""Laws of silences, against an oracle that asks the clock of the place minute by minute and every silence in turn."""

import re
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas import silencing
from flowgauge.schemas.control import Matcher, Recurrence, Silence, Silenced, SilenceExpired
from flowgauge.schemas.hours import DAY_MS, MINUTE_MS, hours_of
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.silencing import Silences, order
from flowgauge.schemas.times import EPOCH, parse_time_ms
from flowgauge.schemas.transition import Transition

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata", "UTC")
# Days at whose end or beginning a clock changes in one of ZONES, and an ordinary one.
DAYS = ("03-28", "10-24", "03-07", "10-31", "04-04", "10-03", "07-01")
STARTS_MS = [parse_time_ms(f"2026-{day}T00:00:00Z") for day in DAYS]
SPAN_MINUTES = 3 * 24 * 60

TENANTS = ("acme", "zoo")
VALUES = ("", "orders", "orders-eu", "stock")

recurrences = st.builds(
    Recurrence,
    days=st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True),
    from_minute=st.one_of(st.integers(0, 1439), st.sampled_from([0, 60, 90, 120, 150, 180])),
    to_minute=st.one_of(st.integers(0, 1439), st.sampled_from([0, 60, 90, 120, 150, 180])),
    timezone=st.sampled_from(ZONES),
)
matchers = st.one_of(
    st.builds(
        Matcher, st.sampled_from(["rule", "severity", "flow", "team"]), st.sampled_from(["=", "!="]),
        st.sampled_from(VALUES),
    ),
    st.builds(
        Matcher, st.sampled_from(["rule", "flow"]), st.sampled_from(["=~", "!~"]),
        st.sampled_from(["orders.*", "s|stock", ".*", "(a+)+b"]),
    ),
)  # fmt: skip


def a_transition(tenant: str, rule: str, severity: str, fields: tuple[dict[str, str], dict[str, str]]) -> Transition:
    key, labels = fields
    return Transition(
        transition_id="t", incident_id="i", seq=0, tenant=tenant, rule=rule, rule_kind="failure_rate", rules_version=1,
        key=key, from_state="inactive", to_state="firing", at_ms=0, opened_at_ms=0, reason="", severity=severity,
        labels=labels,
    )  # fmt: skip


transitions = st.builds(
    a_transition, st.sampled_from(TENANTS), st.sampled_from(VALUES), st.sampled_from(VALUES),
    st.tuples(
        st.dictionaries(st.just("flow"), st.sampled_from(VALUES)),
        st.dictionaries(st.sampled_from(["flow", "team", "rule"]), st.sampled_from(VALUES)),
    ),
)  # fmt: skip


@st.composite
def silences(draw: st.DrawFn, silence_id: str, start_ms: int) -> Silence:
    """Return a silence that begins and ends within the span after `start_ms`."""
    begin, end = sorted((draw(st.integers(0, SPAN_MINUTES)), draw(st.integers(0, SPAN_MINUTES))))
    return Silence(
        silence_id=silence_id,
        matchers=draw(st.lists(matchers, max_size=2)),
        starts_ms=start_ms + begin * MINUTE_MS,
        ends_ms=start_ms + end * MINUTE_MS,
        reason="",
        recurrence=draw(st.one_of(st.none(), recurrences)),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Silenced | SilenceExpired]]:
    """Return a time, and controls about silences of the three days after it."""
    start_ms = draw(st.sampled_from(STARTS_MS))
    controls: list[Silenced | SilenceExpired] = []
    for number in range(draw(st.integers(0, 8))):
        at_ms = start_ms + draw(st.integers(0, 10)) * 7 * 3_600_000
        control_id, tenant = f"c{number}", draw(st.sampled_from([*TENANTS, ANY_TENANT]))
        name = tenant + draw(st.sampled_from("abcd"))
        if draw(st.integers(0, 3)):
            silence = draw(silences(name, start_ms))
            controls.append(Silenced(control_id=control_id, tenant=tenant, at_ms=at_ms, by="ann", silence=silence))
        else:
            controls.append(
                SilenceExpired(control_id=control_id, tenant=tenant, at_ms=at_ms, by="ann", silence_id=name)
            )
    return start_ms, controls


def taken(controls: Sequence[Silenced | SilenceExpired]) -> Silences:
    found = Silences()
    for control in controls:
        found.take(control)
    return found


def is_within_hours(recurrence: Recurrence, at_ms: int) -> bool:
    """Look at the clock of the place."""
    wall = (EPOCH + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(recurrence.timezone))
    minute = wall.hour * 60 + wall.minute
    yesterday = (wall.date() - timedelta(days=1)).weekday()
    if recurrence.from_minute < recurrence.to_minute:
        return wall.weekday() in recurrence.days and recurrence.from_minute <= minute < recurrence.to_minute
    return (wall.weekday() in recurrence.days and minute >= recurrence.from_minute) or (
        yesterday in recurrence.days and minute < recurrence.to_minute
    )


def holds(matcher: Matcher, transition: Transition) -> bool:
    fields = {**transition.labels, **transition.key, "rule": transition.rule, "severity": transition.severity}
    value = fields.get(matcher.field, "")
    is_like = re.fullmatch(matcher.value, value) is not None if "~" in matcher.op else value == matcher.value
    return is_like is ("!" not in matcher.op)


def hiding(controls: Sequence[Silenced | SilenceExpired], transition: Transition, at_ms: int) -> set[str]:
    """Return the silences that hide `transition` at `at_ms`, as one would find out by hand."""
    found: set[str] = set()
    for tenant in (transition.tenant, ANY_TENANT):
        added: dict[str, Silenced] = {}
        expired: dict[str, SilenceExpired] = {}
        for control in sorted((each for each in controls if each.tenant == tenant), key=order):
            if isinstance(control, Silenced):
                added[control.silence.silence_id] = control
            else:
                expired[control.silence_id] = control
        for silence_id, control in added.items():
            silence, end = control.silence, expired.get(silence_id)
            is_over = end is not None and order(end) > order(control) and end.at_ms <= at_ms
            is_on = silence.starts_ms <= at_ms < silence.ends_ms and not is_over
            in_hours = silence.recurrence is None or is_within_hours(silence.recurrence, at_ms)
            if is_on and in_hours and all(holds(each, transition) for each in silence.matchers):
                found.add(silence_id)
    return found


@given(histories(), transitions, st.integers(0, SPAN_MINUTES - 240))
def test_hidden_is_what_the_oracle_hides_minute_by_minute(
    history: tuple[int, list[Silenced | SilenceExpired]], transition: Transition, from_minute: int
) -> None:
    start_ms, controls = history
    found = taken(controls)

    for minute in range(from_minute, from_minute + 240):
        at_ms = start_ms + minute * MINUTE_MS
        answer = found.silenced_until_ms(transition, at_ms)
        expected = hiding(controls, transition, at_ms)
        assert (answer is not None) == bool(expected)
        assert answer is None or (answer[1] in expected and answer[0] > at_ms)


@given(histories(), transitions, st.integers(0, 59))
def test_the_end_that_is_told_is_exact(
    history: tuple[int, list[Silenced | SilenceExpired]], transition: Transition, minute: int
) -> None:
    start_ms, controls = history
    found = taken(controls)

    for at_ms in range(start_ms + minute * MINUTE_MS, start_ms + SPAN_MINUTES * MINUTE_MS, 5 * 3_600_000):
        if answer := found.silenced_until_ms(transition, at_ms):
            until_ms, by = answer
            between = range(at_ms, until_ms, 10 * MINUTE_MS)
            assert all(by in hiding(controls, transition, each) for each in (*between, until_ms - 1))
            assert by not in hiding(controls, transition, until_ms)


@given(histories(), transitions, st.randoms())
def test_neither_the_order_of_controls_nor_their_number_of_times_matters(
    history: tuple[int, list[Silenced | SilenceExpired]], transition: Transition, chance: Random
) -> None:
    start_ms, controls = history
    often = [*controls, *controls]
    chance.shuffle(often)
    times = [start_ms + hour * 3_600_000 for hour in range(72)]

    one, other = taken(controls), taken(often)

    assert [one.silenced_until_ms(transition, at_ms) for at_ms in times] == [
        other.silenced_until_ms(transition, at_ms) for at_ms in reversed(times)
    ][::-1]
    assert not any(one.take(control) for control in controls)


@given(histories(), st.data())
def test_an_erased_control_is_as_if_it_had_never_been(
    history: tuple[int, list[Silenced | SilenceExpired]], data: st.DataObject
) -> None:
    controls = [*{(type(each), silence_id(each)): each for each in history[1]}.values()]  # each said once
    erased = data.draw(st.sampled_from(controls)).control_id if controls else ""
    found = taken(controls)

    found.forget(erased)

    left = taken([each for each in controls if each.control_id != erased])
    assert [found.of(tenant) for tenant in TENANTS] == [left.of(tenant) for tenant in TENANTS]


@given(histories())
def test_no_more_is_kept_than_the_bound_says(history: tuple[int, list[Silenced | SilenceExpired]]) -> None:
    _, controls = history
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silencing, "SILENCES_MAX", 2)
        found = taken(controls)

    assert len(found) <= 2
    assert bool(found.dropped) == (len({(each.tenant, silence_id(each)) for each in controls}) > 2)


def silence_id(control: Silenced | SilenceExpired) -> str:
    return control.silence.silence_id if isinstance(control, Silenced) else control.silence_id


@given(recurrences, st.sampled_from(STARTS_MS), st.integers(0, 3 * DAY_MS), st.integers(1, 4 * DAY_MS))
def test_windows_are_in_order_apart_and_within_what_was_asked(
    recurrence: Recurrence, start_ms: int, after_ms: int, length_ms: int
) -> None:
    from_ms = start_ms + after_ms

    found = [*hours_of(recurrence).windows(from_ms, from_ms + length_ms)]

    edges = [edge for each in found for edge in (each.from_ms, each.to_ms)]
    assert edges == sorted(set(edges))
    assert not edges or (edges[0] >= from_ms and edges[-1] <= from_ms + length_ms)
    assert all(is_within_hours(recurrence, each.from_ms) for each in found)
    assert not any(is_within_hours(recurrence, each.to_ms) for each in found if each.to_ms < from_ms + length_ms)


@given(transitions)
def test_a_silence_that_cannot_be_read_hides_nothing(transition: Transition) -> None:
    broken = Silence(silence_id="a", matchers=[Matcher("x", "!~", "(")], starts_ms=0, ends_ms=10, reason="")
    nowhere = Recurrence(days=[0, 1, 2, 3, 4, 5, 6], from_minute=0, to_minute=0, timezone="Moon/Base")
    lost = msgspec.structs.replace(broken, silence_id="b", matchers=[], recurrence=nowhere)
    found = taken(
        [
            Silenced(control_id=each.silence_id, tenant=ANY_TENANT, at_ms=0, by="ann", silence=each)
            for each in (broken, lost)
        ]
    )

    assert found.silenced_until_ms(transition, 5) is None
