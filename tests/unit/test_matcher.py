"""The matcher: records in, sample messages out. Ranges are contiguous, the clock is that of the partition."""

from uuid import UUID

import msgspec
import pytest

from flowgauge.processors import rule_index
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.clock import ClockState
from flowgauge.schemas.control_records import Pulse, RulesMarker, encode_record
from flowgauge.schemas.errors import LogMismatch
from flowgauge.schemas.event import Event, Glance, encode_event
from flowgauge.schemas.times import EPOCH
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.log import Record

EACH = "{name: each, for_each: [flow], match: {event: 'run.*'}, when: {event: {}}}"
OTHER = "{name: other, match: {event: other}, when: {event: {}}}"


def ruleset(*rules: str, version: int = 1) -> RuleSet:
    return RuleSet(parse_rules("rules.yaml", "rules:\n" + "".join(f"  - {rule}\n" for rule in rules)).rules, version)


def matcher(*rules: str, partitions: int = 1, state: MatcherState | None = None) -> Matcher:
    sets = {1: ruleset(*rules), 2: ruleset(OTHER, version=2)}
    state = state or MatcherState(rules_version=1)
    return Matcher(log_id="log", source=3, samples_partitions=partitions, rulesets=sets, state=state)


def event(offset: int, append_ms: int = 1_000, name: str = "run.failed", **fields: object) -> Record:
    base = {"id": UUID(int=offset + 1), "tenant": "t", "occurred": EPOCH, "event": name, "flow": "a"}
    value = encode_event(msgspec.convert(base | {"resource": {"id": "r"}} | fields, Event))
    return Record(offset, append_ms, RecordKind.EVENT, "", value)


def pulse(offset: int, append_ms: int, sent_ms: int, log_id: str = "log") -> Record:
    value = encode_record(Pulse(sent_ms=sent_ms, log_id=log_id))
    return Record(offset, append_ms, RecordKind.PULSE, "", value)


def marker(offset: int, append_ms: int, version: int) -> Record:
    return Record(offset, append_ms, RecordKind.RULES, "", encode_record(RulesMarker(version=version)))


def test_a_message_covers_all_records_and_carries_what_matched() -> None:
    matched = matcher(EACH).match([event(10, 1_000), event(11, 1_001, "else"), event(12, 1_002, scheduled_for=EPOCH)])

    ((message,),) = matched.messages
    assert (message.log_id, message.source, message.start, message.end) == ("log", 3, 10, 13)
    assert (message.clock_ms, message.rules_version, message.switched_ms) == (1_002, 1, 0)
    assert [(each.offset, each.append_ms, each.key, each.outcome, each.scheduled_ms) for each in message.samples] == [
        (10, 1_000, ("t", "a"), "seen", None),
        (12, 1_002, ("t", "a"), "seen", 0),
    ]
    assert (matched.counts.events, matched.counts.samples) == (3, 2)


def test_what_is_history_only_is_no_sample_and_moves_the_clock_as_any_record() -> None:
    matched = matcher(EACH).match([event(10, 1_000), event(11, 1_001, history=True)])

    ((message,),) = matched.messages
    assert (message.end, message.clock_ms) == (12, 1_001)
    assert [sample.offset for sample in message.samples] == [10]
    assert (matched.counts.events, matched.counts.samples) == (2, 1)


def test_every_samples_partition_is_told_of_every_range() -> None:
    matched = matcher(EACH, partitions=3).match([event(number, flow=f"flow{number}") for number in range(30)])

    assert [(message.start, message.end) for (message,) in matched.messages] == [(0, 30)] * 3
    found = [len(message.samples) for (message,) in matched.messages]
    assert sum(found) == 30
    assert all(found)


