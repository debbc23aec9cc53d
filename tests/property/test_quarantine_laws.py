"""Where a partition stops follows from the log alone, wherever the sink is killed, and nothing past it is lost."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.clickhouse.memory import Faults, Killed, MemoryLog, MemoryTables
from tests.property.test_intent_crashes import EVENTS_SPEC, KINDS, expected_rows, letter_place, record

from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.sinks.clickhouse.batch import Limits
from flowgauge.sinks.clickhouse.intent import read_position
from flowgauge.sinks.clickhouse.quarantine import SLICES, Quarantine, Tally, place_of
from flowgauge.sinks.clickhouse.sink_app import GROUP, run_sink
from flowgauge.transport.health import Health
from flowgauge.transport.log import Committed

PART = "sink flowgauge.events, partition {}"
NOTHING = Committed(0)
TURNS_MAX = 20_000  # each a step of the sink: far more than any of these needs
NEVER = Quarantine(run_max=10**9, percent_max=100)

outcomes = st.lists(st.booleans(), max_size=60)
quarantines = st.builds(
    Quarantine,
    run_max=st.integers(1, 6),
    percent_max=st.integers(5, 100),
    letters_min=st.integers(1, 6),
    span=st.sampled_from([8, 16, 40]),
)


def excess_at(of: Sequence[bool], quarantine: Quarantine) -> int | None:
    """Return the index of the first event that is one too many, counted slowly; True goes to the dlq."""
    size = quarantine.span // SLICES
    for index, is_letter in enumerate(of):
        window = of[max(0, (index // size - SLICES + 1) * size) : index + 1]
        run = 0
        while run <= index and of[index - run]:
            run += 1
        share = 100 * sum(window) > quarantine.percent_max * len(window)
        if is_letter and (run > quarantine.run_max or (sum(window) >= quarantine.letters_min and share)):
            return index
    return None


@given(outcomes, quarantines)
def test_counting_in_slices_stops_where_counting_one_by_one_does(of: list[bool], quarantine: Quarantine) -> None:
    tally, stopped = Tally(), None
    for index, is_letter in enumerate(of):
        tally = quarantine.diverted(tally, "") if is_letter else quarantine.stored(tally, 1)
        if is_letter and quarantine.excess(tally):
            stopped = index
            break

    assert stopped == excess_at(of, quarantine)


@given(outcomes, st.integers(0, 500), quarantines)
def test_many_stored_events_count_like_one_after_another(of: list[bool], count: int, quarantine: Quarantine) -> None:
    tally = Tally()
    for is_letter in of:
        tally = quarantine.diverted(tally, "") if is_letter else quarantine.stored(tally, 1)
    one_by_one = tally
    for _ in range(count):
        one_by_one = quarantine.stored(one_by_one, 1)

    assert quarantine.stored(tally, count) == one_by_one


records = st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 2_000))
kills = st.tuples(st.integers(0, 14), st.sampled_from(["before", "after", "amid"]))


@pytest.mark.timeout(240)
@given(
    rounds=st.lists(st.tuples(st.lists(records, max_size=14), kills), min_size=1, max_size=6),
    rows_max=st.integers(1, 6),
    skips_max=st.integers(1, 3),
    quarantine=quarantines,
    troubles=st.lists(st.sampled_from(["before", "after", "later", "claimed", ""]), max_size=4),
)
@example(
    rounds=[([("event", 0, 1), *[("invalid", 0, 1)] * 9, ("event", 0, 1)], (3, "after"))],
    rows_max=6,
    skips_max=3,
    quarantine=replace(NEVER, run_max=4),
    troubles=[],
)
@example(
    rounds=[([("event", 0, 1), *[("poison", 0, 1)] * 9, ("event", 0, 1)], (3, "after"))],
    rows_max=6,
    skips_max=1,
    quarantine=replace(NEVER, run_max=2),
    troubles=[],
)
@example(
    rounds=[([("poison", 0, 0), ("invalid", 0, 0), ("event", 0, 0)], (-1, ""))],
    rows_max=1,
    skips_max=1,
    quarantine=replace(NEVER, run_max=1),
    troubles=[],
)
def test_a_partition_stops_at_the_same_event_wherever_the_sink_is_killed_and_goes_on_from_there(  # noqa: PLR0917  # drawn by name
    rounds: list[tuple[list[tuple[str, int, int]], tuple[int, str]]],
    rows_max: int,
    skips_max: int,
    quarantine: Quarantine,
    troubles: list[str],
) -> None:
    async def scenario() -> None:
        log, tables = MemoryLog({EVENTS: 3}, stride=2), MemoryTables(troubles=list(troubles))
        limits = Limits(
            rows_max,
            skips_max=skips_max,
            refused_max=1,
            age_max_ms=0,
            idle_age_max_ms=0,
            backoff_ms=0,
            quarantine=quarantine,
        )
        serial = 0
        for made, (kill_at, when) in rounds:
            for kind, partition, step_ms in made:
                log.now_ms += step_ms
                log.put(EVENTS, [record(kind, partition, log.now_ms, serial := serial + 1)])
            await run_until_settled(log, tables, limits, Faults(kill_at, when))
        health = await run_until_settled(log, tables, limits, Faults())
        stops = {partition: stop_of(log, partition, quarantine) for partition in range(3)}
        rows, refused = expected_rows(log)

        assert places(tables) == [(p, at) for p, at, _ in rows if is_before(at, stops[p])]
        assert letters(log) == {(p, at, why) for p, at, why in refused if is_before(at, stops[p])}
        for partition, stop in stops.items():
            told = health.problems.get(PART.format(partition), "")
            assert (f"stopped before {place_of(EVENTS, partition, stop)}:" in told) if stop is not None else not told

        passing = replace(limits, quarantine=NEVER)
        await run_until_settled(log, tables, passing, Faults())
        assert places(tables) == [(p, at) for p, at, _ in rows]
        assert letters(log) == refused

    anyio.run(scenario)


def test_a_place_that_is_passed_begins_the_counting_anew() -> None:
    async def scenario() -> None:
        log, tables = MemoryLog({EVENTS: 1}), MemoryTables()
        for number in range(10):
            log.put(EVENTS, [record("invalid", 0, log.now_ms, number)])
        log.put(EVENTS, [record("event", 0, log.now_ms, 99)])
        limits = Limits(age_max_ms=0, idle_age_max_ms=0, backoff_ms=0, quarantine=replace(NEVER, run_max=4))

        first = await run_until_settled(log, tables, limits, Faults())
        again = await run_until_settled(log, tables, limits, Faults())
        passes = replace(limits, quarantine=replace(limits.quarantine, go_on=frozenset({"flowgauge.events-0@4"})))
        second = await run_until_settled(log, tables, passes, Faults())

        line = first.problems[PART.format(0)]
        assert line == again.problems[PART.format(0)]
        assert line.startswith(
            "stopped before flowgauge.events-0@4: more than 4 events in a row (quarantine.run_max) would go to the "
            "dlq, the last for: wrong field (mend "
        )
        assert "stopped before flowgauge.events-0@8" in second.problems[PART.format(0)]
        assert "missing required field" in first.operator_problems[PART.format(0)]
        assert len(letters(log)) == 8

    anyio.run(scenario)


async def run_until_settled(log: MemoryLog, tables: MemoryTables, limits: Limits, faults: Faults) -> Health:
    """Run the sink until every partition is committed to where it ends or stops, or it is killed."""
    log.faults = tables.faults = faults
    log.readers.clear()
    stop, health = asyncio.Event(), Health(sink_behind=-1)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_sink(log, tables, stop=stop, health=health, specs=EVENTS_SPEC, limits=limits))
            for _ in range(TURNS_MAX):
                if is_settled(log, health):
                    break
                await asyncio.sleep(0)
            else:
                raise AssertionError(f"never settled: {log.offsets} {health.problems}")
            stop.set()
    except* Killed:
        assert faults.dead
    return health


def is_settled(log: MemoryLog, health: Health) -> bool:
    for partition in range(log.partitions(EVENTS)):
        position = read_position(log.offsets.get((EVENTS, GROUP), {}).get(partition, NOTHING))
        rest = [each.offset for each in log.of(EVENTS, partition) if each.offset >= position.offset]
        told = health.problems.get(PART.format(partition), "")
        is_stopped = any(told.startswith(f"stopped before {place_of(EVENTS, partition, at)}:") for at in rest[:1])
        if position.intent is not None or (rest and not is_stopped):
            return False
    return True


def stop_of(log: MemoryLog, partition: int, quarantine: Quarantine) -> int | None:
    refused = {at for p, at, _ in expected_rows(log)[1] if p == partition}
    events = [r.offset for r in log.of(EVENTS, partition) if r.kind == RecordKind.EVENT and r.value is not None]
    index = excess_at([at in refused for at in events], quarantine)
    return None if index is None else events[index]


def is_before(offset: int, stop: int | None) -> bool:
    return stop is None or offset < stop


def places(tables: MemoryTables) -> list[tuple[object, object]]:
    return sorted((row["_partition"], row["_offset"]) for row in tables.rows("flowgauge.events"))


def letters(log: MemoryLog) -> set[tuple[int, int, str]]:
    return {letter_place(each.value) for each in log.of(DLQ, 0)}
