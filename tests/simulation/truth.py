"""The truth of a simulated log: one matcher and one detector read all of it as one partition, in order, undisturbed."""

from tests.simulation.simulated_log import LOG_ID, RULESETS, SimulatedLog

from flowgauge.processors.detector import Detector
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record


def true_transitions(log: SimulatedLog) -> dict[str, Transition]:
    """Return every transition by its id.

    The partitions' records stand in the order of their clocks, each stamped with what its partition's clock was: there
    are no pulses, no jumps, no splits and no stops left that could change anything.
    """
    events = [
        (clock_ms, number, record)
        for number, source in enumerate(log.sources)
        for record, clock_ms in zip(source.records, source.clocks, strict=True)
        if record.kind == RecordKind.EVENT
    ]
    events.sort(key=lambda event: event[:2])  # stable: the records of a partition stay in their order
    records = [
        Record(offset, clock_ms, RecordKind.EVENT, "", record.value)
        for offset, (clock_ms, _, record) in enumerate(events)
    ]
    end_ms = min(source.clocks[-1] for source in log.sources)
    records.append(Record(len(records), end_ms, RecordKind.LOADED, "", b""))

    matcher = Matcher(
        log_id=LOG_ID, source=0, samples_partitions=1, rulesets=RULESETS, state=MatcherState(rules_version=1)
    )
    detector = Detector(log_id=LOG_ID, sources=1, rulesets=RULESETS, stores=False)
    outcome = detector.apply(matcher.match(records).messages[0])
    return {transition.transition_id: transition for transition in outcome.transitions}
