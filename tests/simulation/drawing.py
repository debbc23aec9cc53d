"""Draws a small world from its seed: rule sets that change, a log with every kind of disorder, steps with faults.

runs ──► events ──► partition = hash of the run ──► stamped late, early, twice, by a clock that jumps
                                                    read at its own pace, with stalls; processes die and freeze
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from tests.simulation.drawn_rules import COMPOUNDS, DRAWN, NO_CONDITIONS, drawn_rule
from tests.simulation.simulated_log import START_MS
from tests.simulation.story import PULSE_EVERY_MS, DrawnRule, Entry, Fate, Happened, Step, Story, is_told_at_once

from flowgauge.schemas.ids import events_partition

BUSY_MS = 90_000
END_MS = START_MS + 200_000  # by then all but the longest windows are empty, and every run is judged
TENANTS = ("t", "t", "t", "u")
FLOWS = ("a", "b")
ENDS = ("completed", "failed", "crashed", "cancelled")
STRAY = ("scheduled", "late", "running", "paused", "retrying", *ENDS)
JUMPS_MS = (0, 0, 0, -20_000, 4_000, 30_000)  # of a broker's clock, for a while
TICK_MS = 4_000
RULES = 4
NAMING_CHANCE = 0.7  # of each rule: as a compound it names another, where one has its key
STALL_CHANCE = 0.3  # of each source: once it stands still for half of the time
CRASH_CHANCE = 0.04  # of each step


def drawn_story(seed: int) -> Story:
    """Draw the world of a seed."""
    draw = random.Random(seed)
    partitions, samples_partitions = draw.randint(3, 4), draw.randint(2, 3)
    sets = _sets(draw)
    happened = _events(draw)
    log = tuple(
        _partition(draw, [each for each in happened if events_partition(each.run, partitions) == source], len(sets))
        for source in range(partitions)
    )
    steps = tuple(_steps(draw, log, samples_partitions))
    return Story(seed, sets, log, steps, samples_partitions, processes=draw.randint(2, 3))


# ── rules ──


def _sets(draw: random.Random) -> tuple[tuple[DrawnRule, ...], ...]:
    """Draw 1 to 3 rule sets: rules stay, change, also into another kind, go and come back."""
    kinds = draw.sample(sorted(DRAWN), RULES)
    variants: list[list[DrawnRule]] = []
    for number, kind in enumerate(kinds):
        name = f"rule {number}"
        other = draw.choice((kind, kind, draw.choice(sorted(DRAWN))))
        variants.append([drawn_rule(draw, name, kind), drawn_rule(draw, name, other)])
    first = tuple(each[0] for each in variants)
    sets = [first]
    for _ in range(draw.choice((0, 0, 1, 2))):
        chosen = [draw.choice((None, each[0], each[0], each[1])) for each in variants]
        sets.append(tuple(rule for rule in chosen if rule is not None))
    namers = {f"rule {number}" for number in range(RULES) if draw.random() < NAMING_CHANCE}
    return tuple(tuple(_naming(rule, rules) if rule.name in namers else rule for rule in rules) for rules in sets)


def _naming(rule: DrawnRule, rules: Sequence[DrawnRule]) -> DrawnRule:
    """Return a compound with a rule of its set as the first condition, where one has its key; it waits as long."""
    can_be_named = (each for each in rules if each.kind not in NO_CONDITIONS and each.for_each == rule.for_each)
    named = next(can_be_named, None)
    if rule.kind not in COMPOUNDS or named is None or (is_told_at_once(named) and "within" not in rule.fields):
        return rule
    conditions = (named, *rule.fields["conditions"][1:])
    return replace(rule, fields={**rule.fields, "conditions": conditions}, lateness_ms=named.lateness_ms)


# ── events ──


def _events(draw: random.Random) -> list[Happened]:
    found: list[Happened] = []
    outage_ms = draw.randrange(BUSY_MS)
    for number in range(draw.randint(10, 24)):
        tenant, flow = draw.choice(TENANTS), draw.choice(FLOWS)
        due_ms = START_MS + draw.randrange(BUSY_MS)
        is_failing = START_MS + outage_ms <= due_ms < START_MS + outage_ms + 30_000
        for at_ms, state in _run(draw, due_ms, is_failing=is_failing):
            due = due_ms if draw.random() < 0.7 else None
            kind, event = ("flow-run", f"flow-run.{state}") if state else ("log", "log.write")
            run = f"{flow}-{number}"
            found.append(Happened(len(found), at_ms, tenant, flow, run, kind, event, state, due))
    return found


def _run(draw: random.Random, due_ms: int, *, is_failing: bool) -> Iterator[tuple[int, str]]:
    """Yield (when, state) of one run, coarse now and then so that times are equal; "" is a line of its log."""
    if draw.random() < 0.15:  # one whose states make no sense
        for _ in range(draw.randint(1, 6)):
            yield due_ms + draw.randrange(0, 20_000, 1_000), draw.choice(STRAY)
        return
    started_ms = due_ms + draw.choice((0, draw.randrange(3_000), draw.randrange(20_000)))
    ended_ms = started_ms + draw.choice((1_000, draw.randrange(5_000), draw.randrange(30_000)))
    yield due_ms - draw.choice((0, 2_000)), "scheduled"
    if started_ms > due_ms + 5_000:
        yield due_ms + 5_000, "late"
    yield started_ms, "running"
    for _ in range(draw.randrange(4)):
        yield draw.randrange(started_ms, ended_ms + 1), ""
    if draw.random() < 0.9:
        yield ended_ms, draw.choices(ENDS, (1, 6, 2, 1) if is_failing else (12, 3, 1, 1))[0]


# ── the log ──


def _partition(draw: random.Random, happened: Sequence[Happened], sets: int) -> tuple[Entry, ...]:
    """Return the records of one partition as its broker stamps them."""
    sent = [Entry(arrived_ms, each) for each in happened for arrived_ms in _arrivals(draw, each.occurred_ms)]
    sent += [Entry(START_MS + each, None, version) for version, each in _markers(draw, sets)]
    sent += [Entry(moment_ms) for moment_ms in range(START_MS, END_MS + 1, PULSE_EVERY_MS)]
    sent.sort(key=lambda entry: entry.append_ms)
    jump_ms, begin_ms = draw.choice(JUMPS_MS), START_MS + draw.randrange(BUSY_MS)
    return tuple(
        entry._replace(append_ms=entry.append_ms + jump_ms)
        if begin_ms <= entry.append_ms < begin_ms + 30_000 and (entry.happened or entry.version)
        else entry
        for entry in sent
    )


def _arrivals(draw: random.Random, occurred_ms: int) -> Iterator[int]:
    fate = draw.random()
    if fate < 0.06:
        yield occurred_ms + draw.randrange(8_000, 40_000)
    elif fate < 0.08:
        yield occurred_ms - draw.randrange(5_000, 15_000)
    else:
        yield occurred_ms + draw.choice((0, draw.randrange(1_000), draw.randrange(10_000)))
    if draw.random() < 0.15:
        yield occurred_ms + draw.choice((draw.randrange(3_000), draw.randrange(30_000)))


def _markers(draw: random.Random, sets: int) -> Iterator[tuple[int, int]]:
    """Yield where each rule set is announced; one but the last may be skipped."""
    yield 1, draw.choice((0, 0, 0, draw.randrange(10_000)))
    for version in range(2, sets + 1):
        if version == sets or draw.random() < 0.9:
            yield version, BUSY_MS * (version - 1) // sets + draw.randrange(15_000)


# ── what happens to the processes ──


def _steps(draw: random.Random, log: Sequence[Sequence[Entry]], samples_partitions: int) -> Iterator[Step]:
    stalls = [_stall(draw) for _ in log]
    arrivals = [list(accumulate((entry.append_ms for entry in entries), max)) for entries in log]
    for now_ms in range(START_MS, END_MS, TICK_MS):
        for source, moments in enumerate(arrivals):
            if now_ms not in stalls[source] and draw.random() < 0.5:
                until = bisect_right(moments, now_ms - draw.choice((0, 0, 5_000)))
                yield _match_step(draw, now_ms, source, until, samples_partitions)
        for partition in range(samples_partitions):
            if draw.random() < 0.4:
                fate: Fate = ""
                if draw.random() < CRASH_CHANCE:
                    fate = draw.choice(("dies before", "dies after", "freezes"))
                yield Step(now_ms, "detect", partition, draw.randint(1, 8), fate)


def _stall(draw: random.Random) -> range:
    if draw.random() > STALL_CHANCE:
        return range(0)
    begin_ms = START_MS + draw.randrange(BUSY_MS)
    return range(begin_ms, begin_ms + BUSY_MS)


def _match_step(  # noqa: PLR0917  # a step, in its order
    draw: random.Random, now_ms: int, source: int, until: int, samples_partitions: int
) -> Step:
    if draw.random() > CRASH_CHANCE:
        return Step(now_ms, "match", source, until)
    sent = tuple(draw.choice((-1, 0, draw.randint(1, 30))) for _ in range(samples_partitions))
    return Step(now_ms, "match", source, until, "dies", sent)
