"""The backtest: when rules would have fired over a history, for how long and how noisily; and two rule sets compared.

    history     ✗ ✗ ✗ ✓ ✓        ✗ ✗ ✓           ✗ ✗ ✗ ✗
    intervals   ├─fired──ended┤  ├─┤             ├─fired───►     one for each incident that people would be told of
                                 └ a flap: fired again within `flap_ms`; brief: over within `brief_ms`
    against     ├─────────┤      └ more       ├──────fired──►    paired where they are the same or overlap

It decides nothing by itself: intervals are made of the transitions that the replay tells, so an incident has the id
here that it has live. Pure. Read `replay` for where transitions come from.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

from flowgauge.processors.detector import AHEAD_MAX_MS
from flowgauge.processors.key_state import LATE_SHOWN_MS
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.event import KINDS, STATES
from flowgauge.schemas.transition import Transition

INTERVALS_MAX = 1_000_000  # some 500 MB; a rule that fires so often needs no backtest to be called noisy
LEAD_MS_MIN = 86_400_000  # rows and watches without a window: most keys are heard of within a day
TOLD_STATES = frozenset({"firing", "no_data"})
ENDED_STATES = frozenset({"resolved", "inactive"})
EVENT_ID = "event_id"  # in the key of an incident that is one event: each is an incident of its own, of one group

What = Literal["more", "fewer", "earlier", "later", "longer", "shorter"]
Group = tuple[str, str, tuple[tuple[str, str], ...]]  # tenant, rule, key: who may be paired, and fire again


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as noise: fired again within `flap_ms` of the end before, or over within `brief_ms`."""

    flap_ms: int
    brief_ms: int


class Interval(NamedTuple):
    """One incident from the moment it fired. `ended_ms` is None while it is open; `told` is its first told transition.

    One that is a single event is over as it fires.
    """

    group: Group
    told: Transition
    ended_ms: int | None

    @property
    def fired_ms(self) -> int:
        """When it fired."""
        return self.told.at_ms

    @property
    def is_single_event(self) -> bool:
        """Tell whether it is an event that was told at once, and lasts for no time."""
        return EVENT_ID in self.told.key

    def last_ms(self, until_ms: int) -> int:
        """Return when it ended, or where the history did."""
        return max(until_ms, self.fired_ms) if self.ended_ms is None else self.ended_ms


@dataclass(slots=True)
class Found:
    """What rules made of a history: the intervals in the order in which they fired, and pending alerts that lapsed."""

    intervals: list[Interval] = field(default_factory=list[Interval])
    lapsed: Counter[Group] = field(default_factory=Counter[Group])

    def since(self, since_ms: int, until_ms: int) -> "Found":
        """Return what of it was firing at some time from `since_ms` on; lapses are only counted, and stay."""
        return Found([each for each in self.intervals if each.last_ms(until_ms) >= since_ms], self.lapsed)


@dataclass(slots=True)
class Tally:
    """The numbers of one rule, or of one of its keys."""

    incidents: int = 0
    firing_ms: int = 0
    longest_ms: int = 0
    open: int = 0
    flaps: int = 0
    brief: int = 0
    noisy: int = 0  # flaps, brief or both
    lapsed: int = 0

    @property
    def noise(self) -> float | None:
        """The share of incidents that were noise, from 0 to 1; None where there were none."""
        return self.noisy / self.incidents if self.incidents else None

    def add(self, other: "Tally") -> None:
        """Take in the numbers of another key."""
        self.incidents += other.incidents
        self.firing_ms += other.firing_ms
        self.longest_ms = max(self.longest_ms, other.longest_ms)
        self.open += other.open
        self.flaps += other.flaps
        self.brief += other.brief
        self.noisy += other.noisy
        self.lapsed += other.lapsed


class Difference(NamedTuple):
    """What one rule set would have done otherwise than the other, which has `against`.

    `fired_by_ms` and `ended_by_ms` are how much later, or earlier where they are negative; None where that cannot be
    said.
    """

    what: What
    interval: Interval | None
    against: Interval | None
    fired_by_ms: int | None = None
    ended_by_ms: int | None = None

    @property
    def shown(self) -> Interval:
        """The interval that it is about."""
        found = self.interval or self.against
        assert found is not None  # noqa: S101  # one of them is always there
        return found


def lead_ms(rules: Iterable[CompiledRule]) -> int:
    """Return how long before a time events must be read for windows to be full at it: LEAD_MS_MIN at least."""
    return max([LEAD_MS_MIN, *(_lead_ms(item) for item in rules)])


def looks_of(rules: Iterable[CompiledRule]) -> list[str]:
    """Return the looks KIND:STATE, or KIND: without a state, of all events that some rule could match."""
    found = list(rules)
    looks = [(kind, state) for kind in KINDS for state in (None, *STATES)]
    return [f"{kind}:{state or ''}" for kind, state in looks if any(item.could_look(kind, state) for item in found)]


def found_in(transitions: Iterable[Transition]) -> Found:
    """Return the intervals of `transitions`, which come in the order of their incidents' lives.

    Raises BadInput for more than INTERVALS_MAX.
    """
    told: dict[str, Transition] = {}
    ended: dict[str, int] = {}
    lapsed: Counter[Group] = Counter()
    for item in transitions:
        if item.to_state in TOLD_STATES:
            told.setdefault(item.incident_id, item)
            if len(told) > INTERVALS_MAX:
                raise BadInput(
                    f"these rules would have fired more than {INTERVALS_MAX:,} times: take a shorter history"
                )
        elif item.to_state in ENDED_STATES and item.incident_id in told:
            ended[item.incident_id] = item.at_ms
        elif item.to_state == "inactive":
            lapsed[group_of(item)] += 1
    intervals = [
        Interval(group_of(item), item, item.at_ms if EVENT_ID in item.key else ended.get(incident))
        for incident, item in told.items()
    ]
    return Found(sorted(intervals, key=lambda each: (each.fired_ms, each.group, each.told.incident_id)), lapsed)


