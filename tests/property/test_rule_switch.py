"""Rule sets change while events pass: what follows hangs on the log alone, never on how it is read."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from operator import attrgetter
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS, Happening, event_at, happenings, in_order
from tests.property.switching import SwitchingLine, marker, read_in_order

from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.event import encode_event
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record

END_MS = START_MS + 600_000

# What a rule set may hold. `a` and `b` of a name mean something else; `told` only tells people otherwise.
VARIANTS = {
    "failing a": """
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 60s, min_samples: 2, clear_below: 10%}}
    for: 5s
    keep_firing_for: 10s
    no_data: resolve
""",
    "failing told": """
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 60s, min_samples: 2, clear_below: 10%}}
    for: 5s
    keep_firing_for: 10s
    no_data: resolve
    severity: critical
    labels: {team: data}
""",
    "failing b": """
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 20s, min_samples: 1}}
    no_data: resolve
    allowed_lateness: 3s
""",
    "failing c": """
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 60s, min_samples: 1, clear_below: 10%}}
    keep_firing_for: 2s
    allowed_lateness: 20s
""",
    "failing of t": """
  - name: failing
    tenant: t
    for_each: [flow]
    when: {failure_rate: {above: 40%, within: 40s, min_samples: 1}}
""",
    "any a": """
  - name: any
    when: {failure_rate: {above: 0%, within: 20s, min_samples: 1}}
    no_data: fire
    allowed_lateness: 3s
""",
    "often a": """
  - name: often
    match: {state: failed}
    for_each: [flow]
    when: {event: {times: 2, within: 30s}}
""",
    "often b": """
  - name: often
    match: {state: failed}
    when: {event: {times: 2, within: 30s}}
""",
    "late a": """
  - name: late
    for_each: [flow]
    when: {late: {after: 20s, within: 60s}}
""",
    "row a": """
  - name: row
    for_each: [flow]
    when: {consecutive_failures: {times: 2}}
    keep_firing_for: 5s
""",
    "row b": """
  - name: row
    for_each: [flow]
    when: {consecutive_failures: {times: 3, within: 60s}}
    no_data: resolve
""",
    "silent a": """
  - name: silent
    match: {state: running}
    for_each: [run]
    when: {absence: {after: 30s}}
    keep_firing_for: 5s
""",
    "silent b": """
  - name: silent
    match: {state: running}
    for_each: [run]
    when: {absence: {after: 20s}}
""",
    "long a": """
  - name: long
    for_each: [flow]
    when: {duration: {above: 20s}}
    keep_firing_for: 5s
""",
    "long b": """
  - name: long
    for_each: [flow]
    when: {duration: {above: 20s, quantile: 50%, within: 60s, min_samples: 1}}
    no_data: resolve
""",
    "change a": """
  - name: change
    for_each: [flow]
    when: {change: {of: events, within: 20s, trailing: 80s, min_samples: 1, sigma: 0}}
""",
    "change b": """
  - name: change
    for_each: [flow]
    when: {change: {of: failure_rate, within: 20s, trailing: 80s, min_samples: 1, min_windows: 2, sigma: 0}}
    no_data: resolve
    keep_firing_for: 5s
""",
    "burning a": """
  - name: burning
    for_each: [flow]
    when: {burn_rate: {objective: 90%, pairs: [{above: 4, within: 60s, short: 20s}], min_samples: 2}}
    keep_firing_for: 5s
""",
    "burning b": """
  - name: burning
    for_each: [flow]
    when:
      burn_rate:
        objective: 80%
        pairs: [{above: 4, within: 60s, short: 20s}, {above: 2, within: 4m, short: 30s}]
        min_samples: 1
    no_data: resolve
""",
    "missed a": """
  - name: missed
    for_each: [flow]
    when: {missed: {every: 30s, grace: 10s, completes_within: 40s, if_failed: skip}}
    keep_firing_for: 5s
