"""The detector: what it takes, refuses, counts, remembers and forgets. Times are ms after START."""

import msgspec
import pytest
from tests.property.detection import LOG_ID, START_MS

from flowgauge.processors import held_keys, source_set, told_ids
from flowgauge.processors.detector import Detector, Outcome
from flowgauge.processors.detector_state import PART_BYTES_MAX
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.errors import LogMismatch, OffsetGap
from flowgauge.schemas.sample import Sample, SampleMessage
from flowgauge.schemas.transition import Transition

# Panes of 1 s, final 10 s after their end.
FAILING = "{name: failing, for_each: [flow], when: {failure_rate: {above: 50%, within: 20s, min_samples: 1}}"


def ruleset(*rules: str) -> RuleSet:
    return RuleSet(parse_rules("rules.yaml", "rules:\n" + "".join(f"  - {rule}\n" for rule in rules)).rules, 1)


def sample(at: int, outcome: str = "failed", *, append: int | None = None, offset: int = 0, **fields: object) -> Sample:
    """Return a sample of rule 0, tenant t and flow a that occurred and was appended `at` ms after START."""
    values: dict[str, object] = {"rule": 0, "key": ("t", "a"), "event_id": f"e{at}", "run": f"r{at}", "flow": "a"}
    append_ms = START_MS + (at if append is None else append)
    occurred_us = (START_MS + at) * 1000
    values |= {"offset": offset, "append_ms": append_ms, "occurred_us": occurred_us, "outcome": outcome} | fields
    return Sample(**values)  # type: ignore[arg-type]  # fields of many types, by name


class Feeder:
    """One detector, fed by clock and samples; keeps what it committed."""

    def __init__(self, rules: RuleSet, *, sources: int = 1) -> None:
        self.rulesets = {1: rules}
        self.sources = sources
        self.state: dict[str, bytes] = {}
        self.told: list[Transition] = []
        self.next_offsets = [0] * sources
        self.detector = self.restored()

    def restored(self) -> Detector:
        return Detector(log_id=LOG_ID, sources=self.sources, rulesets=self.rulesets, state=self.state)

    def message(self, clock: int, *samples: Sample, source: int = 0, log_id: str = LOG_ID) -> SampleMessage:
        """Return a message of the next offsets, a sample an offset, that moves the clock to `clock`."""
        start = self.next_offsets[source]
        placed = [replaced(each, offset=start + number) for number, each in enumerate(samples)]
        end = self.next_offsets[source] = start + len(samples) + 1
        return SampleMessage(log_id, source, start, end, START_MS + clock, 1, 0, placed)

    def take(self, *messages: SampleMessage) -> Outcome:
        outcome = self.detector.apply(messages)
        self.told += outcome.transitions
        for name, value in outcome.state.items():
            if value is None:
                self.state.pop(name, None)
            else:
                assert len(value) <= PART_BYTES_MAX
                self.state[name] = value
        return outcome

    def see(self, clock: int, *samples: Sample, source: int = 0) -> Outcome:
        return self.take(self.message(clock, *samples, source=source))

    def states(self) -> list[tuple[str, int]]:
        """Return (state, at in ms after START) of what was told."""
        return [(item.to_state, item.at_ms - START_MS) for item in self.told]


def replaced(each: Sample, *, offset: int) -> Sample:
    return msgspec.structs.replace(each, offset=offset)


# ── panes and the clock ──


def test_a_pane_is_evaluated_when_the_clock_has_passed_its_end_and_the_lateness() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    feeder.see(10_999, sample(500))
    assert feeder.states() == []

    feeder.see(11_000)
    assert feeder.states() == [("firing", 1_000)]


def test_the_slowest_source_holds_the_clock_and_nothing_is_told_before_all_were_heard_of() -> None:
    feeder = Feeder(ruleset(FAILING + "}"), sources=2)
    feeder.see(60_000, sample(500))
    assert (feeder.detector.clock_ms, feeder.states()) == (-1, [])

    feeder.see(10_999, source=1)
    assert (feeder.detector.clock_ms, feeder.states()) == (START_MS + 10_999, [])

    feeder.see(11_000, source=1)
    assert feeder.states() == [("firing", 1_000)]


