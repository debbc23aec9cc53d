"""Plays a story: real matchers and detectors read its log step by step, and what a process holds is lost where it dies.

events partition ──► Matcher ──► messages, all or some of them ──► samples partition ──► Detector ──► fenced store

When the steps are over all that is left is read without a fault, so a story with steps left out is played to its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.detecting import Store
from tests.simulation.simulated_log import LOG_ID
from tests.simulation.story import Step, Story

from flowgauge.processors.detector import Detector
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.schemas.sample import SampleMessage, decode_message, encode_message
from flowgauge.schemas.transition import Transition


@dataclass(slots=True)
class _Owned:
    """A samples partition as its owner has it."""

    epoch: int
    next_message: int
    detector: Detector


@dataclass(slots=True)
class Faults:
    """What befell the processes."""

    crashes: int = 0
    fenced: int = 0
    resent: int = 0
    late: int = 0

    def add(self, others: "Faults") -> None:
        """Add what befell those of another world."""
        self.crashes += others.crashes
        self.fenced += others.fenced
        self.resent += others.resent
        self.late += others.late


@dataclass(slots=True)
class _OnItsWay:
    """A message whose sender is gone already."""

    steps: int
    partition: int
    value: bytes


@dataclass(slots=True)
class Play:
    """The processes of one story. Raises AssertionError where a detector's clock or a commit is wrong."""

    story: Story
    faults: Faults = field(default_factory=Faults)
    committed: list[tuple[int, MatcherState]] = field(init=False)
    matchers: list[Matcher | None] = field(init=False)
    topic: list[list[bytes]] = field(init=False)
    on_their_way: list[_OnItsWay] = field(default_factory=list[_OnItsWay])
    stores: list[Store] = field(init=False)
    owned: list[_Owned | None] = field(init=False)
    zombies: list[tuple[int, _Owned]] = field(default_factory=list[tuple[int, _Owned]])

    def __post_init__(self) -> None:
        sources, partitions = len(self.story.log), self.story.samples_partitions
        self.committed = [(0, MatcherState()) for _ in range(sources)]
        self.matchers = [None] * sources
        self.topic = [[] for _ in range(partitions)]
        self.stores = [Store() for _ in range(partitions)]
        self.owned = [None] * partitions

    def run(self) -> list[Transition]:
        """Play all steps, then read what is left; return what was committed, each partition in its order."""
        for step in self.story.steps:
            self._arrive()
            if step.role == "match":
                self._match(step)
            else:
                self._detect(step)
        self._arrive(at_once=True)
        for source, entries in enumerate(self.story.log):
            self._match(Step(0, "match", source, len(entries)))
        for partition, messages in enumerate(self.topic):
            self._detect(Step(0, "detect", partition, len(messages)))
        self._wake()
        return [transition for store in self.stores for transition in store.transitions]

    # ── matchers ──

    def _match(self, step: Step) -> None:
        offset, state = self.committed[step.source]
        records = self.story.sources[step.source].records[offset : step.until]
        if not records:
            return
        matcher = self.matchers[step.source] or self._new_matcher(step.source, state)
        messages = matcher.match(records).messages
        if step.fate:
            self.faults.crashes += 1
            self._lose_in(messages, step.sent)
            for source in range(step.source % self.story.processes, len(self.matchers), self.story.processes):
                self.matchers[source] = None
            return
        for partition, sent in enumerate(messages):
            self.topic[partition] += map(encode_message, sent)
        self.matchers[step.source] = matcher
        self.committed[step.source] = (offset + len(records), matcher.state)

    def _new_matcher(self, source: int, state: MatcherState) -> Matcher:
        return Matcher(
            log_id=LOG_ID,
            source=source,
            samples_partitions=self.story.samples_partitions,
            rulesets=self.story.rulesets,
            state=state,
        )

    def _lose_in(self, messages: Sequence[Sequence[SampleMessage]], sent: Sequence[int]) -> None:
        """Append some of the messages of a matcher that dies, some later, some never; of a partition, in order."""
        for partition, (each, fate) in enumerate(zip(messages, sent, strict=True)):
            for message in each if fate >= 0 else ():
                self.on_their_way.append(_OnItsWay(fate, partition, encode_message(message)))
        self._arrive()

    def _arrive(self, *, at_once: bool = False) -> None:
        for each in self.on_their_way:
            each.steps -= 1
            if each.steps <= 0 or at_once:
                self.topic[each.partition].append(each.value)
        self.on_their_way = [] if at_once else [each for each in self.on_their_way if each.steps > 0]

    # ── detectors ──

    def _detect(self, step: Step) -> None:
        owned = self.owned[step.source] or self._begun(step.source)
        self.owned[step.source] = owned
        values = self.topic[step.source][owned.next_message :][: step.until]
        if not values:
            return
        outcome = owned.detector.apply([decode_message(value) for value in values])
        if step.fate == "freezes":
            self.zombies.append((step.source, owned))
            self.owned[step.source] = None
        elif step.fate == "dies before":
            self._die(step.source)
        else:
            owned.next_message += len(values)
            assert self.stores[step.source].commit(owned.epoch, owned.next_message, outcome)
            self.faults.resent += outcome.counts.resent
            self.faults.late += outcome.counts.late
            self._check(owned.detector, outcome.transitions)
            self._wake()
            if step.fate == "dies after":
                self._die(step.source)

    def _begun(self, partition: int) -> _Owned:
        store = self.stores[partition]
        store.epoch += 1
        detector = Detector(log_id=LOG_ID, sources=len(self.story.log), rulesets=self.story.rulesets, state=store.state)
        return _Owned(store.epoch, store.next_message, detector)

    def _die(self, partition: int) -> None:
        """Lose what the process of a samples partition has in memory, of its other partitions too."""
        self.faults.crashes += 1
        for number in range(partition % self.story.processes, len(self.owned), self.story.processes):
            self.owned[number] = None

    def _wake(self) -> None:
        """Let those go on that were frozen and have a successor: the store must refuse them."""
        for partition, zombie in self.zombies:
            store = self.stores[partition]
            if zombie.epoch == store.epoch:
                continue
            values = self.topic[partition][zombie.next_message :]
            outcome = zombie.detector.apply([decode_message(value) for value in values])
            assert not store.commit(zombie.epoch, len(self.topic[partition]), outcome), "a frozen owner committed"
            self.faults.fenced += 1
        self.zombies = [each for each in self.zombies if each[1].epoch == self.stores[each[0]].epoch]

    # ── what must hold after each commit ──

    def _check(self, detector: Detector, transitions: Sequence[Transition]) -> None:
        clocks = [source.clock_ms(detector.next_offset(number)) for number, source in enumerate(self.story.sources)]
        assert detector.clock_ms == min(clocks), f"clock {detector.clock_ms}, slowest source {min(clocks)}"
        for item in transitions:
            rules = {rule.name: rule for rule in self.story.sets[item.rules_version - 1]}
            rule = rules.get(item.rule)
            waits = rule is not None and rule.fields and not item.reason.startswith("the rule was")
            final_ms = item.at_ms + (rule.lateness_ms if rule is not None and waits else 0)
            assert final_ms <= min(clocks) or not waits, f"told before the slowest source was there: {item}"


def undisturbed(story: Story) -> list[Transition]:
    """Return the transitions of a matcher a source and one detector that read all of the log once and store nothing."""
    messages: list[SampleMessage] = []
    for source, read in enumerate(story.sources):
        matcher = Matcher(log_id=LOG_ID, source=source, samples_partitions=1, rulesets=story.rulesets)
        messages += matcher.match(read.records).messages[0]
    detector = Detector(log_id=LOG_ID, sources=len(story.log), rulesets=story.rulesets, stores=False)
    return detector.apply(messages).transitions