""",
    "missed b": """
  - name: missed
    for_each: [flow]
    when: {missed: {cron: "* * * * *", dialect: debian, grace: 10s}}
""",
    "order a": """
  - name: order
    for_each: [run]
    when: {sequence: {steps: [{state: running}, {state: [completed, failed]}], within: 30s, fires_when: incomplete}}
    keep_firing_for: 5s
""",
    "order b": """
  - name: order
    for_each: [run]
    when: {sequence: {steps: [{state: running}, {state: [completed, failed]}], within: 60s}}
""",
    "joined a": """
  - name: joined
    for_each: [flow]
    when:
      all_of:
        within: 30s
        conditions:
          - {match: {state: crashed}, when: {event: {}}}
          - {when: {failure_rate: {above: 40%, within: 60s, min_samples: 2}}, for: 3s}
    keep_firing_for: 5s
""",
    "joined b": """
  - name: joined
    for_each: [flow]
    when:
      any_of:
        conditions:
          - {match: {state: running}, when: {absence: {after: 20s}}}
          - {when: {failure_rate: {above: 40%, within: 60s, min_samples: 2}}, for: 3s}
""",
    "crash a": """
  - name: each crash
    match: {state: crashed}
    for_each: [flow]
    when: {event: {}}
""",
    "crash b": """
  - name: each crash
    match: {state: [crashed, failed]}
    for_each: [flow]
    when: {event: {}}
