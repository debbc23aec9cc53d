"""What tests of rule switches share: a line of matchers and a detector that meet rule-set markers."""

from collections.abc import Sequence

from tests.property.detection import LOG_ID, in_order

from flowgauge.processors.detector import Detector, Outcome
from flowgauge.processors.matcher import Matcher
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.control_records import RulesMarker, encode_record
from flowgauge.schemas.sample import SampleMessage
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.transport.log import Record


def marker(version: int, append_ms: int) -> Record:
    return Record(0, append_ms, RecordKind.RULES, "", encode_record(RulesMarker(version=version)))


class SwitchingLine:
    """A matcher a partition and one detector, which can be stopped and restored anywhere."""

    def __init__(self, sets: dict[int, RuleSet], partitions: Sequence[Sequence[Record]]) -> None:
        self._sets = sets
        self._matchers = [
            Matcher(log_id=LOG_ID, source=source, samples_partitions=1, rulesets=sets)
            for source in range(len(partitions))
        ]
        self._sources = len(partitions)
        self.state: dict[str, bytes] = {}
        self.transitions: list[Transition] = []
        self.detector = self._restored()

    def _restored(self) -> Detector:
        return Detector(log_id=LOG_ID, sources=self._sources, rulesets=self._sets, state=self.state)

    def messages(self, source: int, records: Sequence[Record]) -> Sequence[SampleMessage]:
        return self._matchers[source].match(records).messages[0]

    def commit(self, outcome: Outcome) -> None:
        self.transitions += outcome.transitions
        for name, value in outcome.state.items():
            if value is None:
                self.state.pop(name, None)
            else:
                self.state[name] = value

    def crash(self) -> None:
        self.detector = self._restored()


def read_in_order(sets: dict[int, RuleSet], partitions: Sequence[Sequence[Record]]) -> list[Transition]:
    """Return the transitions of partitions read one after the other, each in one batch."""
    line = SwitchingLine(sets, partitions)
    for source, records in enumerate(partitions):
        line.commit(line.detector.apply(line.messages(source, records)))
    return in_order(line.transitions)
