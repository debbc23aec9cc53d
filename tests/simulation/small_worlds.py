"""Small worlds by the thousand: each is drawn, played with its faults, and held to the oracle and to a calm replay.

Read `story` for what a world is, `judging` for the oracle, `shrinking` for the trace of a violation.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from tests.simulation.drawing import drawn_story
from tests.simulation.judging import ChainName, chains, difference
from tests.simulation.playing import Faults, Play, undisturbed
from tests.simulation.shrinking import shortest
from tests.simulation.story import Story, told

from flowgauge.schemas.transition import Transition


class Violation(msgspec.Struct, frozen=True):
    """What is wrong in the first world that is wrong, and the least that shows it."""

    seed: int
    complaint: str
    trace: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the worlds were like. `seeds` counts them, the one with the violation included."""

    planted: str = ""
    seeds: int
    violations: int
    seconds: int
    events: int
    transitions: dict[str, int]  # by kind of rule
    judged: int  # transitions that the oracle expected; the others are held to the calm replay alone
    faults: Faults
    violation: Violation | None = None


class Worlds:
    """Runs worlds and counts what they were like. Ends at the first violation."""

    def __init__(self) -> None:
        self._seeds = 0
        self._events = 0
        self._transitions: Counter[str] = Counter()
        self._judged = 0
        self._faults = Faults()
        self._begin = time.monotonic()

    def run(self, seeds: Iterable[int], *, planted: str = "") -> Report:
        """Run the worlds of `seeds`; shrink the first that is wrong."""
        for seed in seeds:
            story = drawn_story(seed)
            if self.complaint(story) is not None:
                short = shortest(story, is_wrong=lambda each: Worlds().complaint(each) is not None)
                return self._report(planted, Violation(seed, Worlds().complaint(short) or "", told(short)))
        return self._report(planted, None)

    def complaint(self, story: Story) -> str | None:
        """Play a story; return what is wrong, None where nothing is."""
        self._seeds += 1
        self._events += story.events
        try:
            play = Play(story)
            found = play.run()
        except Exception as error:  # noqa: BLE001  # whatever a faulty process raises is a violation
            return f"{type(error).__name__}: {error}"
        self._transitions.update(item.rule_kind for item in found)
        self._faults.add(play.faults)
        expected = chains(story)
        self._judged += sum(len(chain.rows) for chain in expected.values())
        return difference(expected, found) or _difference(undisturbed(story), found)

    def _report(self, planted: str, violation: Violation | None) -> Report:
        return Report(
            planted=planted,
            seeds=self._seeds,
            violations=int(violation is not None),
            seconds=round(time.monotonic() - self._begin),
            events=self._events,
            transitions=dict(sorted(self._transitions.items())),
            judged=self._judged,
            faults=self._faults,
            violation=violation,
        )


def until(seconds: int, *, first: int) -> Iterator[int]:
    """Yield seeds for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield first
        first += 1


def _difference(calm: Sequence[Transition], found: Sequence[Transition]) -> str | None:
    """Return the first difference from the replay, word for word, of each rule and key in its order."""
    before, after = _by_chain(calm), _by_chain(found)
    for name in sorted({*before, *after}):
        expected, told_of = before.get(name, []), after.get(name, [])
        if expected != told_of:
            return f"{name}: the replay tells {expected}, told was {told_of}"
    return None


def _by_chain(transitions: Sequence[Transition]) -> dict[ChainName, list[Transition]]:
    found: dict[ChainName, list[Transition]] = {}
    for item in transitions:
        found.setdefault((item.rule, (item.tenant, *item.key.values())), []).append(item)
    return found