def test_a_transition_carries_its_numbers_and_examples() -> None:
    feeder = Feeder(ruleset(FAILING + ", severity: critical, labels: {team: data}, notify: [oncall]}"))

    feeder.see(11_000, sample(500), sample(600, "finished"), sample(700), sample(400))

    (told,) = feeder.told
    assert (told.value, told.threshold, told.samples, told.window_ms) == (0.75, 0.5, 4, 20_000)
    assert [run.run for run in told.examples] == ["r400", "r500", "r700"]
    assert (told.severity, told.labels, told.notify) == ("critical", {"team": "data"}, ["oncall"])
    assert (told.tenant, told.key, told.rule_kind, told.seq) == ("t", {"flow": "a"}, "failure_rate", 0)
    assert told.opened_at_ms == told.at_ms == START_MS + 1_000


# ── offsets, sources, logs ──


def test_samples_that_are_missing_stop_it_and_name_the_offset() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.see(1_000)
    feeder.next_offsets[0] = 5

    with pytest.raises(OffsetGap, match="offsets 1 to 4 are missing; match again from offset 1"):
        feeder.see(2_000)


def test_a_first_message_may_begin_anywhere_because_the_log_may_be_trimmed() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.next_offsets[0] = 500

    feeder.see(1_000)

    assert feeder.detector.next_offset(0) == 501


def test_a_range_that_overlaps_is_taken_from_where_it_is_new() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    first = [sample(at, offset=number) for number, at in enumerate((100, 200, 300))]
    feeder.take(SampleMessage(LOG_ID, 0, 0, 2, START_MS + 300, 1, 0, first[:2]))

    outcome = feeder.take(SampleMessage(LOG_ID, 0, 0, 3, START_MS + 300, 1, 0, first))
    assert (outcome.counts.resent, outcome.counts.samples) == (2, 1)

    outcome = feeder.take(SampleMessage(LOG_ID, 0, 0, 3, START_MS + 300, 1, 0, first))
    assert (outcome.counts.resent, outcome.counts.samples) == (3, 0)
    feeder.next_offsets[0] = 3
    feeder.see(11_000)
    assert feeder.told[0].samples == 3


def test_samples_of_another_log_are_refused() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    with pytest.raises(LogMismatch, match="samples of log other in a detector of log log"):
        feeder.take(feeder.message(1_000, log_id="other"))


def test_samples_of_an_unknown_source_are_refused() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    with pytest.raises(LogMismatch, match="source partition 1, but the source set has 1 partitions"):
        feeder.take(SampleMessage(LOG_ID, 1, 0, 1, START_MS, 1, 0, []))


def test_a_matcher_that_lost_its_place_brings_no_old_rule_set_back() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.rulesets |= {2: RuleSet((), 2), 3: RuleSet((), 3)}
    for version in (1, 2, 0, 3):
        message = feeder.message(version)
        switched_ms = message.clock_ms if version else 0
        feeder.take(msgspec.structs.replace(message, rules_version=version, switched_ms=switched_ms))

    assert feeder.detector.active_version == 3
    assert feeder.restored().active_version == 3


def test_state_of_another_log_or_source_set_is_refused() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.see(1_000)

    with pytest.raises(LogMismatch, match="with 1 source partitions, this log is log with 2"):
        Detector(log_id=LOG_ID, sources=2, rulesets=feeder.rulesets, state=feeder.state)
    with pytest.raises(LogMismatch, match="belongs to log log"):
        Detector(log_id="new", sources=1, rulesets=feeder.rulesets, state=feeder.state)


def test_state_of_another_format_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.see(1_000)
    monkeypatch.setattr(source_set, "STATE_FORMAT", 3)

    with pytest.raises(LogMismatch, match="has format 2, this version reads 3: run the version that wrote it"):
        feeder.restored()


def test_state_of_a_rule_that_the_log_never_had_is_refused() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.see(15_000, sample(100))

    with pytest.raises(LogMismatch, match=r"holds a rule \w+ that no rule set of this log has"):
        Detector(log_id=LOG_ID, sources=1, rulesets={1: RuleSet((), 1)}, state=feeder.state)


# ── late and skewed ──


def test_a_late_sample_is_counted_and_not_admitted() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    outcome = feeder.see(30_000, sample(500, append=10_501))

    assert (outcome.counts.late, feeder.states()) == (1, [])


def test_a_sample_as_late_as_allowed_is_admitted() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    outcome = feeder.see(30_000, sample(500, append=10_500))

    assert (outcome.counts.late, feeder.states()) == (0, [("firing", 1_000)])


