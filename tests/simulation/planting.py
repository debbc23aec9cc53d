"""Bugs planted into production code, for as long as a `with` lasts: the simulation has to find each of them."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import NamedTuple

from flowgauge.processors import detector, key_state
from flowgauge.processors.detector import Detector
from flowgauge.processors.detector_state import SourcePosition
from flowgauge.processors.key_state import KeyState
from flowgauge.processors.kinds import AllOf, prefect_buckets
from flowgauge.processors.kinds.burn_rate import Case, PairWindow
from flowgauge.processors.kinds.change import ChangeWindow
from flowgauge.processors.kinds.counted_panes import CountedPanes
from flowgauge.processors.kinds.duration import Duration
from flowgauge.processors.kinds.missed import MissedWindow
from flowgauge.processors.kinds.part import PartState
from flowgauge.processors.kinds.sequence import Chain, Completed
from flowgauge.processors.rules_in_force import RulesInForce
from flowgauge.schemas.sample import Sample, SampleMessage


class Plant(NamedTuple):
    """What stands where in place of what is right."""

    owner: object
    attribute: str
    wrong: object


def _expires_a_pane_late() -> Callable[[CountedPanes, int], None]:
    right = CountedPanes.expire
    return lambda panes, end_ms: right(panes, end_ms - 1)


def _all_of_them(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples


def _also_sent_again(self: Detector, message: SampleMessage, position: SourcePosition) -> Sequence[Sample]:
    return message.samples


def _fastest_clock(self: Detector) -> int:
    return max(position.clock_ms for position in self._position.sources)  # pyright: ignore[reportPrivateUsage]


def _never(self: Duration, outcome: str) -> bool:  # as what it stands for
    return False


def _nothing(state: Mapping[str, bytes]) -> Iterator[object]:
    yield from ()


def _at_the_first_marker(self: RulesInForce, finished: AbstractSet[int]) -> tuple[int, int] | None:
    found = _right_switch(self, finished)
    if found is None:
        return None
    switches = self._position.switches  # pyright: ignore[reportPrivateUsage]
    return min(switches[found[1]].values()), found[1]


_right_switch = RulesInForce.next_switch


def _burns_over_the_long_window(self: PairWindow) -> tuple[Case, str]:
    return Case.BURNS, ""


def _from_its_first_event(self: Completed, number: int, chain: Chain) -> int:
    return chain[0].occurred_us


def _holds_while_it_fires(self: PartState) -> bool:
    return self._is_firing  # pyright: ignore[reportPrivateUsage]


def _one_is_enough(self: AllOf) -> int:
    return 1


def _when_it_started(self: MissedWindow, sample: Sample) -> int:
    return sample.occurred_us // 1000


def _baseline_with_the_window() -> Callable[[ChangeWindow, int], list[float]]:
    right = vars(ChangeWindow)["_baseline"]
    return lambda window, end_ms: right(window, end_ms + window._rule.within)  # pyright: ignore[reportPrivateUsage]


PLANTED: dict[str, Plant] = {
    "off-by-one pane": Plant(CountedPanes, "expire", _expires_a_pane_late()),
    "lost duplicate check": Plant(key_state, "_distinct", _all_of_them),
    "lost re-send check": Plant(Detector, "_new_samples", _also_sent_again),
    "wrong minimum clock": Plant(Detector, "clock_ms", property(_fastest_clock)),
    "lost keys on restart": Plant(detector, "read_keys", _nothing),
    "lost waiting samples on restart": Plant(detector, "read_chunks", _nothing),
    "early rule switch": Plant(RulesInForce, "next_switch", _at_the_first_marker),
    "ends told late in their own pane": Plant(KeyState, "wait_late", KeyState.wait),
    "ends told late unheard": Plant(Duration, "hears_late", _never),
    "burn_rate without the short window": Plant(PairWindow, "_judge_burning", _burns_over_the_long_window),
    "sequence from its first event": Plant(Completed, "_counts_from", _from_its_first_event),
    "condition that does not linger": Plant(PartState, "holds", _holds_while_it_fires),
    "all_of that one condition is enough for": Plant(AllOf, "needed", property(_one_is_enough)),
    "missed slot of a run that starts late": Plant(MissedWindow, "_place_ms", _when_it_started),
    "change with the window in its baseline": Plant(ChangeWindow, "_baseline", _baseline_with_the_window()),
    "prefect bucket that does not look back": Plant(prefect_buckets, "LOOK_BACK_US", 0),
}


@contextmanager
def planted(name: str) -> Generator[None]:
    """Put a bug in place, and take it out again; none for an empty name."""
    if not name:
        yield
        return
    owner, attribute, wrong = PLANTED[name]
    right = vars(owner)[attribute]
    setattr(owner, attribute, wrong)
    try:
        yield
    finally:
        setattr(owner, attribute, right)
