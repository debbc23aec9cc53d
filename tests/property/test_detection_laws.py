"""The laws of detection: what may not change a transition, whatever the events."""

import random
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.detection import (
    LOG_ID,
    START_MS,
    Happening,
    Line,
    event_at,
    happenings,
    in_order,
    records,
    rules,
    run_whole,
)

from flowgauge.processors.alert_state import Alert, Policy, step
from flowgauge.processors.panes import pane_end, pane_ms
from flowgauge.processors.reading import Verdict
from flowgauge.processors.replay import Replay
from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.errors import OffsetGap
from flowgauge.schemas.event import partition_key
from flowgauge.schemas.ids import events_partition, incident_id, transition_id
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record

END_MS = START_MS + 600_000
RULESET = rules()
TIGHTEST_LATENESS_MS = 3_000  # of the rules above
seeds = st.integers(0, 2**32)


def without_late_counts(transitions: Sequence[Transition]) -> list[Transition]:
    return [msgspec.structs.replace(item, late_samples=0) for item in transitions]


@given(happened=happenings(), seed=seeds)
def test_batch_splits_change_nothing(happened: list[Happening], seed: int) -> None:
    chance = random.Random(seed)
    line = Line(RULESET)
    rest = records(happened)
    while rest:
        size = chance.randint(1, len(rest))
        line.feed(0, rest[:size])
        rest = rest[size:]

    assert line.end(END_MS) == run_whole(RULESET, happened, END_MS)


@given(happened=happenings(disorder_ms=TIGHTEST_LATENESS_MS))
def test_order_within_the_allowed_lateness_does_not_matter(happened: list[Happening]) -> None:
    in_time = [
        Happening(item.occurred_ms, item.occurred_ms, item.event)
        for item in sorted(happened, key=lambda item: item.occurred_ms)
    ]

    assert run_whole(RULESET, happened, END_MS) == run_whole(RULESET, in_time, END_MS)


@given(happened=happenings(), seed=seeds)
def test_a_duplicate_changes_nothing(happened: list[Happening], seed: int) -> None:
    chance = random.Random(seed)
    twins = [
        Happening(item.occurred_ms, item.append_ms + chance.randint(0, 60_000), item.event)
        for item in happened
        if chance.random() < 0.5
    ]
    doubled = sorted([*happened, *twins], key=lambda item: item.append_ms)

    found = run_whole(RULESET, doubled, END_MS)

    # A twin that comes after its pane is final is late by its own record, and late events are shown.
    assert without_late_counts(found) == without_late_counts(run_whole(RULESET, happened, END_MS))


@given(happened=happenings(), partitions=st.integers(2, 5), seed=seeds)
def test_splitting_over_partitions_changes_nothing(happened: list[Happening], partitions: int, seed: int) -> None:
    chance = random.Random(seed)
    line = Line(RULESET, sources=partitions)
    queues = [
        records([item for item in happened if events_partition(partition_key(item.event), partitions) == source])
        for source in range(partitions)
    ]
    while any(queues):
        source = chance.choice([number for number, queue in enumerate(queues) if queue])
        size = chance.randint(1, len(queues[source]))
        line.feed(source, queues[source][:size])
        queues[source] = queues[source][size:]

    assert line.end(END_MS) == run_whole(RULESET, happened, END_MS)


@given(happened=happenings(), seed=seeds)
def test_stopping_and_replaying_at_any_prefix_gives_the_same_transitions(happened: list[Happening], seed: int) -> None:
    chance = random.Random(seed)
    line = Line(RULESET, sources=2)
    queues = [records(happened[::2]), records(happened[1::2])]
    messages = [
        message for source in (0, 1) for record in queues[source] for message in line.messages(source, [record])
    ]
    chance.shuffle(messages)
    messages.sort(key=lambda message: message.start)  # each source in its order, sources mixed at random
    place = 0
    while place < len(messages):
        size = chance.randint(1, 5)
        outcome = line.detector.apply(messages[place : place + size])
        fate = chance.random()
        if fate < 0.3:
            line.crash()  # before the commit: it never happened, and the input comes again
            continue
        line.commit(outcome)
        if fate < 0.6:
            line.crash()  # after the commit: state and position are those of the commit
            place = max(0, place + size - chance.randint(0, 8))  # and the matcher sends some of it again
        else:
            place += size

    assert line.end(END_MS) == run_whole(RULESET, happened, END_MS)


@given(happened=happenings())
def test_a_replay_which_forgets_blank_keys_at_once_finds_the_same(happened: list[Happening]) -> None:
    lines = [b'{"_append":%d,%b' % (item.append_ms, item.value[1:]) for item in happened]

    replay = Replay(lambda: lines, RULESET, until_ms=END_MS)

    assert in_order(list(replay.transitions())) == run_whole(RULESET, happened, END_MS)


@given(happened=happenings(), held_ms=st.integers(0, 300_000))
def test_a_quiet_partition_delays_and_never_falsifies(happened: list[Happening], held_ms: int) -> None:
    line = Line(RULESET, sources=2)
    quiet = Record(0, START_MS + held_ms, RecordKind.LOADED, "", b"")
    line.feed(1, [quiet])

    line.feed(0, records(happened))
    told = [item for item in line.transitions if item.rule != "each crash"]
    whole = run_whole(RULESET, happened, END_MS)

    assert all(item.at_ms <= START_MS + held_ms for item in told)
    assert all(item in whole for item in told)
    assert line.end(END_MS) == whole


