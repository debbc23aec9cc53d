"""What happens while a notifier is killed again and again: incidents open, change and end, and people act.

    old      opened before the notifier looked: while history is loaded nobody is told
    quiet    silenced before it opens; some end while they are, the others outlive the silence
    others   some go without data, some end, some are ended by hand, some are acknowledged

Drawn from one seed, but for what depends on who was told of by then.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.integration.killed_notifier import ALERT_AGE_MS_MAX

from flowgauge.schemas import control
from flowgauge.schemas.ids import incident_id, transition_id
from flowgauge.schemas.transition import AlertState, Transition

TENANT = "acme"
RULE = "failing"
CHANNELS = ("hook", "chat")
ACTIONS = ("action:once", "action:again")
OLD_MS = ALERT_AGE_MS_MAX + 3_600_000


@dataclass
class Incident:
    """One, and what may be said of it."""

    flow: str
    opened_ms: int
    notify: tuple[str, ...] = CHANNELS
    hidden_by: str = ""  # a silence
    is_old: bool = False
    transitions: list[Transition] = field(default_factory=list[Transition])
    by_hand_ms: int = 0  # when a person ended it

    @property
    def id(self) -> str:
        return incident_id(TENANT, RULE, [self.flow], self.opened_ms)

    @property
    def is_over(self) -> bool:
        return self.transitions[-1].to_state == "resolved"

    def go_on(self, to: AlertState, at_ms: int) -> Transition:
        """Return its next transition; only the opening runs actions."""
        seq = len(self.transitions)
        came = self.transitions[-1].to_state if self.transitions else "inactive"
        made = Transition(
            transition_id=transition_id(self.id, seq, to),
            incident_id=self.id,
            seq=seq,
            tenant=TENANT,
            rule=RULE,
            rule_kind="failure_rate",
            rules_version=1,
            key={"flow": self.flow},
            from_state=came,
            to_state=to,
            at_ms=at_ms,
            opened_at_ms=self.opened_ms,
            reason="above",
            value=0.6,
            samples=5,
            summary="{{ flow }} fails",
            notify=list(self.notify if not seq else [each for each in self.notify if each in CHANNELS]),
        )
        self.transitions.append(made)
        return made


@dataclass
class Story:
    """All incidents so far. Each method returns what is to be appended, in order."""

    chance: random.Random
    incidents: list[Incident] = field(default_factory=list[Incident])
    silences: list[str] = field(default_factory=list[str])  # in force

    @property
    def transitions(self) -> list[Transition]:
        return [each for incident in self.incidents for each in incident.transitions]

    def old_ones(self, now_ms: int) -> list[Transition]:
        """Open six that nobody was told of in their time; half of them are over."""
        at_ms = now_ms - OLD_MS
        found: list[Transition] = []
        for number in range(6):
            incident = Incident(f"old-{number}", at_ms, (*CHANNELS, ACTIONS[0]), is_old=True)
            self.incidents.append(incident)
            found.append(incident.go_on("firing", at_ms))
            found += [incident.go_on("resolved", at_ms + 1_000)] if number % 2 else []
        return found

    def silence(self, number: int, now_ms: int) -> control.Silenced:
        """Silence two flows that have no incident yet."""
        name = f"quiet-{number}"
        self.silences.append(name)
        return control.Silenced(
            control_id=f"silence {name}",
            tenant=TENANT,
            at_ms=now_ms,
            by="eva",
            silence=control.Silence(
                silence_id=name,
                matchers=[control.Matcher("flow", "=~", f"{name}-.*")],
                starts_ms=now_ms - 1,
                ends_ms=now_ms + 30 * 86_400_000,
                reason="planned work",
            ),
        )

    def expire(self, name: str, now_ms: int) -> control.SilenceExpired:
        """End a silence."""
        self.silences.remove(name)
        return control.SilenceExpired(
            control_id=f"expire {name}", tenant=TENANT, at_ms=now_ms, by="eva", silence_id=name
        )

    def quiet_ones(self, number: int, now_ms: int) -> list[Transition]:
        """Open two that a silence hides, one of which is over soon."""
        made = [Incident(f"quiet-{number}-{each}", now_ms, hidden_by=f"quiet-{number}") for each in range(2)]
        self.incidents += made
        return [each.go_on("firing", now_ms) for each in made] + [made[0].go_on("resolved", now_ms + 1)]

    def turn(self, number: int, now_ms: int) -> list[Transition]:
        """Open three and let some that are open go on."""
        going = [each for each in self.incidents if not (each.is_over or each.is_old or each.hidden_by)]
        found: list[Transition] = []
        for incident in going:
            if self.chance.random() < 0.3:
                may_lack = incident.transitions[-1].to_state == "firing" and self.chance.random() < 0.3
                found.append(incident.go_on("no_data" if may_lack else "resolved", now_ms))
        for each in range(3):
            notify = (*CHANNELS, ACTIONS[number % 2]) if each == 0 else CHANNELS
            incident = Incident(f"flow-{number}-{each}", now_ms, notify)
            self.incidents.append(incident)
            found.append(incident.go_on("firing", now_ms))
        return found

    def acts(self, number: int, heard: set[str], now_ms: int) -> list[control.Control]:
        """Return what people do about incidents that they have heard of, and about what was given up."""
        found: list[control.Control] = []
        known = [each for each in self.incidents if each.id in heard and not (each.is_over or each.by_hand_ms)]
        if known and number % 3 == 0:
            incident = self.chance.choice(known)
            incident.by_hand_ms = now_ms
            found.append(
                control.ResolvedByHand(
                    control_id=f"resolve {number}", tenant=TENANT, at_ms=now_ms, by="eva", incident_id=incident.id
                )
            )
        elif known and number % 3 == 1:
            incident = self.chance.choice(known)
            found.append(
                control.Acknowledged(
                    control_id=f"ack {number}", tenant=TENANT, at_ms=now_ms, by="ben", incident_id=incident.id
                )
            )
        if number % 5 == 4:
            found.append(replay(f"replay {number}", now_ms))
        return found


def replay(name: str, now_ms: int) -> control.Replayed:
    """Ask for all again that was given up in the chat."""
    return control.Replayed(control_id=name, tenant=TENANT, at_ms=now_ms, by="eva", channel="chat")


def never_told(incidents: Sequence[Incident]) -> set[str]:
    """Return the incidents that nobody is to hear of."""
    return {each.id for each in incidents if each.is_over and (each.is_old or each.hidden_by)}