def test_a_message_begins_anew_at_a_marker_and_says_when_it_was_met() -> None:
    records = [event(0, 1_000), marker(1, 1_500, 2), event(2, 2_000, "other"), event(3, 2_100)]

    ((before, at, after),) = matcher(EACH).match(records).messages

    assert [(each.start, each.end, each.rules_version, each.switched_ms) for each in (before, at, after)] == [
        (0, 1, 1, 0),
        (1, 2, 2, 1_500),
        (2, 4, 2, 0),
    ]
    assert [len(each.samples) for each in (before, at, after)] == [1, 0, 1]


def test_the_clock_never_runs_backwards_and_every_record_moves_it() -> None:
    records = [
        event(0, 5_000),
        Record(1, 6_000, RecordKind.EVENT, "", b"no event"),
        event(2, 4_000),
        pulse(3, 7_000, 1),
    ]

    ((message,),) = matcher(EACH).match(records).messages

    assert [each.append_ms for each in message.samples] == [5_000, 6_000]
    assert message.clock_ms == 6_000  # a pulse sent at 1 ms holds the broker's 7,000 back


def test_what_was_committed_goes_on_as_if_it_had_never_stopped() -> None:
    records = [marker(0, 1_000, 2), pulse(1, 2_000, 2_000), event(2, 99_000, "other"), event(3, 3_000, "other")]
    whole = matcher(EACH)
    expected = [each for message in whole.match(records).messages[0] for each in message.samples]
    first = matcher(EACH)
    found = [each for message in first.match(records[:3]).messages[0] for each in message.samples]

    second = matcher(EACH, state=msgspec.json.decode(msgspec.json.encode(first.state), type=MatcherState))
    found += [each for message in second.match(records[3:]).messages[0] for each in message.samples]

    assert found == expected
    assert [each.append_ms for each in found] == [7_000, 7_000]  # the newest pulse + 5 s
    assert second.state == whole.state == MatcherState(ClockState(7_000, 2_000), 2)


def test_an_event_that_could_match_but_is_none_is_counted_and_its_neighbours_match() -> None:
    broken = event(1)
    broken = broken._replace(value=(broken.value or b"").replace(b'"id":"r"', b'"no":"r"'))

    matched = matcher(EACH).match([event(0), broken, event(2)])

    assert (matched.counts.invalid, [each.offset for each in matched.messages[0][0].samples]) == (1, [0, 2])


def test_an_event_without_a_group_value_is_skipped_and_counted_or_shares_one() -> None:
    share = EACH.replace("match:", "missing_key: share, match:")

    skipped, shared = (matcher(rule).match([event(0, flow=None)]) for rule in (EACH, share))

    assert (skipped.counts.missing_key, skipped.messages[0][0].samples) == (1, [])
    assert shared.messages[0][0].samples[0].key == ("t", "")


def test_a_tenants_rule_hides_the_shared_rule_of_the_same_name() -> None:
    own = EACH.replace("name: each,", "name: each, tenant: acme,")

    matched = matcher(EACH, own).match([event(0), event(1, tenant="acme")])

    assert [(each.offset, each.rule) for each in matched.messages[0][0].samples] == [(0, 0), (1, 1)]


def test_a_pulse_of_another_log_stops_it() -> None:
    with pytest.raises(LogMismatch, match="partition 3 offset 7: a pulse of log other in log log"):
        matcher(EACH).match([pulse(7, 1_000, 1_000, log_id="other")])


def test_the_memory_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_index, "MEMO_MAX", 3)
    index = rule_index.RuleIndex(ruleset(EACH))

    found = [index.candidates(Glance(f"run.{number}", "t")) for number in range(10)]

    assert all(len(each) == 1 for each in found)
    assert len(index.memo) <= 3


def test_an_older_rule_set_announced_behind_a_newer_one_is_passed_over() -> None:
    """Two publishers at once may put their markers in another order into another partition."""
    (both,) = matcher(EACH, state=MatcherState()).match([marker(0, 1_000, 2), marker(1, 1_001, 1)]).messages

    assert [(item.start, item.end, item.rules_version) for item in both] == [(0, 1, 2), (1, 2, 2)]
