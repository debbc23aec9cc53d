"""The faults, drawn from a seed: what is done to whom, and when.

A timeline begins with one fault of each kind that it may hold, in an order that the seed draws, and goes on at random.
Between two of them either everything catches up again, or the next comes at once: both are drawn.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "kill",  # SIGKILL of one process
    "kill two",  # of two of different roles, at once
    "freeze",  # SIGSTOP for less than the session
    "zombie",  # SIGSTOP for longer than the session: it wakes as a former owner
    "move",  # one of two members ends in order, and comes back later
    "roll",  # every process in turn ends in order and starts again
    "broker",  # SIGKILL of the broker, and a start
    "rules",  # another rule set
    "clickhouse",  # SIGKILL of ClickHouse's front, and a start a little later
    "claim",  # SIGKILL of sinks and ClickHouse, which comes back and claims rows that it has not
    "inserts",  # inserts that are cut, time out or fail
    "refused",  # ClickHouse refuses all of them for a while, see REFUSALS
]
WEIGHTS: dict[Kind, int] = {
    "kill": 58, "kill two": 6, "freeze": 5, "zombie": 9, "move": 6, "roll": 1, "broker": 4, "rules": 4,
    "clickhouse": 4, "claim": 2, "inserts": 3, "refused": 4,
}  # fmt: skip
ROLE_WEIGHTS = {"detect": 34, "notify": 20, "match": 16, "sink": 18, "gateway": 6, "pulse": 6}
SECONDS: dict[Kind, tuple[float, float]] = {
    "freeze": (0.5, 4.0), "zombie": (7.5, 12.0), "move": (2.0, 6.0), "broker": (0.0, 3.0), "clickhouse": (0.5, 4.0),
    "inserts": (2.0, 4.0), "refused": (2.0, 6.0),
}  # fmt: skip
REFUSALS = ("read-only", "too many parts", "memory", "full disk", "password")
AIMED = 0.6  # share of kills and freezes of a detector or notifier that wait for an open transaction
PATIENT = 0.6  # share of faults after which everything catches up before the next


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do."""

    kind: Kind
    targets: tuple[str, ...] = ()  # instances
    seconds: float = 0.0  # how long it lasts; before a kill: how long it waits
    refusal: str = ""  # why ClickHouse refuses
    is_aimed: bool = False  # waits until a transaction of the target is open
    waits_until_ready: bool = False  # else it may hit a process that is just starting
    is_patient: bool = True  # everything catches up before the next
    pause_s: float = 0.0  # before the next, then


def timeline(seed: int, count: int, team: Sequence[str], kinds: Sequence[Kind] = tuple(WEIGHTS)) -> list[Fault]:
    """Return `count` faults for a team of instances such as `detect-1`."""
    chance = random.Random(seed)
    roles = sorted({each.partition("-")[0] for each in team})
    forced: list[Kind] = [kind for kind in kinds if kind != "kill"]
    begun = [(kind, "") for kind in forced] + [("kill", role) for role in roles]
    chance.shuffle(begun)
    faults = [_fault(chance, kind, team, role) for kind, role in begun][:count]
    weights = [WEIGHTS[kind] for kind in kinds]
    while len(faults) < count:
        faults.append(_fault(chance, chance.choices(kinds, weights)[0], team))
    return faults


def _fault(chance: random.Random, kind: Kind | str, team: Sequence[str], role: str = "") -> Fault:
    known: Kind = kind  # type: ignore[assignment]  # drawn from WEIGHTS
    low, high = SECONDS.get(known, (0.0, 0.0))
    targets: tuple[str, ...] = ()
    if known in {"kill", "freeze", "zombie"}:
        targets = (_member(chance, team, role),)
    elif known == "kill two":
        one = _member(chance, team, role)
        targets = (one, _member(chance, [each for each in team if each.partition("-")[0] != one.partition("-")[0]]))
    elif known == "move":
        pairs = [each for each in team if sum(other.partition("-")[0] == each.partition("-")[0] for other in team) > 1]
        targets = (chance.choice(pairs or list(team)),)
    may_aim = bool(targets) and targets[0].partition("-")[0] in {"detect", "notify"}
    return Fault(
        known,
        targets,
        seconds=round(chance.uniform(low, high), 1),
        refusal=chance.choice(REFUSALS) if known == "refused" else "",
        is_aimed=may_aim and known in {"kill", "kill two", "zombie"} and chance.random() < AIMED,
        is_patient=chance.random() < PATIENT,
        pause_s=round(chance.uniform(0.3, 2.5), 1),
    )


def _member(chance: random.Random, team: Sequence[str], role: str = "") -> str:
    roles = sorted({each.partition("-")[0] for each in team})
    drawn = role or chance.choices(roles, [ROLE_WEIGHTS[each] for each in roles])[0]
    return chance.choice([each for each in team if each.partition("-")[0] == drawn])