def test_late_samples_are_shown_on_windows_that_hold_their_append_time() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.see(15_000, sample(100, append=14_500), sample(14_600))

    feeder.see(30_000)

    assert [(item.to_state, item.at_ms - START_MS, item.late_samples) for item in feeder.told] == [
        ("firing", 15_000, 1)
    ]


def test_a_late_sample_alone_opens_nothing_and_is_forgotten() -> None:
    feeder = Feeder(ruleset(FAILING + ", no_data: fire}"))

    feeder.see(15_000, sample(100, append=14_500))
    assert feeder.detector.keys == 1

    feeder.see(90_000)
    feeder.see(500_000)  # blank keys are written before they go
    assert (feeder.told, feeder.detector.keys) == ([], 0)


def test_an_event_more_than_10_s_ahead_is_skewed_and_one_of_10_s_keeps_its_time() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    outcome = feeder.see(60_000, sample(20_001, append=10_000), sample(20_000, append=10_000))

    assert (outcome.counts.skewed, feeder.states()) == (1, [("firing", 21_000)])


# ── bounds ──


def test_keys_past_the_bound_are_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_keys, "KEYS_MAX", 2)
    feeder = Feeder(ruleset(FAILING + "}"))

    outcome = feeder.see(5_000, *(sample(at, key=("t", f"flow{at}")) for at in (100, 200, 300, 100)))

    assert (outcome.counts.keys_refused, feeder.detector.keys) == (1, 2)


def test_state_larger_than_a_record_is_stored_in_parts_and_restored() -> None:
    rule = "{name: late, for_each: [flow], when: {late: {after: 1h, within: 1h}}}"
    feeder = Feeder(ruleset(rule))
    names = [f"{number:04}" + "x" * 400 for number in range(1_000)]
    feeder.see(40_000, *(sample(at, "late", run=run, event_id=run) for at, run in enumerate(names)))
    feeder.see(400_000)
    assert sum(name.startswith("k/") for name in feeder.state) > 1

    feeder.detector = feeder.restored()
    feeder.see(3_900_000)

    assert [(item.to_state, item.samples) for item in feeder.told] == [("firing", 1_000)]


def test_parts_that_a_key_needs_no_more_are_deleted_and_silence_leaves_no_state() -> None:
    rule = "{name: late, for_each: [flow], when: {late: {after: 1h, within: 1h}}}"
    feeder = Feeder(ruleset(rule))
    feeder.see(40_000, *(sample(at, "late", run="x" * 400 + str(at), event_id=str(at)) for at in range(1_000)))
    feeder.see(80_000)

    feeder.see(3_900_000)
    feeder.see(100_000_000)  # more than the day for which a run that tells no end is remembered

    assert [item.to_state for item in feeder.told] == ["firing", "resolved"]
    assert (set(feeder.state), feeder.detector.keys) == ({"position"}, 0)


def test_waiting_samples_are_stored_until_their_pane_is_final() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))
    feeder.see(1_000, sample(500), sample(600))
    assert set(feeder.state) == {"position", "w/0"}

    feeder.detector = feeder.restored()
    feeder.see(11_000)

    assert feeder.told[0].samples == 2
    assert not any(name.startswith("w/") for name in feeder.state)


# ── no data, too few ──


def story(no_data: str) -> list[tuple[str, int]]:
    """Return what is told of a run that fails at 0.5 s, then of silence, then of a good run at 60.5 s."""
    feeder = Feeder(ruleset(FAILING + f", no_data: {no_data}}}"))
    feeder.see(50_000, sample(500))
    feeder.see(75_000, sample(60_500, "finished"))
    return feeder.states()


def test_without_data_an_alert_is_held() -> None:
    assert story("hold") == [("firing", 1_000), ("resolved", 61_000)]


def test_without_data_an_alert_resolves_where_the_rule_says_so() -> None:
    assert story("resolve") == [("firing", 1_000), ("resolved", 21_000)]


def test_without_data_no_data_is_told_where_the_rule_says_so() -> None:
    assert story("fire") == [("firing", 1_000), ("no_data", 21_000), ("resolved", 61_000)]