def group_of(item: Transition) -> Group:
    """Return who fires: tenant, rule and key, without the id of an event that is an incident of its own."""
    return item.tenant, item.rule, tuple((name, value) for name, value in item.key.items() if name != EVENT_ID)


def tallies(found: Found, until_ms: int, limits: Limits) -> dict[Group, Tally]:
    """Return the numbers of each group that fired, or nearly did, in the order of rules and keys."""
    groups = _by_group(found.intervals)
    return {
        group: _tally(groups.get(group, ()), found.lapsed[group], until_ms, limits)
        for group in sorted(groups.keys() | found.lapsed.keys())
    }


def differences(found: Found, against: Found, until_ms: int) -> list[Difference]:
    """Return what `found` has more or fewer than `against`, earlier or later, longer or shorter, in order of time."""
    ours, theirs = _by_group(found.intervals), _by_group(against.intervals)
    pairs = (
        pair
        for group in sorted(ours.keys() | theirs.keys())
        for pair in _pairs(ours.get(group, ()), theirs.get(group, ()), until_ms)
    )
    told = [each for pair in pairs if (each := _difference(*pair)) is not None]
    return sorted(told, key=lambda each: (each.shown.fired_ms, each.shown.group))


def fills_ms(item: CompiledRule) -> int:
    """Return how long after events begin to be read the windows of a rule are full.

    From there on it says of a key without an open incident what it says where all history is read. What has no bound
    is left out: see `Kind.look_back_ms`.
    """
    shown_ms = item.window_ms or LATE_SHOWN_MS  # a transition counts late events too
    return max(item.kind.look_back_ms, shown_ms) + item.pane_ms + item.lateness_ms + AHEAD_MAX_MS


def _lead_ms(item: CompiledRule) -> int:
    return fills_ms(item) + item.policy.for_ms + item.policy.keep_firing_for_ms


def _by_group(intervals: Sequence[Interval]) -> Mapping[Group, Sequence[Interval]]:
    groups: dict[Group, list[Interval]] = {}
    for each in intervals:
        groups.setdefault(each.group, []).append(each)
    return groups


def _tally(intervals: Sequence[Interval], lapsed: int, until_ms: int, limits: Limits) -> Tally:
    flaps = {
        place
        for place, (before, after) in enumerate(pairwise(intervals), 1)
        if before.ended_ms is not None and after.fired_ms - before.ended_ms <= limits.flap_ms
    }
    brief = {place for place, each in enumerate(intervals) if _is_brief(each, limits)}
    lengths = [each.last_ms(until_ms) - each.fired_ms for each in intervals]
    return Tally(
        incidents=len(intervals),
        firing_ms=sum(lengths),
        longest_ms=max(lengths, default=0),
        open=sum(each.ended_ms is None for each in intervals),
        flaps=len(flaps),
        brief=len(brief),
        noisy=len(flaps | brief),
        lapsed=lapsed,
    )


def _is_brief(interval: Interval, limits: Limits) -> bool:
    """Tell whether it was over before somebody could look; a single event has no length that could say so."""
    is_over = interval.ended_ms is not None and not interval.is_single_event
    return is_over and interval.last_ms(0) - interval.fired_ms < limits.brief_ms


def _pairs(
    ours: Sequence[Interval], theirs: Sequence[Interval], until_ms: int
) -> Iterator[tuple[Interval | None, Interval | None]]:
    """Pair intervals of one group: the same incident, else the first that overlap; each stands in one pair."""
    by_id = {each.told.incident_id: each for each in theirs}
    same = {each.told.incident_id for each in ours} & by_id.keys()
    yield from ((each, by_id[each.told.incident_id]) for each in ours if each.told.incident_id in same)
    left = [each for each in ours if each.told.incident_id not in same]
    right = [each for each in theirs if each.told.incident_id not in same]
    here = there = 0
    while here < len(left) and there < len(right):
        one, other = left[here], right[there]
        if one.last_ms(until_ms) < other.fired_ms:
            yield one, None
            here += 1
        elif other.last_ms(until_ms) < one.fired_ms:
            yield None, other
            there += 1
        else:
            yield one, other
            here, there = here + 1, there + 1
    yield from ((one, None) for one in left[here:])
    yield from ((None, other) for other in right[there:])


def _difference(one: Interval | None, other: Interval | None) -> Difference | None:
    if one is None or other is None:
        return Difference("fewer" if one is None else "more", one, other)
    fired_by = one.fired_ms - other.fired_ms
    ended_by = None if one.ended_ms is None or other.ended_ms is None else one.ended_ms - other.ended_ms
    if fired_by:
        return Difference("earlier" if fired_by < 0 else "later", one, other, fired_by, ended_by)
    if one.ended_ms == other.ended_ms:
        return None
    is_longer = other.ended_ms is not None and (one.ended_ms is None or one.ended_ms > other.ended_ms)
    return Difference("longer" if is_longer else "shorter", one, other, 0, ended_by)
