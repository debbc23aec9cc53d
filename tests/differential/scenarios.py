"""Random automations and events, as Prefect has them: a function of the seed alone, and a way to make one smaller.

Few names, labels and keys, so that events meet triggers; times that gather around `within`, its end and the sweep;
events late by up to 20 minutes, ahead, of equal times, and sent twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.property.detection import START_MS

from flowgauge.schemas.times import rfc3339

Json = dict[str, Any]

NAMES = ("etl.run.Failed", "etl.run.Running", "etl.run.Completed", "etl.beat", "etl.run.", "prefect.log.write")
PATTERNS = (
    "etl.run.Failed",
    "etl.run.Running",
    "etl.run.Completed",
    "etl.beat",
    "etl.run.*",
    "etl.*",
    "*",
    "!etl.beat",
)
WITHIN_S = (0, 0.5, 5, 10, 12.5, 30, 60, 300)
LABELS = ("prefect.resource.id", "prefect.resource.name", "env", "related:flow:prefect.resource.id", "related:tag:env")
VALUES = ("a", "b", "dev-1", "*", "dev-*", "!a", "!dev-*", "[ab]", "?")
GAPS_MS = (0, 1, 100, 999, 1_000, 4_000, 5_000, 9_000, 15_000, 60_000, 65_000, 200_000)
LATE_MS = (-70_000, -1_000, 1, 900, 4_000, 11_000, 40_000, 700_000, 1_200_000)
EVENTS_MAX = 30
TAIL_MS = 400_000


@dataclass(frozen=True)
class Scenario:
    """What both sides are given. Events are (arrival in ms, event) in order of arrival.

    `asked` of the engine alone: `loads_at_start` its automations, and `lag_counts` as in a server.
    """

    seed: int
    automations: tuple[Json, ...]
    events: tuple[tuple[int, Json], ...]
    asked: Json = field(default_factory=dict[str, Any])

    @property
    def until_ms(self) -> int:
        """When both look for the last time."""
        last_ms = self.events[-1][0] if self.events else START_MS
        return (last_ms + TAIL_MS) // 5_000 * 5_000

    def as_json(self) -> Json:
        """Return what the engine reads."""
        return {
            **self.asked,
            "start_ms": START_MS,
            "until_ms": self.until_ms,
            "automations": list(self.automations),
            "events": [{"arrives_ms": arrives_ms, "event": event} for arrives_ms, event in self.events],
        }


def scenario(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    random = Random(seed)  # the same for the same seed, that is all
    automations = tuple({"name": f"automation {number}", "trigger": trigger(random)} for number in range(1 + seed % 3))
    return Scenario(seed, automations, tuple(_events(random)))


def trigger(random: Random) -> Json:
    """Draw an event trigger."""
    posture = random.choice(("Reactive", "Proactive"))
    within = random.choice([each for each in WITHIN_S if posture == "Reactive" or each == 0 or each >= 10])
    found: Json = {
        "type": "event",
        "posture": posture,
        "expect": random.sample(PATTERNS, random.choice((0, 1, 1, 1, 2))),
        "after": random.sample(PATTERNS, random.choice((0, 0, 1, 1, 2))),
        "for_each": random.sample(LABELS, random.choice((0, 1, 1, 2))),
        "threshold": random.choice((1, 1, 2, 3)),
        "within": within,
    }
    if random.random() < 0.25:
        found["match"] = _specification(random, ("prefect.resource.id", "prefect.resource.name", "env"))
    if random.random() < 0.25:
        related = [
            {"prefect.resource.role": random.choice(("flow", "tag"))} | _specification(random, ("env",))
            for _ in range(random.choice((1, 1, 2)))
        ]
        found["match_related"] = related if len(related) > 1 else related[0]
    return found


def _specification(random: Random, labels: tuple[str, ...]) -> Json:
    return {
        label: random.sample(VALUES, random.choice((1, 1, 2))) if random.random() < 0.5 else random.choice(VALUES)
        for label in random.sample(labels, random.choice((1, 1, min(2, len(labels)))))
    }


def _events(random: Random) -> Iterator[tuple[int, Json]]:
    arrives_ms, sent = START_MS + random.randrange(20_000), list[Json]()
    is_late = random.random() < 0.5
    for number in range(random.randrange(2, EVENTS_MAX)):
        arrives_ms += random.choice(GAPS_MS)
        if sent and random.random() < 0.07:
            yield arrives_ms, random.choice(sent)
            continue
        late_ms = random.choice(LATE_MS) if is_late and random.random() < 0.3 else 0
        event = _event(random, number, arrives_ms - late_ms)
        sent.append(event)
        yield arrives_ms, event


def _event(random: Random, number: int, occurred_ms: int) -> Json:
    own = {"prefect.resource.id": random.choice("aab")}
    if random.random() < 0.7:
        own["prefect.resource.name"] = random.choice(("a", "dev-1", "dev-2"))
    if random.random() < 0.5:
        own["env"] = random.choice(("a", "b", "dev-1"))
    related: list[Json] = []
    for role in random.sample(("flow", "tag", "tag"), random.randrange(4)):
        item = {"prefect.resource.id": random.choice("xy"), "prefect.resource.role": role}
        if random.random() < 0.6:
            item["env"] = random.choice(("a", "dev-1"))
        related.append(item)
    return {
        "id": f"00000000-0000-4000-8000-{number:012x}",
        "occurred": rfc3339(occurred_ms).replace("Z", "123Z") if number % 2 else rfc3339(occurred_ms),
        "event": random.choice(NAMES),
        "resource": own,
        "related": related,
        "payload": {},
    }


def shortest(found: Scenario, differs: Callable[[Scenario], bool]) -> Scenario:
    """Return a scenario that still differs, from which nothing can be taken away."""
    has_shrunk = True
    while has_shrunk:
        has_shrunk = False
        for smaller in _smaller(found):
            if differs(smaller):
                found, has_shrunk = smaller, True
                break
    return found


def _smaller(found: Scenario) -> Iterator[Scenario]:
    if len(found.automations) > 1:
        for each in found.automations:
            yield replace(found, automations=(each,))
    for size in (8, 4, 2, 1):
        for start in range(0, len(found.events), size):
            yield replace(found, events=found.events[:start] + found.events[start + size :])
    for number, each in enumerate(found.automations):
        for name in ("match", "match_related", "after", "for_each"):
            if each["trigger"].get(name):
                trigger_left = {other: value for other, value in each["trigger"].items() if other != name}
                changed = (*found.automations[:number], {**each, "trigger": trigger_left})
                yield replace(found, automations=changed + found.automations[number + 1 :])