@given(happened=happenings())
def test_every_final_pane_holds_exactly_the_admitted_samples(happened: list[Happening]) -> None:
    """An independent, slow oracle: every pane end is evaluated over the plain list of admitted events."""
    found = [item for item in run_whole(RULESET, happened, END_MS) if item.rule == "failing"]

    assert {(item.transition_id, item.value, item.samples, item.at_ms) for item in found} == {
        row for flow in ("a", "b") for row in _expected_failing(happened, flow)
    }


def _expected_failing(happened: Sequence[Happening], flow: str) -> list[tuple[str, float | None, int, int]]:
    finished = {
        (item.occurred_ms, item.event.id): item.event.state in {"failed", "crashed"}
        for item in happened
        if item.event.flow == flow
        and item.event.state in {"completed", "failed", "crashed"}
        and item.append_ms - item.occurred_ms <= 10_000
    }
    within, alert, policy = 60_000, Alert(), Policy(5_000, 10_000, "resolve")
    rows: list[tuple[str, float | None, int, int]] = []
    pane = pane_ms(within)
    for end_ms in range(pane_end(START_MS, pane), END_MS - 10_000 + 1, pane):
        window = [failed for (at, _), failed in finished.items() if end_ms - within <= at < end_ms]
        rate = sum(window) / len(window) if window else None
        change = step(alert, _verdict(rate, len(window)), end_ms, policy)
        if change is not None:
            incident = incident_id("t", "failing", [flow], change.opened_at_ms)
            rows.append((transition_id(incident, change.seq, change.to_state), rate, len(window), end_ms))
    return rows


def _verdict(rate: float | None, finished: int) -> Verdict:
    if rate is None:
        return Verdict.EMPTY
    if finished < 2:
        return Verdict.HELD
    if rate > 0.3:
        return Verdict.BREACH
    return Verdict.BETWEEN if rate >= 0.1 else Verdict.CLEAR


@given(verdicts=st.lists(st.sampled_from(list(Verdict)), max_size=60), for_ms=st.sampled_from((0, 3_000)))
def test_the_alert_never_oscillates_between_clear_below_and_above(verdicts: list[Verdict], for_ms: int) -> None:
    alert, policy = Alert(), Policy(for_ms, 2_000, "hold")
    changes: list[tuple[Verdict, str]] = []
    for number, verdict in enumerate(verdicts):
        change = step(alert, verdict, number * 1_000, policy)
        if change is not None:
            changes.append((verdict, change.to_state))

    told = [(verdict, state) for verdict, state in changes if state not in {"pending", "inactive"}]
    assert all(verdict is Verdict.BREACH for verdict, state in told if state == "firing")
    assert all(verdict is Verdict.CLEAR for verdict, state in told if state in {"recovering", "resolved"})


@given(happened=happenings(size_max=20))
def test_a_gap_in_the_samples_stops_the_detector(happened: list[Happening]) -> None:
    line = Line(RULESET)
    rest = records(happened)
    assume(len(rest) >= 3)
    line.feed(0, rest[:1])
    line.messages(0, rest[1:2])  # matched, and lost on the way

    with pytest.raises(OffsetGap, match="match again from offset 1"):
        line.feed(0, rest[2:])


def test_a_story_passes_through_every_state() -> None:
    """The laws mean little unless alerts do fire."""
    states = [(1_000, "completed"), (2_000, "failed"), (3_000, "failed")]
    states += [(20_000 + 500 * number, "completed") for number in range(60)]
    happened = [Happening(START_MS + at, START_MS + at, event_at(UUID(int=at), at, state)) for at, state in states]

    found = run_whole(RULESET, happened, END_MS)

    assert {item.to_state for item in found} == {"pending", "firing", "recovering", "resolved", "no_data"}


def test_a_late_sample_never_causes_an_evaluation() -> None:
    """Once, the end of a late count was taken for the end of data, and `no_data: fire` fired in one split only."""
    late = Happening(START_MS, START_MS + 3_001, event_at(UUID(int=1), 0, "completed"))
    last = Happening(START_MS + 200_000, START_MS + 200_000, event_at(UUID(int=2), 200_000, "running"))

    found = run_whole(RULESET, [late, last], END_MS)

    assert [item for item in found if item.rule == "failing at all"] == []


def test_a_stamp_over_the_cap_counts_the_same_in_every_batch() -> None:
    """Once, a stamp that a pulse had capped was shown to the clock again after the next pulse had raised the cap."""
    pulse = [Pulse(sent_ms=START_MS + sent_ms, log_id=LOG_ID) for sent_ms in (10_000, 20_000)]
    event = Happening(START_MS, START_MS, event_at(UUID(int=1), 0, "completed")).value
    made = [
        Record(0, START_MS + 10_000, RecordKind.PULSE, "", encode_record(pulse[0])),
        Record(1, START_MS + 99_000, RecordKind.EVENT, "", event),
        Record(2, START_MS + 20_000, RecordKind.PULSE, "", encode_record(pulse[1])),
        Record(3, START_MS + 16_000, RecordKind.EVENT, "", event),
    ]
    whole, split = Line(RULESET), Line(RULESET)

    clocks = [message.clock_ms for message in whole.messages(0, made)]
    one_by_one = [message.clock_ms for record in made for message in split.messages(0, [record])]

    assert clocks[-1] == one_by_one[-1] == START_MS + 20_000