def test_fewer_than_min_samples_hold_the_alert() -> None:
    rule = "{name: failing, for_each: [flow], when: {failure_rate: {above: 50%, within: 20s, min_samples: 2}}}"
    feeder = Feeder(ruleset(rule))

    feeder.see(90_000, sample(500), sample(600), sample(15_000, "finished"), sample(40_000, "finished"))
    assert feeder.states() == [("firing", 1_000)]

    feeder.see(150_000, sample(91_000, "finished"), sample(91_500, "finished"))
    assert feeder.states()[1:] == [("resolved", 92_000)]


# ── tenants and keys ──


def test_tenants_never_mix() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    feeder.see(11_000, sample(500, key=("t", "a")), sample(600, "finished", key=("u", "a"), event_id="u"))

    assert [(item.tenant, item.samples) for item in feeder.told] == [("t", 1)]


def test_two_tenants_with_the_same_key_have_incidents_of_their_own() -> None:
    feeder = Feeder(ruleset(FAILING + "}"))

    feeder.see(11_000, sample(500, key=("t", "a")), sample(500, key=("u", "a")))

    assert [item.tenant for item in feeder.told] == ["t", "u"]
    assert len({item.incident_id for item in feeder.told}) == 2


# ── immediate events ──

EACH = "{name: each crash, for_each: [flow], when: {event: {}}}"


def test_an_immediate_event_is_told_at_once_however_late_and_under_its_own_id() -> None:
    feeder = Feeder(ruleset(EACH))

    feeder.see(100_000, sample(500, "seen", append=100_000), sample(600, "seen", append=100_000))

    assert feeder.states() == [("firing", 500), ("firing", 600)]
    assert [item.key for item in feeder.told] == [
        {"flow": "a", "event_id": "e500"},
        {"flow": "a", "event_id": "e600"},
    ]


def test_an_immediate_event_that_is_sent_twice_is_told_once_also_after_a_restart() -> None:
    feeder = Feeder(ruleset(EACH))
    feeder.see(1_000, sample(500, "seen"))
    feeder.detector = feeder.restored()

    feeder.see(2_000, sample(500, "seen", append=2_000))

    assert feeder.states() == [("firing", 500)]


def test_ids_told_of_are_forgotten_an_hour_later_key_by_key() -> None:
    feeder = Feeder(ruleset(EACH))
    feeder.see(600, sample(500, "seen"))
    feeder.see(700_000, sample(700_000, "seen", key=("t", "b")))
    assert sum(name.startswith("i/") for name in feeder.state) == 2

    feeder.see(500 + told_ids.TOLD_MS)
    assert sum(name.startswith("i/") for name in feeder.state) == 1

    feeder.detector = feeder.restored()
    feeder.see(700_000 + told_ids.TOLD_MS)
    assert set(feeder.state) == {"position"}


def test_of_more_ids_than_the_bound_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_ids, "IDS_MAX", 2)
    feeder = Feeder(ruleset(EACH))
    feeder.see(1_000, *(sample(at, "seen") for at in (1, 2, 3)))

    feeder.see(2_000, sample(3, "seen", append=2_000), sample(1, "seen", append=2_000))

    assert feeder.states() == [("firing", 1), ("firing", 2), ("firing", 3), ("firing", 1)]
    assert feeder.told[0].transition_id == feeder.told[3].transition_id


@pytest.mark.parametrize("restarts_before", range(1, 5))
def test_a_key_that_found_no_room_finds_none_after_a_restart(
    monkeypatch: pytest.MonkeyPatch, restarts_before: int
) -> None:
    monkeypatch.setattr(held_keys, "KEYS_MAX", 2)
    resolving = FAILING + ", no_data: resolve}"
    steps: list[tuple[int, list[Sample]]] = [
        (1_000, [sample(500, key=("t", "x"))]),
        (9_000, [sample(8_000, key=("t", "y")), sample(8_500, key=("t", "z"))]),
        (40_000, []),
        (60_000, []),
        (700_000, []),
    ]
    whole, restarted = Feeder(ruleset(resolving)), Feeder(ruleset(resolving))

    for number, (clock, samples) in enumerate(steps):
        whole.see(clock, *samples)
        if number == restarts_before:
            restarted.detector = restarted.restored()
        restarted.see(clock, *samples)

    assert [(item.key, item.to_state) for item in restarted.told] == [(item.key, item.to_state) for item in whole.told]
    assert {item.key["flow"] for item in whole.told} == {"x", "y"}
