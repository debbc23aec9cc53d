"""Rules of every kind, drawn at random. To add a kind: its function, and its line in `DRAWN`."""

import random
from collections.abc import Callable

from tests.simulation.story import DrawnRule, Ms

Fields = dict[str, Ms | int | float | str]
Match = dict[str, tuple[str, ...]]
Drawn = tuple[Fields, Match, tuple[str, ...]]  # of the kind; match; for_each

# Kinds that no world draws, each with the reason. A kind that is neither here nor in DRAWN fails a test.
NOT_DRAWN = {
    "missed": "its slots are held to their own oracle by its laws",
    "change": "its baselines need weeks of events: held by its laws",
    "burn_rate": "its windows need hours of events: held by its laws",
    "sequence": "held to its own oracle by its laws",
    "all_of": "held to its own oracle by its laws",
    "any_of": "held to its own oracle by its laws",
    "prefect": "held to Prefect's own engine by the differential test",
}

WINDOWS_MS = (10_000, 20_000, 30_000, 60_000)
GROUPS: tuple[tuple[str, ...], ...] = ((), ("flow",), ("flow",))


def drawn_rule(draw: random.Random, name: str, kind: str) -> DrawnRule:
    """Draw a rule of `kind`."""
    fields, match, for_each = DRAWN[kind](draw)
    is_at_once = kind == "event" and not fields
    return DrawnRule(
        name=name,
        kind=kind,
        fields=fields,
        match=match,
        for_each=for_each,
        for_ms=0 if is_at_once else draw.choice((0, 0, 2_000, 5_000)),
        keep_firing_for_ms=0 if is_at_once else draw.choice((0, 0, 5_000, 10_000)),
        no_data=draw.choice(("hold", "resolve", "fire")) if _knows_no_data(kind, fields) else "hold",
        lateness_ms=draw.choice((0, 3_000, 10_000, 15_000)),
    )


def _knows_no_data(kind: str, fields: Fields) -> bool:
    return kind == "failure_rate" or (kind in {"consecutive_failures", "duration"} and "within" in fields)


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


DRAWN: dict[str, Callable[[random.Random], Drawn]] = {
    "event": _event,
    "failure_rate": _failure_rate,
    "consecutive_failures": _consecutive_failures,
    "late": _late,
    "absence": _absence,
    "duration": _duration,
}
