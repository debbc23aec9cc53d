"""The paths without any I/O: matcher, detector, check, canonical. Each is passed several times; the best counts."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.batches import without_tenant
from benchmarks.generator import Made, made_events
from benchmarks.measure import Line, best_of, line_of
from benchmarks.rules import fifty_rules
from flowgauge.processors.detector import Detector
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.check import check
from flowgauge.schemas.event import decode_glance
from flowgauge.schemas.sample import SampleMessage, decode_message, encode_message
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.log import Record

LOG_ID = "benchmark"
PASSES = 5
BATCH_RECORDS = 5_000  # what the matcher's shell polls at once
RUN_EVENTS_PER_BATCH = BATCH_RECORDS // 20
MESSAGES_PER_STEP = 4  # the detector's shell takes up to 64; few is harder: state is encoded once a step
BUSY_RUN_EVERY_MS = 52  # 2,300 events a second of event time, 200 million a day: where the detector's cost matters

Batches = Sequence[Sequence[Record]]


def bench_matcher(events: int) -> Line:
    """Bytes in, sample messages out, 50 rules."""
    batches, rulesets = batches_of(made_events(events), BATCH_RECORDS), {1: fifty_rules()}
    cpu_seconds, messages = best_of(PASSES, lambda: match_all(batches, rulesets))
    glance_seconds, _ = best_of(PASSES, lambda: _glance(batches))
    line = line_of("matcher", events, cpu_seconds, {"glance": glance_seconds, "rest": cpu_seconds - glance_seconds})
    return line.noting(samples_per_event=sum(len(message.samples) for message in messages) / events)


def bench_detector(samples: int) -> Line:
    """Take samples in; transitions and encoded state out. `events` counts samples."""
    rulesets = {1: fifty_rules()}
    messages = sample_messages(samples)
    samples = sum(len(message.samples) for message in messages)
    cpu_seconds, told = best_of(PASSES, lambda: _detect(messages, rulesets))
    encoded = [encode_message(message) for message in messages]
    decode_seconds, _ = best_of(PASSES, lambda: [decode_message(message) for message in encoded])
    line = line_of("detector", samples, cpu_seconds, {"apply": cpu_seconds, "decode of messages": decode_seconds})
    return line.noting(**told)


def bench_check(events: int) -> Line:
    """When are bytes an event: what the sink asks of each record, the matcher of what could match."""
    made = list(made_events(events))
    cpu_seconds, _ = best_of(PASSES, lambda: [check(item.value, item.append_ms).kind for item in made])
    return line_of("check", events, cpu_seconds)


def bench_canonical(events: int) -> Line:
    """Make the record that the gateway makes of each event, as our own senders send them: without a tenant."""
    made = [(item.append_ms, without_tenant(item.value)) for item in made_events(events)]
    cpu_seconds, _ = best_of(
        PASSES, lambda: [canonical(raw, tenant="acme", append_ms=append_ms)[0] for append_ms, raw in made]
    )
    return line_of("canonical", events, cpu_seconds)


def sample_messages(samples: int, log_id: str = LOG_ID) -> list[SampleMessage]:
    """Return messages with at least `samples` samples, each of what `BATCH_RECORDS` mixed events would give."""
    events, rulesets = samples, {1: fifty_rules()}
    while True:
        made = made_events(events, run_every_ms=BUSY_RUN_EVERY_MS, only_runs=True)
        messages = match_all(batches_of(made, RUN_EVENTS_PER_BATCH), rulesets, log_id)
        if sum(len(message.samples) for message in messages) >= samples:
            return messages
        events *= 2


def batches_of(made: Iterable[Made], size: int) -> Batches:
    """Return the records of these events, `size` a batch."""
    records = [
        Record(offset, item.append_ms, RecordKind.EVENT, item.run, item.value) for offset, item in enumerate(made)
    ]
    return [records[start : start + size] for start in range(0, len(records), size)]


def match_all(batches: Batches, rulesets: Mapping[int, RuleSet], log_id: str = LOG_ID) -> list[SampleMessage]:
    """Return the messages of one matcher for all `batches`."""
    return matched_by(new_matcher(rulesets, log_id), batches)


def new_matcher(rulesets: Mapping[int, RuleSet], log_id: str = LOG_ID) -> Matcher:
    """Return a matcher of one source that begins with the first rule set."""
    state = MatcherState(rules_version=1)
    return Matcher(log_id=log_id, source=0, samples_partitions=1, rulesets=rulesets, state=state)


def matched_by(matcher: Matcher, batches: Batches) -> list[SampleMessage]:
    """Return what `matcher` makes of `batches`."""
    found: list[SampleMessage] = []
    for batch in batches:
        found += matcher.match(batch).messages[0]
    return found


def _glance(batches: Batches) -> None:
    for batch in batches:
        for record in batch:
            decode_glance(record.value or b"")


def _detect(messages: Sequence[SampleMessage], rulesets: Mapping[int, RuleSet]) -> dict[str, float]:
    detector = Detector(log_id=LOG_ID, sources=1, rulesets=rulesets)
    transitions = state_bytes = keys_most = 0
    for start in range(0, len(messages), MESSAGES_PER_STEP):
        outcome = detector.apply(messages[start : start + MESSAGES_PER_STEP])
        transitions += len(outcome.transitions)
        state_bytes += sum(len(value) for value in outcome.state.values() if value is not None)
        keys_most = max(keys_most, detector.keys)
    samples = sum(len(message.samples) for message in messages)
    return {"transitions": transitions, "keys": keys_most, "state_bytes_per_sample": state_bytes / samples}
