"""What people said and still holds: acts on each incident, silences, the kill switch of actions. Pure.

Every answer is a function of the set of controls. Of two that contradict each other the newer by (at_ms, control_id)
counts, in whatever order they are read, and the same control twice is once. Who writes one sees to it that it is newer
than what it answers (`later_than`), so a clock that steps back does not make an act lose to the one before it.

    at a bound                                      what goes first             what that means
    ACTS_MAX of one incident                        its oldest, never the       its history begins later
                                                    newest of its kind
    ALL_ACTS_MAX of all                             of the tenant with most     it stands as if nobody had done
                                                    acts the incident left      anything about it
                                                    alone for the longest
    SILENCES_MAX                                    what ends first             somebody is told
    SWITCHES_MAX tenants                            what is not stopped         nothing

What went is counted in `dropped`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    Silenced,
    SilenceExpired,
)
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.silencing import Silences

ACTS_MAX = 100  # of one incident: more than people read
ALL_ACTS_MAX = 100_000  # some 30 MB, with the longest notes 400
SWITCHES_MAX = 10_000  # tenants with a switch of their own

_OfKind = TypeVar("_OfKind", bound=Act)
_Subject = tuple[str, str]  # tenant and incident


@dataclass(frozen=True, slots=True)
class Handling:
    """What people did about one incident: its acts, the oldest first; `is_cut` where still older ones were dropped.

    `part_of` is the incident that it is looked after in, "" where it is part of none.
    """

    acts: tuple[Act, ...] = ()
    is_cut: bool = False
    part_of: str = ""

    @property
    def acknowledged(self) -> Acknowledged | None:
        """Who looks after it, as last said."""
        return _newest(self.acts, Acknowledged)

    @property
    def assignee(self) -> str:
        """Whose it is; "" is nobody's."""
        assigned = _newest(self.acts, Assigned)
        return assigned.to if assigned else ""

    @property
    def resolved(self) -> ResolvedByHand | None:
        """Who said last that it is over."""
        return _newest(self.acts, ResolvedByHand)

    @property
    def notes(self) -> tuple[Noted, ...]:
        """What was written down, the oldest first."""
        return tuple(act for act in self.acts if isinstance(act, Noted))


NOTHING_DONE = Handling()


class ControlsInForce:
    """The fold of all controls that were read."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()  # acts, incidents, silences, switches that went at a bound
        self.silences = Silences()
        self._acts: dict[str, dict[str, dict[str, Act]]] = {}  # by tenant and incident, the one touched last at the end
        self._held: Counter[str] = Counter()  # acts by tenant
        self._cut: set[_Subject] = set()
        self._subjects: dict[str, _Subject] = {}  # of each act that is kept
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
        if subject := self._subjects.get(control_id):
            self._take_out(subject, control_id)
        self.silences.forget(control_id)
        for tenant in [name for name, each in self._switches.items() if each.control_id == control_id]:
            del self._switches[tenant]

    def handling(self, tenant: str, incident_id: str) -> Handling:
        """Return what was done about an incident."""
        acts = self._ordered(tenant, incident_id)
        if not acts:
            return NOTHING_DONE
        root = self.root(tenant, incident_id)
        return Handling(acts, (tenant, incident_id) in self._cut, root if root != incident_id else "")

    def root(self, tenant: str, incident_id: str) -> str:
        """Return the incident that this one is looked after in: itself where it is part of none.

        Of merges that lead in a circle the newest does not count, so one incident of them is always heard of.
        """
        passed: dict[str, Merged] = {}
        here = incident_id
        while here not in passed and (merged := _newest(self._ordered(tenant, here), Merged)):
            passed[here] = merged
            here = merged.into
        if here not in passed:
            return here
        circle = [*passed.values()][[*passed].index(here) :]
        return max(circle, key=order).incident_id

    def switch_of_actions(self, tenant: str) -> ActionsSwitched | None:
        """Return the newest word on the actions of this tenant alone, or of "*"; None where there is none."""
        return self._switches.get(tenant)

    def are_actions_stopped(self, tenant: str) -> bool:
        """Tell whether the kill switch of actions is on, for `tenant` or for everybody."""
        return any(each.are_stopped for name in (tenant, ANY_TENANT) if (each := self._switches.get(name)))

    def later_than(self, tenant: str, incident_id: str, now_ms: int) -> int:
        """Return the time of an act that is done now: after every act on the incident that is known."""
        return max([now_ms, *(act.at_ms + 1 for act in self._of(tenant, incident_id).values())])

    def __len__(self) -> int:
        """Return how many acts are kept."""
        return len(self._subjects)

    def _of(self, tenant: str, incident_id: str) -> Mapping[str, Act]:
        return self._acts.get(tenant, {}).get(incident_id, {})

    def _ordered(self, tenant: str, incident_id: str) -> tuple[Act, ...]:
        return tuple(sorted(self._of(tenant, incident_id).values(), key=order))

    def _take_act(self, act: Act) -> bool:
        if act.control_id in self._subjects:
            return False
        subject = (act.tenant, act.incident_id)
        of_tenant = self._acts.setdefault(act.tenant, {})
        acts = of_tenant[act.incident_id] = of_tenant.pop(act.incident_id, {})
        acts[act.control_id] = act
        self._subjects[act.control_id] = subject
        self._held[act.tenant] += 1
        if len(acts) > ACTS_MAX:
            self._cut.add(subject)
            self._take_out(subject, _spare(acts))
            self.dropped["acts"] += 1
        while len(self._subjects) > ALL_ACTS_MAX:
            (most, _), *_ = self._held.most_common(1)
            self._drop_incident(most, next(iter(self._acts[most])))
        return act.control_id in self._subjects

    def _drop_incident(self, tenant: str, incident_id: str) -> None:
        for control_id in [*self._of(tenant, incident_id)]:
            self._take_out((tenant, incident_id), control_id)
        self.dropped["incidents"] += 1

    def _take_out(self, subject: _Subject, control_id: str) -> None:
        tenant, incident_id = subject
        del self._acts[tenant][incident_id][control_id], self._subjects[control_id]
        self._held[tenant] -= 1
        if not self._acts[tenant][incident_id]:
            del self._acts[tenant][incident_id]
            self._cut.discard(subject)
        if not self._acts[tenant]:
            del self._acts[tenant], self._held[tenant]

    def _take_silence(self, control: Silenced | SilenceExpired) -> bool:
        is_news = self.silences.take(control)
        self.dropped["silences"] = self.silences.dropped
        return is_news

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


def _newest(acts: Sequence[Act], kind: type[_OfKind]) -> _OfKind | None:
    return next((act for act in reversed(acts) if isinstance(act, kind)), None)


def _newer(before: ActionsSwitched | None, now: ActionsSwitched) -> ActionsSwitched:
    return now if before is None or order(now) > order(before) else before


def _spare(acts: Mapping[str, Act]) -> str:
    """Return the oldest act that is not the newest of its kind; there is one where there are more acts than kinds."""
    ordered = sorted(acts.values(), key=order)
    kept = {type(act): act.control_id for act in ordered}.values()
    return next(act.control_id for act in ordered if act.control_id not in kept)
