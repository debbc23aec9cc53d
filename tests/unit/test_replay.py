"""The replay of files: append times, partitions, bad lines, and the captured outage, to the same ids each time."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.captures import captured
from tests.property.detection import START_MS

from flowgauge.processors.replay import PARTITIONS_MAX, Replay, transition_row
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import Transition

GOLDEN = Path(__file__).parents[1] / "golden" / "replay"
EACH = "rules: [{name: each, for_each: [flow], missing_key: share, when: {event: {}}}]"
FAILING = "rules: [{name: failing, when: {failure_rate: {above: 50%, within: 20s, min_samples: 1}}}]"
LATE_MS = 10_001
CAPTURED = """
rules:
  - name: flow failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 2m, min_samples: 3, clear_below: 35%}}
  - name: runs late
    when: {late: {after: 1m, at_least: 5, within: 5m}}
"""


def rules(text: str) -> RuleSet:
    return parse_rules("rules.yaml", text)


def line(number: int, at: int, **fields: object) -> bytes:
    """Return a line of a failed run that occurred `at` ms after START."""
    event = {
        "id": f"00000000-0000-0000-0000-{number:012}",
        "occurred": rfc3339(START_MS + at),
        "event": "x",
        "kind": "flow-run",
        "state": "failed",
        "resource": {"id": "r"},
    }
    return msgspec.json.encode(event | fields)


class Run:
    """One replay of some lines."""

    def __init__(self, *lines: bytes, text: str = FAILING, until: int | None = None) -> None:
        self.problems: list[tuple[int, str]] = []
        replay = Replay(
            lambda: lines,
            rules(text),
            until_ms=None if until is None else START_MS + until,
            report=lambda number, problem: self.problems.append((number, problem)),
        )
        self.told = list(replay.transitions())
        self.counts = replay.counts

    def states(self) -> list[tuple[str, int]]:
        return [(item.to_state, item.at_ms - START_MS) for item in self.told]


# ── time ──


def test_the_clock_ends_at_the_last_append() -> None:
    run = Run(line(1, 500), line(2, 11_000))
    assert run.states() == [("firing", 1_000)]

    run = Run(line(1, 500), line(2, 10_999))
    assert run.states() == []


def test_until_moves_the_clock_and_cuts_off_what_was_appended_after_it() -> None:
    assert Run(line(1, 500), until=11_000).states() == [("firing", 1_000)]
    assert Run(line(1, 500), line(2, 11_001), until=11_000).told[0].samples == 1
    assert Run(line(1, 500), until=11_000).counts.clock_ms == START_MS + 11_000


def test_the_append_time_is_the_largest_occurred_so_far_where_none_is_written() -> None:
    run = Run(line(1, 60_000), line(2, 60_000 - LATE_MS), line(3, 90_000))

    assert run.counts.late == 1


@pytest.mark.parametrize("append", [START_MS + LATE_MS, rfc3339(START_MS + LATE_MS)])
def test_a_written_append_time_counts_in_either_form(append: object) -> None:
    run = Run(line(1, 0, _append=append), line(2, 1, _append=START_MS + LATE_MS), until=60_000)

    assert (run.counts.late, run.told[0].samples) == (1, 1)


def test_times_finer_than_microseconds_are_cut_as_the_gateway_cuts_them() -> None:
    finer = rfc3339(START_MS + 999).replace("Z", "9999Z")

    assert Run(line(1, 0, occurred=finer), until=60_000).states() == [("firing", 1_000)]
    assert Run(line(1, 0, occurred=finer)).counts.clock_ms == START_MS + 999
    assert Run(line(1, 0, _append=finer)).counts.clock_ms == START_MS + 999


def test_a_line_that_no_rule_could_match_moves_the_clock() -> None:
    assert Run(line(1, 500), line(2, 11_000, kind="log")).states() == [("firing", 1_000)]
    assert Run(line(1, 500), line(2, 11_000, event=7)).states() == [("firing", 1_000)]


# ── tenants and bad lines ──


def test_a_missing_tenant_is_the_default_one() -> None:
    run = Run(line(1, 0), line(2, 1, tenant="acme"), text=EACH)

    assert [item.tenant for item in run.told] == ["default", "acme"]


@pytest.mark.parametrize("tenant", [None, ""])
def test_a_tenant_that_says_nothing_is_the_default_one(tenant: str | None) -> None:
    run = Run(line(1, 0, tenant=tenant), text=EACH)

    assert ([item.tenant for item in run.told], run.counts.invalid) == (["default"], 0)


def test_what_a_file_says_only_after_the_first_look_is_told_or_left_for_the_next_time() -> None:
    """Once, a line of a new partition that was written meanwhile raised KeyError."""
    looks = iter([[line(1, 0), b'{"_partit'], [line(1, 0), line(2, 1, _partition=3), line(3, 2, _partition=4)]])
    problems: list[tuple[int, str]] = []
    replay = Replay(lambda: next(looks), rules(EACH), report=lambda number, told: problems.append((number, told)))

    assert len(list(replay.transitions())) == 1
    assert problems == [(2, "`_partition` 3 was not there at the first look: the file changes while it is read")]
    assert replay.counts.lines == 2


def test_a_time_far_beyond_ours_moves_no_clock() -> None:
    run = Run(line(1, 0, occurred="9999-12-31T23:59:59.000001Z"), line(2, 0), text=EACH)

    assert [number for number, _ in run.problems] == [1]
    assert run.counts.clock_ms == START_MS


def test_space_of_any_kind_before_a_line_does_not_matter() -> None:
    assert Run(b"\x0c" + line(1, 0, _partition=3), text=EACH).problems == []


def test_blank_lines_and_space_around_lines_do_not_matter() -> None:
    run = Run(b"\n", b"  " + line(1, 0) + b" \r\n", b"   ", text=EACH)

    assert (run.counts.lines, run.problems, len(run.told)) == (1, [], 1)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"{", "truncated"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"\xff\xfe", "malformed"),
        (line(9, 0, _partition=-1), f"`_partition` -1 is not within 0 and {PARTITIONS_MAX - 1}"),
        (line(9, 0, _partition=PARTITIONS_MAX), "`_partition` 1024 is not within"),
        (line(9, 0, _partition="a"), "Expected `int`, got `str` - at `$._partition`"),
        (line(9, 0, occurred="2026-11-23T09:41:06"), "neither `occurred` nor `_append` as a time with a zone"),
        (line(9, 0, occurred=None), "neither `occurred` nor `_append`"),
        (line(9, 0, _append=True), "at `$._append`"),
        (line(9, 0, _append=10**18), "`_append` 1000000000000000000 is no time"),
        (line(9, 0, _append=str(START_MS)), "at `$._append`"),
        (line(9, 0, _append=-1), "`_append` -1 is no time"),
        (line(9, 0, tenant=5), "Expected `str | null`, got `int` - at `$.tenant`"),
        (b'{"payload":' * 100_000, "recursion"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_its_neighbours_count(bad: bytes, problem: str) -> None:
    run = Run(line(1, 0), bad, line(2, 1), text=EACH)

    ((number, told),) = run.problems
    assert number == 2
    assert problem.lower() in told.lower()
    assert (len(run.told), run.counts.skipped, run.counts.lines) == (2, 1, 3)


def test_a_line_that_a_rule_could_match_but_that_is_no_event_is_counted() -> None:
    run = Run(line(1, 0, resource={}), line(2, 1), text=EACH)

    assert (run.counts.invalid, len(run.told)) == (1, 1)


def test_no_lines_at_all_tell_nothing() -> None:
    assert Run().told == []


# ── partitions ──


def test_a_partition_whose_lines_are_over_holds_the_clock_no_more() -> None:
    lines = [line(1, 0, _partition=1), *(line(number, number * 100) for number in range(2, 600))]

    found = Run(*lines)

    assert found.states() == [("firing", 1_000)]


def test_a_line_that_was_cut_off_holds_no_clock() -> None:
    lines = [*(line(number, 1_000 * number, _partition=1) for number in range(2_000)), b'{"id":"cut of']
    read = 0

    def read_lines() -> Iterator[bytes]:
        nonlocal read
        for read, each in enumerate(lines):  # noqa: B007  # read by the test
            yield each

    next(Replay(read_lines, rules(FAILING)).transitions())

    assert read < len(lines) // 2


def test_a_partition_number_that_no_line_has_holds_nothing() -> None:
    assert Run(line(1, 500, _partition=3), line(2, 11_000, _partition=7)).states() == [("firing", 1_000)]


def test_a_partition_whose_key_is_written_with_an_escape_is_a_partition() -> None:
    escaped = line(2, 11_000, _partition=1).replace(b'"_partition"', b'"\\u005fpartition"')

    assert Run(line(1, 500, _partition=1), escaped).states() == [("firing", 1_000)]


# ── captures ──


def over_partitions(name: str, partitions: int) -> Iterator[bytes]:
    """Yield captured lines, each run in one of `partitions`."""
    for each in captured(name):
        fields = msgspec.json.decode(each)
        number = events_partition(fields.get("run") or fields["resource"]["id"], partitions)
        yield b'{"_partition":%d,' % number + each[1:]


def found_in(name: str, partitions: int) -> list[Transition]:
    return list(Replay(lambda: over_partitions(name, partitions), rules(CAPTURED)).transitions())


@pytest.mark.parametrize("name", ["outage", "late"])
def test_a_capture_tells_the_same_story_every_time(name: str) -> None:
    golden = GOLDEN / f"{name}.jsonl"

    found = b"".join(msgspec.json.encode(transition_row(item)) + b"\n" for item in found_in(name, 1))

    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(found)
    assert found == golden.read_bytes()


@pytest.mark.parametrize("name", ["outage", "late"])
def test_ids_are_equal_for_one_and_four_partitions(name: str) -> None:
    one, four = ({item.transition_id for item in found_in(name, partitions)} for partitions in (1, 4))

    assert one == four


def test_the_outage_of_orders_sync_is_found_and_ends() -> None:
    found = [item for item in found_in("outage", 1) if item.rule == "flow failing"]

    assert {item.key["flow"] for item in found if item.to_state == "firing"} >= {"orders-sync"}
    assert rfc3339(found[0].at_ms).startswith("2026-11-23T09:44:")
    orders = [item.to_state for item in found if item.key["flow"] == "orders-sync"]
    assert orders[-1] == "resolved"
    assert not {"nightly-etl", "ml-train"} & {item.key["flow"] for item in found}


def test_the_runs_that_never_started_are_found_late() -> None:
    found = [item for item in found_in("late", 1) if item.rule == "runs late"]

    assert found[0].to_state == "firing"
    assert found[0].value == 5
    assert not [item for item in found_in("outage", 1) if item.rule == "runs late"]
