"""What people said and still holds: acts on each incident, silences, the kill switch of actions. Pure.

Every answer is a function of the set of controls. Of two that contradict each other the newer by (at_ms, control_id)
counts, in whatever order they are read, and the same control twice is once. Who writes one sees to it that it is newer
than what it answers (`later_than`), so a clock that steps back does not make an act lose to the one before it.

    at a bound                                      what goes first             what that means
    ACTS_MAX of one incident                        its oldest, never the       its history begins later
                                                    newest of its kind
    ALL_ACTS_MAX of all                             the incident that nobody    it stands as if nobody had done
                                                    touched for the longest     anything about it
    SILENCES_MAX                                    what ends first             somebody is told
    SWITCHES_MAX tenants                            what is not stopped         nothing

What went is counted in `dropped`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

from flowgauge.schemas.control import (
    Acknowledged,
    Act,
    ActionsSwitched,
    Assigned,
    Control,
    Merged,
    Noted,
    Replayed,
    ResolvedByHand,
    Silence,
    Silenced,
    SilenceExpired,
)
from flowgauge.schemas.settings import ANY_TENANT

ACTS_MAX = 100  # of one incident: more than people read
ALL_ACTS_MAX = 100_000  # some 30 MB, with the longest notes 400
SILENCES_MAX = 5_000
SWITCHES_MAX = 10_000  # tenants with a switch of their own

_OfKind = TypeVar("_OfKind", Acknowledged, Assigned, ResolvedByHand, Merged)
_Subject = tuple[str, str]  # tenant and incident


@dataclass(frozen=True, slots=True)
class Handling:
    """What people did about one incident: its acts, the oldest first; `is_cut` where still older ones were dropped."""

    acts: tuple[Act, ...] = ()
    is_cut: bool = False

    @property
    def acknowledged(self) -> Acknowledged | None:
        """Who looks after it, as last said."""
        return self._newest(Acknowledged)

    @property
    def assignee(self) -> str:
        """Whose it is; "" is nobody's."""
        assigned = self._newest(Assigned)
        return assigned.to if assigned else ""

    @property
    def resolved(self) -> ResolvedByHand | None:
        """Who said last that it is over."""
        return self._newest(ResolvedByHand)

    @property
    def merged(self) -> Merged | None:
        """What it was last said to be a part of; `ControlsInForce.root` says of which incident it really is."""
        return self._newest(Merged)

    @property
    def notes(self) -> tuple[Noted, ...]:
        """What was written down, the oldest first."""
        return tuple(act for act in self.acts if isinstance(act, Noted))

    def _newest(self, kind: type[_OfKind]) -> _OfKind | None:
        return next((act for act in reversed(self.acts) if isinstance(act, kind)), None)


NOTHING_DONE = Handling()


@dataclass(frozen=True, slots=True)
class SilenceInForce:
    """A silence with who said so and for whose incidents, and who ended it before its time."""

    added: Silenced
    expired: SilenceExpired | None = None

    @property
    def silence(self) -> Silence:
        """What it hides and when."""
        return self.added.silence

    @property
    def ends_ms(self) -> int:
        """When it ends, or was ended."""
        ends_ms = self.silence.ends_ms
        return min(ends_ms, self.expired.at_ms) if self.expired else ends_ms

    def is_at(self, at_ms: int) -> bool:
        """Tell whether `at_ms` lies between its start and its end; its hours and matchers are another question."""
        return self.silence.starts_ms <= at_ms < self.ends_ms


@dataclass(slots=True)
class _OfSilence:
    added: Silenced | None = None
    expired: SilenceExpired | None = None

    @property
    def ends_ms(self) -> int:
        return self.added.silence.ends_ms if self.added else 0


