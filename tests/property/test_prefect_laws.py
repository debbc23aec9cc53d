"""The kind `prefect` fires where the slow oracle of buckets does, and keeps the order of the log.

Neither batches, nor stops, nor events sent twice change it. Names it looks for as Prefect's engine does, which tries
the places of each star one by one.
"""

import re
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles.prefect import Arrived, PrefectOracle
from tests.property.detection import START_MS, Happening, Line, in_order, records, rules, run_whole

from flowgauge.processors.kinds.prefect_match import covers_name
from flowgauge.schemas.event import Event
from flowgauge.schemas.times import EPOCH

END_MS = START_MS + 900_000
TRIGGERS = rules("""
rules:
  - name: three failures
    when: {prefect: {posture: Reactive, expect: x.failed, for_each: [prefect.resource.id], threshold: 3, within: 30s}}
  - name: no end
    when: {prefect: {posture: Proactive, after: x.started, expect: x.ended, for_each: [prefect.resource.id]}}
  - name: nothing
    when: {prefect: {posture: Proactive, threshold: 2, within: 45s}}
""")
# Of the triggers by name: is it Proactive, has it `after`, has it labels; how many, within how many ms; what it counts.
LOOKED_AT = {
    "three failures": ((False, False, True, 3, 30_000), {"x.failed"}, set[str]()),
    "no end": ((True, True, True, 1, 10_000), {"x.ended"}, {"x.started"}),
    "nothing": ((True, False, False, 2, 45_000), {"x.failed", "x.started", "x.ended"}, set[str]()),
}
NAMES = ("x.failed", "x.failed", "x.started", "x.ended")
Drawn = list[Happening]
GLOBS = st.lists(st.text("aab***?[].\\\n", min_size=1, max_size=8), min_size=1, max_size=3)


@st.composite
def happenings(draw: st.DrawFn) -> Drawn:
    """Draw events in the order of the log, any of them late or ahead."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, 400_000), st.integers(-20_000, 60_000), st.sampled_from(NAMES), st.sampled_from("ab")
            ),
            max_size=30,
        )
    )
    found = [
        Happening(START_MS + append - late, START_MS + append, _event(number, START_MS + append - late, *rest))
        for number, (append, late, *rest) in enumerate(drawn)
    ]
    return sorted(found, key=lambda each: each.append_ms)


def _event(number: int, occurred_ms: int, name: str, resource: str) -> Event:
    occurred = EPOCH + timedelta(milliseconds=occurred_ms)
    fields = {"id": UUID(int=number + 1), "tenant": "t", "occurred": occurred, "event": name}
    return msgspec.convert(fields | {"resource": {"id": resource}}, Event)


@pytest.mark.parametrize("name", LOOKED_AT)
@given(happened=happenings())
def test_a_trigger_fires_where_a_look_at_every_bucket_at_each_event_and_tick_finds_it(
    happened: Drawn, name: str
) -> None:
    found = run_whole(TRIGGERS, happened, END_MS)

    (is_proactive, has_after, has_keys, threshold, within_ms), expect, after = LOOKED_AT[name]
    oracle = partial(PrefectOracle, is_proactive, has_after, has_keys, threshold, within_ms)
    arrived = [
        Arrived(
            each.append_ms,
            each.occurred_ms,
            str(each.event.id),
            (each.event.resource["id"],) if has_keys else (),
            starts=each.event.event in after,
            counts=each.event.event in expect,
        )
        for each in happened
        if each.event.event in {*expect, *after}
    ]
    groups = [arrived] if is_proactive else [[each for each in arrived if each.key == (key,)] for key in "ab"]
    expected = [fired for group in groups for fired in oracle().firings(group, END_MS)]
    assert sorted((item.at_ms, *item.key.values(), item.value) for item in found if item.rule == name) == sorted(
        (fired.at_ms, *fired.key, fired.event_id, fired.events) for fired in expected
    )


@given(happened=happenings(), data=st.data())
def test_batches_and_stops_change_nothing(happened: Drawn, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(happened)), max_size=4)))
    line, written = Line(TRIGGERS), records(happened)

    for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True):
        line.feed(0, written[start:end])
        line.crash()

    assert line.end(END_MS) == run_whole(TRIGGERS, happened, END_MS)


@given(happened=happenings(), data=st.data())
def test_an_event_sent_again_within_half_an_hour_changes_nothing(happened: Drawn, data: st.DataObject) -> None:
    again = (
        data.draw(st.lists(st.tuples(st.sampled_from(happened), st.integers(0, 400_000)), max_size=5))
        if happened
        else []
    )
    copies = [Happening(each.occurred_ms, each.append_ms + later, each.event) for each, later in again]

    doubled = sorted([*happened, *copies], key=lambda each: each.append_ms)

    assert run_whole(TRIGGERS, doubled, END_MS) == run_whole(TRIGGERS, happened, END_MS)


@given(happened=happenings())
def test_sources_that_share_the_events_come_to_the_same(happened: Drawn) -> None:
    distinct = list({each.append_ms: each for each in happened}.values())  # of equal times the source decides
    line = Line(TRIGGERS, sources=2)
    for source in (1, 0):
        line.feed(source, records([each for number, each in enumerate(distinct) if number % 2 == source]))

    assert line.end(END_MS) == in_order(run_whole(TRIGGERS, distinct, END_MS))


@given(expect=GLOBS, after=st.sampled_from([[], ["[!z]*"]]), name=st.text("aaab?[.\\\n", min_size=1, max_size=10))
def test_names_are_looked_for_as_by_trying_every_place_of_each_star(
    expect: list[str], after: list[str], name: str
) -> None:
    globs = [
        *expect,
        *after,
    ]  # with the glob in `after`, which every name meets and none begins with, only places count
    begins = re.match("|".join(re.escape(glob).replace("\\*", ".+") for glob in globs), name)

    expected = any(fnmatchcase(name, glob) for glob in globs) and begins is not None

    assert covers_name(expect, after)(name) is expected