""",
}
NAMES: dict[str, list[str]] = {}
for variant in VARIANTS:
    NAMES.setdefault(variant.split()[0], []).append(variant)


COMPILED = {name: parse_rules("rules.yaml", "rules:\n" + text).rules[0] for name, text in VARIANTS.items()}


def ruleset(variants: Sequence[str], version: int) -> RuleSet:
    """Return rule set `version` with these rules."""
    return RuleSet(tuple(COMPILED[name] for name in variants), version)


@st.composite
def rulesets(draw: st.DrawFn) -> dict[int, RuleSet]:
    """Draw 2 to 4 rule sets: rules stay, change, go and come back."""
    found: dict[int, RuleSet] = {}
    for version in range(1, draw(st.integers(2, 4)) + 1):
        chosen = [draw(st.sampled_from((None, *variants, variants[0]))) for variants in NAMES.values()]
        # A tenant's rule may stand beside the shared one that it hides.
        both = ["failing of t"] if chosen[0] in {"failing a", "failing told"} and draw(st.booleans()) else []
        found[version] = ruleset([name for name in [*chosen, *both] if name], version)
    return found


@st.composite
def logs(draw: st.DrawFn) -> tuple[dict[int, RuleSet], list[list[Record]]]:
    """Draw rule sets and the partitions of a log whose markers stand at random places; one may lack a marker."""
    sets = draw(rulesets())
    happened = draw(happenings(size_max=30, disorder_ms=12_000))
    partitions: list[list[Record]] = []
    count = draw(st.integers(1, 3))
    for source in range(count):
        records = [
            Record(0, item.append_ms, RecordKind.EVENT, "", item.value)
            for item in happened
            if events_partition(item.event.run or "", count) == source
        ]
        places = sorted(draw(st.lists(st.integers(0, 300_000), min_size=len(sets), max_size=len(sets))))
        last = max(sets)
        for version, place in zip(sets, places, strict=True):
            if version == last or draw(st.integers(0, 9)):
                records.append(marker(version, START_MS + place))
        records.sort(key=lambda record: record.append_ms)
        records.append(Record(0, END_MS, RecordKind.LOADED, "", b""))
        partitions.append([record._replace(offset=offset) for offset, record in enumerate(records)])
    return sets, partitions


def read_at_random(
    sets: dict[int, RuleSet], partitions: Sequence[Sequence[Record]], chance: random.Random
) -> list[Transition]:
    """Return the transitions of partitions read in random batches, with crashes before and after commits."""
    line = SwitchingLine(sets, partitions)
    rest = [list(records) for records in partitions]
    while any(rest):
        source = chance.choice([number for number, records in enumerate(rest) if records])
        size = chance.randint(1, min(8, len(rest[source])))
        messages = line.messages(source, rest[source][:size])
        rest[source] = rest[source][size:]
        if chance.random() < 0.3:
            line.detector.apply(messages)
            line.crash()  # before the commit: it never happened, and the same messages come again
        line.commit(line.detector.apply(messages))
        if chance.random() < 0.3:
            line.crash()
    return in_order(line.transitions)


@pytest.mark.timeout(120)
@given(drawn=logs(), seed=st.integers(0, 2**32))
def test_a_rule_switch_is_the_same_whatever_the_order_of_reading(
    drawn: tuple[dict[int, RuleSet], list[list[Record]]], seed: int
) -> None:
    sets, partitions = drawn

    found = read_at_random(sets, partitions, random.Random(seed))

    assert found == read_in_order(sets, partitions)


@given(drawn=logs())
def test_an_incident_goes_forward_step_by_step_over_every_switch(
    drawn: tuple[dict[int, RuleSet], list[list[Record]]],
) -> None:
    line = SwitchingLine(*drawn)
    for source, records in enumerate(drawn[1]):
        line.commit(line.detector.apply(line.messages(source, records)))
    incidents: dict[str, list[Transition]] = {}
    for item in line.transitions:
        incidents.setdefault(item.incident_id, []).append(item)

    for told in incidents.values():
        assert_goes_forward(told)


def assert_goes_forward(told: Sequence[Transition]) -> None:
    assert [item.seq for item in told] == list(range(len(told)))
    assert told[0].from_state == "inactive"
    for before, after in pairwise(told):
        assert after.from_state == before.to_state
        assert after.at_ms >= before.at_ms


def placeless(transitions: Sequence[Transition], names: set[str]) -> list[Transition]:
    """Return the transitions of rules by name, without the number of the rule set."""
    return [msgspec.structs.replace(item, rules_version=0) for item in transitions if item.rule in names]


@pytest.mark.timeout(120)
@given(
    drawn=logs(),
    variant=st.sampled_from(
        (
            *("failing a", "late a", "crash a", "often a", "any a", "long a", "long b", "change a", "change b"),
            *("joined a", "joined b"),
        )
    ),
)
def test_an_unchanged_rule_does_not_notice_a_switch(
    drawn: tuple[dict[int, RuleSet], list[list[Record]]], variant: str
) -> None:
    sets, partitions = drawn
    name = ruleset([variant], 1).rules[0].rule.name
    kept = {
        version: replace(
            each, rules=(*ruleset([variant], 1).rules, *(rule for rule in each.rules if rule.rule.name != name))
        )
        for version, each in sets.items()
    }
    alone = dict.fromkeys(sets, ruleset([variant], 1))

    found = placeless(read_in_order(kept, partitions), {name})

    assert found == placeless(read_in_order(alone, partitions), {name})


def story_at(*moments: tuple[int, int, str]) -> list[Record]:
    """Return events of flow a, (occurred, append, state) in ms after the start, as records."""
    return [
        Record(0, START_MS + append, RecordKind.EVENT, "", encode_event(event_at(UUID(int=number + 1), at, state)))
        for number, (at, append, state) in enumerate(moments)
    ]


def story(*states: tuple[int, str]) -> list[Record]:
    """Return events of flow a, (ms after the start, state), as records."""
    happened = [Happening(START_MS + at, START_MS + at, event_at(UUID(int=at), at, state)) for at, state in states]
    return [Record(0, item.append_ms, RecordKind.EVENT, "", item.value) for item in happened]


def told(sets: dict[int, RuleSet], *parts: list[Record] | Record) -> list[Transition]:
    """Return the transitions of one partition that holds `parts` one after the other."""
    records: list[Record] = []
    for part in parts:
        records += [part] if isinstance(part, Record) else part
    records.append(Record(0, END_MS, RecordKind.LOADED, "", b""))
    return read_in_order(sets, [[record._replace(offset=offset) for offset, record in enumerate(records)]])


OUTAGE = ((1_000, "failed"), (2_000, "failed"), (3_000, "failed"))


def test_a_removed_rule_resolves_its_open_incident_with_that_reason() -> None:
    sets = {1: ruleset(["often a"], 1), 2: ruleset([], 2)}

    opened, closed = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 20_000))

    assert (opened.to_state, closed.to_state) == ("firing", "resolved")
    assert closed.incident_id == opened.incident_id
    assert closed.reason == "the rule was removed"
    assert closed.at_ms == START_MS + 20_000
    assert (opened.rules_version, closed.rules_version) == (1, 2)


def test_a_pending_alert_of_a_removed_rule_lapses() -> None:
    sets = {1: ruleset(["failing a"], 1), 2: ruleset([], 2)}

    pending, lapsed = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 12_000 + 2_000))

    assert (pending.to_state, lapsed.to_state) == ("pending", "inactive")
    assert lapsed.reason == "the rule was removed"


def test_a_changed_rule_keeps_its_incident_open_under_the_same_id() -> None:
    sets = {1: ruleset(["failing a"], 1), 2: ruleset(["failing b"], 2)}
    healthy = tuple((60_000 + 1_000 * number, "completed") for number in range(5))

    found = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 50_000), story(*healthy))

    assert [(item.to_state, item.rules_version) for item in found] == [("pending", 1), ("firing", 1), ("resolved", 2)]
    assert len({item.incident_id for item in found}) == 1
    assert [item.seq for item in found] == [0, 1, 2]


def test_a_changed_rule_that_sees_nothing_more_ends_as_no_data_says_when_its_new_window_is_full() -> None:
    sets = {1: ruleset(["failing a"], 1), 2: ruleset(["failing b"], 2)}

    *_, closed = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 50_000))

    assert closed.to_state == "resolved"
    assert closed.at_ms == START_MS + 50_000 + 20_000


def test_a_changed_rule_says_nothing_of_the_time_before_it_was_in_force() -> None:
    """Once, events told of after the switch and older than it moved the incident at panes before the switch."""
    sets = {1: ruleset(["failing a"], 1), 2: ruleset(["failing b"], 2)}
    older = story_at((48_500, 50_500, "completed"))
    last = story((51_500, "completed"))

    *_, closed = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 50_000), older, last)

    assert (closed.to_state, closed.at_ms - START_MS, closed.samples) == ("resolved", 52_000, 2)


def test_a_wait_that_the_changed_rule_finds_over_ends_after_the_switch() -> None:
    sets = {1: ruleset(["failing a"], 1), 2: ruleset(["failing c"], 2)}
    healthy = tuple((60_500 + 100 * number, "completed") for number in range(20))
    older = story_at((74_000, 75_600, "completed"))

    found = told(sets, marker(1, START_MS), story(*OUTAGE), story(*healthy), marker(2, START_MS + 75_500), older)

    assert [(item.to_state, item.at_ms - START_MS) for item in found[-2:]] == [
        ("recovering", 63_000),
        ("resolved", 76_000),
    ]


def test_a_rule_with_another_group_cannot_carry_on_and_says_so() -> None:
    sets = {1: ruleset(["often a"], 1), 2: ruleset(["often b"], 2)}

    _, closed = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 20_000))

    assert (closed.to_state, closed.reason) == ("resolved", "the rule was changed")


def test_a_tenants_own_rule_carries_on_the_incident_of_the_rule_it_hides() -> None:
    sets = {1: ruleset(["failing a"], 1), 2: ruleset(["failing a", "failing of t"], 2)}
    more = ((60_000, "completed"), (61_000, "completed"))

    found = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 50_000), story(*more))

    assert [item.to_state for item in found] == ["pending", "firing", "resolved"]
    assert len({item.incident_id for item in found}) == 1


def test_a_rule_that_only_tells_people_otherwise_keeps_its_window() -> None:
    sets = {1: ruleset(["failing a"], 1), 2: ruleset(["failing told"], 2)}

    found = told(sets, marker(1, START_MS), story(*OUTAGE), marker(2, START_MS + 16_000))

    assert [(item.to_state, item.severity, item.at_ms - START_MS) for item in found] == [
        ("pending", "warning", 3_000),
        ("firing", "critical", 8_000),
        ("recovering", "critical", 64_000),
        ("resolved", "critical", 74_000),
    ]


def test_a_rule_that_comes_back_starts_anew() -> None:
    sets = {1: ruleset(["often a"], 1), 2: ruleset([], 2), 3: ruleset(["often a"], 3)}

    found = told(
        sets,
        marker(1, START_MS),
        story(*OUTAGE),
        marker(2, START_MS + 14_000),
        marker(3, START_MS + 15_000),
        story((16_000, "failed"), (17_000, "failed")),
    )

    assert [item.to_state for item in found] == ["firing", "resolved", "firing", "resolved"]
    assert len({item.incident_id for item in found}) == 2


def test_a_late_sample_that_stands_aside_over_a_switch_counts_once_after_a_restart() -> None:
    sets = {1: ruleset([], 1), 2: ruleset(["late a"], 2)}
    late, in_time = story_at((0, 10_001, "late"), (10_000, 10_002, "late"))
    first = [marker(1, START_MS), marker(2, START_MS + 1), late, in_time]
    partitions = [
        [record._replace(offset=offset) for offset, record in enumerate(first)],
        [marker(1, START_MS), marker(2, START_MS + 1)._replace(offset=1)],
    ]
    ends = [[Record(len(each), END_MS, RecordKind.LOADED, "", b"")] for each in partitions]
    line = SwitchingLine(sets, partitions)

    for source, records in (
        (0, partitions[0]),
        (1, partitions[1][:1]),
        (1, partitions[1][1:]),
        (0, ends[0]),
        (1, ends[1]),
    ):
        line.commit(line.detector.apply(line.messages(source, records)))
        line.crash()

    assert line.transitions[0].late_samples == 1


def test_an_incident_goes_forward_where_its_rule_was_removed_and_comes_back() -> None:
    sets = {1: ruleset(["often a"], 1), 2: ruleset([], 2), 3: ruleset(["often a"], 3)}
    end = Record(0, END_MS, RecordKind.LOADED, "", b"")
    slow = [marker(1, START_MS), *story((1_000, "failed"), (2_000, "failed")), marker(3, START_MS + 20_000), end]
    ahead = [marker(3, START_MS), *story((1_001, "failed"), (2_001, "failed")), end]

    partitions = [[record._replace(offset=at) for at, record in enumerate(each)] for each in (slow, ahead)]
    found = read_in_order(sets, partitions)

    first, second = (list(told) for _, told in groupby(found, attrgetter("incident_id")))
    assert_goes_forward(first)
    assert_goes_forward(second)
    assert second[0].at_ms > first[-1].at_ms


def test_a_run_that_ended_is_not_watched_anew_after_a_restart_that_still_has_its_start() -> None:
    text = "rules: [{name: long, for_each: [run], when: {duration: {above: 10s}}}]"
    long_runs = parse_rules("rules.yaml", text).rules
    line = SwitchingLine({1: RuleSet(long_runs, 1), 2: RuleSet(long_runs, 2)}, [[]])
    records = [
        marker(1, START_MS),
        *story_at((1_000, 2_000, "cancelled"), (0, 9_000, "running")),
        *story_at((13_500, 13_500, "scheduled")),
        marker(2, START_MS + 14_000),  # the key is written, blank
        *story_at((15_000, 15_000, "scheduled")),
        Record(0, END_MS, RecordKind.LOADED, "", b""),
    ]

    for offset, record in enumerate(records):
        line.commit(line.detector.apply(line.messages(0, [record._replace(offset=offset)])))
        line.crash()

    assert line.transitions == []
