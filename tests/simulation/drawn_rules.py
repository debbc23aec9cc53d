"""Rules of every kind, drawn at random. To add a kind: its function, and its line in `DRAWN`."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.story import DrawnRule, Ms, is_told_at_once

Fields = dict[str, Any]
Match = dict[str, tuple[str, ...]]
Drawn = tuple[Fields, Match, tuple[str, ...]]  # of the kind; match; for_each

COMPOUNDS = {"all_of", "any_of"}
NO_CONDITIONS = {*COMPOUNDS, "prefect"}

WINDOWS_MS = (10_000, 20_000, 30_000, 60_000)
GROUPS: tuple[tuple[str, ...], ...] = ((), ("flow",), ("flow",))


def drawn_rule(draw: random.Random, name: str, kind: str) -> DrawnRule:
    """Draw a rule of `kind`."""
    fields, match, for_each = DRAWN[kind](draw)
    drawn = DrawnRule(name, kind, fields, match, for_each, lateness_ms=draw.choice((0, 3_000, 10_000, 15_000)))
    if is_told_at_once(drawn):
        return drawn
    if kind == "prefect":
        return replace(drawn, lateness_ms=0)
    return replace(
        drawn,
        for_ms=draw.choice((0, 0, 2_000, 5_000)),
        keep_firing_for_ms=draw.choice((0, 0, 5_000, 10_000)),
        no_data=draw.choice(_no_data(kind, fields)),
    )


def _no_data(kind: str, fields: Fields) -> tuple[str, ...]:
    """Return what a rule may say of an empty window."""
    if kind == "change" and fields["of"] in {"failure_rate", "duration"}:
        return "hold", "resolve"
    knows = kind in {"failure_rate", "burn_rate"} or (
        kind in {"consecutive_failures", "duration"} and "within" in fields
    )
    return ("hold", "resolve", "fire") if knows else ("hold",)


def _event(draw: random.Random) -> Drawn:
    matches: list[Match] = [{"state": ("failed", "crashed")}, {"event": ("log.write",)}, {"kind": ("flow-run",)}]
    match = draw.choice(matches)
    if draw.random() < 0.3:
        return {}, {"state": ("crashed",)}, draw.choice(GROUPS)
    return {"times": draw.randint(1, 5), "within": Ms(draw.choice(WINDOWS_MS))}, match, draw.choice(GROUPS)


def _failure_rate(draw: random.Random) -> Drawn:
    above = draw.choice((0.0, 0.2, 0.3, 0.5))
    fields: Fields = {
        "above": above,
        "within": Ms(draw.choice(WINDOWS_MS)),
        "min_samples": draw.randint(1, 4),
    }
    if above and draw.random() < 0.5:
        fields["clear_below"] = above / 2
    if draw.random() < 0.25:
        fields["guard"] = "wilson"
    return fields, {}, draw.choice(GROUPS)


def _consecutive_failures(draw: random.Random) -> Drawn:
    fields: Fields = {"times": draw.randint(1, 3)}
    if draw.random() < 0.5:
        fields["within"] = Ms(draw.choice(WINDOWS_MS))
    return fields, {}, draw.choice(GROUPS)


def _late(draw: random.Random) -> Drawn:
    fields: Fields = {
        "after": Ms(draw.choice((0, 5_000, 20_000))),
        "at_least": draw.randint(1, 2),
        "within": Ms(draw.choice(WINDOWS_MS)),
    }
    return fields, {}, draw.choice(GROUPS)


def _absence(draw: random.Random) -> Drawn:
    fields: Fields = {"after": Ms(draw.choice((5_000, 10_000, 20_000)))}
    form = draw.randrange(3)
    if form == 0:
        return fields, {"kind": ("flow-run",), "state": ("completed",)}, draw.choice(GROUPS)
    match: Match = {"event": ("log.write",)} if form == 1 else {"state": ("running", "late")}
    return fields, match, draw.choice((("run",), ("flow", "run")))


def _duration(draw: random.Random) -> Drawn:
    above = draw.choice((4_000, 10_000, 20_000))
    if draw.random() < 0.6:
        return {"above": Ms(above)}, {}, draw.choice((*GROUPS, ("run",)))
    fields: Fields = {
        "above": Ms(above),
        "quantile": draw.choice((0.5, 0.6, 0.95, 1.0)),
        "within": Ms(draw.choice(WINDOWS_MS)),
        "min_samples": draw.randint(1, 3),
    }
    if draw.random() < 0.5:
        fields["clear_below"] = Ms(above // 2)
    return fields, {}, draw.choice(GROUPS)


PAIRS: tuple[Fields, ...] = (
    {"above": 4, "within": Ms(60_000), "short": Ms(20_000)},
    {"above": 2, "within": Ms(90_000), "short": Ms(30_000)},
    {"above": 3, "within": Ms(24_000)},
    {"above": 1, "within": Ms(180_000), "short": Ms(20_000)},  # in steps of 2 s
)


def _burn_rate(draw: random.Random) -> Drawn:
    fields: Fields = {
        "objective": draw.choice((0.8, 0.9)),
        "pairs": tuple(draw.sample(PAIRS, draw.randint(1, 3))),
        "min_samples": draw.randint(1, 3),
    }
    if draw.random() < 0.25:
        fields["guard"] = "wilson"
    return fields, {}, draw.choice(GROUPS)


def _change(draw: random.Random) -> Drawn:
    within_ms, windows = draw.choice((4_000, 10_000, 20_000)), draw.randint(2, 5)
    fields: Fields = {
        "of": draw.choice(("failures", "failures", "runs", "events", "failure_rate", "duration")),
        "within": Ms(within_ms),
        "trailing": Ms(windows * within_ms),
        "direction": draw.choice(("up", "up", "down", "both")),
        "factor": draw.choice((1.1, 1.5, 2.0)),
        "sigma": draw.choice((0, 0.5, 1.0)),
        "min_samples": draw.randint(1, 2),
        "min_windows": draw.randint(2, windows),
    }
    return fields, {}, draw.choice(GROUPS)


STEPS: tuple[Match, ...] = (
    {"state": ("running",)},
    {"state": ("completed",)},
    {"state": ("failed", "crashed")},
    {"state": ("completed", "running")},
    {"event": ("log.write",)},
)


def _sequence(draw: random.Random) -> Drawn:
    fields: Fields = {
        "steps": ({"state": ("running",)}, *draw.choices(STEPS, k=draw.choice((1, 1, 2)))),
        "within": Ms(draw.choice(WINDOWS_MS)),
        "fires_when": draw.choice(("complete", "incomplete")),
    }
    return fields, {}, draw.choice((("flow",), ("run",)))


def _missed(draw: random.Random) -> Drawn:
    fields: Fields = {"every": Ms(draw.choice((20_000, 40_000))), "grace": Ms(draw.choice((0, 5_000, 15_000)))}
    if draw.random() < 0.4:
        fields |= {"completes_within": Ms(30_000), "if_failed": draw.choice(("miss", "skip"))}
    return fields, {}, ("flow",)


OF_A_RUN = ["absence", "event", "failure_rate", "late", "sequence"]  # kinds that go with each run as a key
NESTED_CHANCE = 0.1  # of each condition: it is a compound too


def _all_of(draw: random.Random) -> Drawn:
    for_each, conditions = _conditions(draw, 2)
    return _within(draw, {"conditions": conditions}), {}, for_each


def _any_of(draw: random.Random) -> Drawn:
    for_each, conditions = _conditions(draw, draw.randint(2, 4))
    return _within(draw, {"conditions": conditions, "at_least": draw.randint(1, 2)}), {}, for_each


def _conditions(draw: random.Random, count: int) -> tuple[tuple[str, ...], tuple[DrawnRule, ...]]:
    """Draw conditions that are written in place: rules that have the key of their compound."""
    for_each = draw.choice(((), ("flow",), ("flow",), ("run",)))
    kinds = OF_A_RUN if "run" in for_each else sorted(DRAWN.keys() - NO_CONDITIONS)

    def simple() -> DrawnRule:
        return replace(drawn_rule(draw, "", draw.choice(kinds)), for_each=for_each)

    def condition() -> DrawnRule:
        if draw.random() < NESTED_CHANCE:
            fields = _within(draw, {"conditions": (simple(), simple())})
            return DrawnRule("", draw.choice(sorted(COMPOUNDS)), fields, for_each=for_each)
        return simple()

    return for_each, tuple(condition() for _ in range(count))


def _within(draw: random.Random, fields: Fields) -> Fields:
    """Add how long conditions linger, which those that are told at once need."""
    needs_it = any(is_told_at_once(condition) for condition in fields["conditions"])
    return fields | {"within": Ms(draw.choice((20_000, 50_000)))} if needs_it or draw.random() < 0.7 else fields


NAMES = ("flow-run.running", "flow-run.completed", "flow-run.failed", "log.write")
# The keys of the two postures are never the same, so all that is told of one comes from one samples partition.
LABELS = {
    "Reactive": ((), ("prefect.resource.id",)),
    "Proactive": ((), ("prefect.resource.id", "prefect.resource.name")),
}


def _prefect(draw: random.Random) -> Drawn:
    posture = draw.choice(("Reactive", "Proactive"))
    fields: Fields = {
        "posture": posture,
        "match": draw.choice(({}, {}, {"prefect.resource.id": ("flow-run.a-*",)})),
        "after": tuple(draw.sample(NAMES, draw.choice((0, 0, 1, 2)))),
        "expect": tuple(draw.sample(NAMES, draw.choice((0, 1, 1, 2)))),
        "for_each": draw.choice(LABELS[posture]),
        "threshold": draw.randint(1, 3),
        "within": Ms(draw.choice((0, 10_000, 20_000, 30_000) if posture == "Reactive" else (0, 10_000, 30_000))),
    }
    return fields, {}, ()


DRAWN: dict[str, Callable[[random.Random], Drawn]] = {
    "event": _event,
    "failure_rate": _failure_rate,
    "consecutive_failures": _consecutive_failures,
    "late": _late,
    "absence": _absence,
    "duration": _duration,
    "burn_rate": _burn_rate,
    "change": _change,
    "sequence": _sequence,
    "missed": _missed,
    "all_of": _all_of,
    "any_of": _any_of,
    "prefect": _prefect,
}