class ControlsInForce:
    """The fold of all controls that were read."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()  # acts, incidents, silences, switches that went at a bound
        self._acts: dict[_Subject, dict[str, Act]] = {}  # the incident touched last stands last
        self._cut: set[_Subject] = set()
        self._subjects: dict[str, _Subject] = {}  # of each act that is kept
        self._silences: dict[_Subject, _OfSilence] = {}  # by tenant and silence
        self._switches: dict[str, ActionsSwitched] = {}  # by tenant

    def take(self, control: Control) -> bool:
        """Take in a control; tell whether something stands otherwise now.

        A replay leaves nothing standing: it is for whoever sends, and always news.
        """
        match control:
            case Acknowledged() | Assigned() | Noted() | ResolvedByHand() | Merged():
                return self._take_act(control)
            case Silenced() | SilenceExpired():
                return self._take_silence(control)
            case ActionsSwitched():
                return self._take_switch(control)
            case Replayed():
                return True
            case _:
                assert_never(control)

    def forget(self, control_id: str) -> None:
        """Take a control out again: it was erased from the log."""
        if subject := self._subjects.pop(control_id, None):
            del self._acts[subject][control_id]
            self._drop_empty(subject)
        for key, of in [*self._silences.items()]:
            of.added = None if of.added and of.added.control_id == control_id else of.added
            of.expired = None if of.expired and of.expired.control_id == control_id else of.expired
            if of.added is None and of.expired is None:
                del self._silences[key]
        for tenant in [name for name, each in self._switches.items() if each.control_id == control_id]:
            del self._switches[tenant]

    def handling(self, tenant: str, incident_id: str) -> Handling:
        """Return what was done about an incident."""
        acts = self._acts.get((tenant, incident_id))
        if acts is None:
            return NOTHING_DONE
        return Handling(tuple(sorted(acts.values(), key=order)), (tenant, incident_id) in self._cut)

    def root(self, tenant: str, incident_id: str) -> str:
        """Return the incident that this one is looked after in: itself where it is part of none.

        Of merges that lead in a circle the newest does not count, so one incident of them is always heard of.
        """
        passed: dict[str, Merged] = {}
        here = incident_id
        while (merged := self.handling(tenant, here).merged) is not None and here not in passed:
            passed[here] = merged
            here = merged.into
        if here not in passed:
            return here
        circle = [*passed.values()][[*passed].index(here) :]
        return max(circle, key=order).incident_id

    def silences(self, tenant: str, at_ms: int) -> list[Silence]:
        """Return the silences that may hide incidents of `tenant` at `at_ms`: its own, and everybody's."""
        return [each.silence for each in self.all_silences(tenant) if each.is_at(at_ms)]

    def all_silences(self, tenant: str) -> list[SilenceInForce]:
        """Return all silences for `tenant` that are known, over ones too, in the order of their ends."""
        found = [
            SilenceInForce(of.added, of.expired if of.expired and order(of.expired) > order(of.added) else None)
            for (whose, _), of in self._silences.items()
            if of.added and whose in {tenant, ANY_TENANT}
        ]
        return sorted(found, key=lambda each: (each.ends_ms, each.silence.silence_id))

    def are_actions_stopped(self, tenant: str) -> bool:
        """Tell whether the kill switch of actions is on, for `tenant` or for everybody."""
        return any(each.are_stopped for name in (tenant, ANY_TENANT) if (each := self._switches.get(name)))

    def later_than(self, tenant: str, incident_id: str, now_ms: int) -> int:
        """Return the time of an act that is done now: after every act on the incident that is known."""
        return max([now_ms, *(act.at_ms + 1 for act in self._acts.get((tenant, incident_id), {}).values())])

    def __len__(self) -> int:
        """Return how many acts are kept."""
        return len(self._subjects)

    def _take_act(self, act: Act) -> bool:
        if act.control_id in self._subjects:
            return False
        subject = (act.tenant, act.incident_id)
        acts = self._acts[subject] = self._acts.pop(subject, {})
        acts[act.control_id] = act
        self._subjects[act.control_id] = subject
        if len(acts) > ACTS_MAX:
            self._drop_act(subject, _spare(acts))
        while len(self._subjects) > ALL_ACTS_MAX:
            self._drop_incident(next(iter(self._acts)))
        return act.control_id in self._subjects

    def _drop_act(self, subject: _Subject, control_id: str) -> None:
        del self._acts[subject][control_id], self._subjects[control_id]
        self._cut.add(subject)
        self.dropped["acts"] += 1

    def _drop_incident(self, subject: _Subject) -> None:
        for control_id in self._acts.pop(subject):
            del self._subjects[control_id]
        self._cut.discard(subject)
        self.dropped["incidents"] += 1

    def _drop_empty(self, subject: _Subject) -> None:
        if not self._acts[subject]:
            del self._acts[subject]
            self._cut.discard(subject)

    def _take_silence(self, control: Silenced | SilenceExpired) -> bool:
        silence_id = control.silence.silence_id if isinstance(control, Silenced) else control.silence_id
        key = (control.tenant, silence_id)
        before = self._silences.get(key, _OfSilence())
        if isinstance(control, Silenced):
            after = replace(before, added=_newer(before.added, control))
        else:
            after = replace(before, expired=_newer(before.expired, control))
        self._silences[key] = after
        if len(self._silences) > SILENCES_MAX:
            del self._silences[min(self._silences, key=lambda each: (self._silences[each].ends_ms, each))]
            self.dropped["silences"] += 1
        return after != before and key in self._silences

    def _take_switch(self, control: ActionsSwitched) -> bool:
        before = self._switches.get(control.tenant)
        self._switches[control.tenant] = after = _newer(before, control)
        if len(self._switches) > SWITCHES_MAX:
            del self._switches[min(self._switches, key=lambda each: (self._switches[each].are_stopped, each))]
            self.dropped["switches"] += 1
        return after != before


def order(control: Control) -> tuple[int, str]:
    """Return where a control stands among all that there are."""
    return (control.at_ms, control.control_id)


_Same = TypeVar("_Same", Silenced, SilenceExpired, ActionsSwitched)


def _newer(before: _Same | None, now: _Same) -> _Same:
    return now if before is None or order(now) > order(before) else before


def _spare(acts: Mapping[str, Act]) -> str:
    """Return the oldest act that is not the newest of its kind; there is one where there are more acts than kinds."""
    ordered = sorted(acts.values(), key=order)
    kept = {type(act): act.control_id for act in ordered}.values()
    return next(act.control_id for act in ordered if act.control_id not in kept)
