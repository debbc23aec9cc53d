"""Rules of every kind, drawn at random. To add a kind: its function, and its line in `DRAWN`."""

import random
from collections.abc import Callable
from typing import Any

from tests.simulation.story import DrawnRule, Ms

Fields = dict[str, Any]
Match = dict[str, tuple[str, ...]]
Drawn = tuple[Fields, Match, tuple[str, ...]]  # of the kind; match; for_each

# Kinds that no world draws, each with the reason. A kind that is neither here nor in DRAWN fails a test.
NOT_DRAWN = {
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
    return kind in {"failure_rate", "burn_rate"} or (
        kind in {"consecutive_failures", "duration"} and "within" in fields
    )


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


def _burn_rate(draw: random.Random) -> Drawn:
    pairs = [{"above": 4, "within": "60s", "short": "20s"}, {"above": 2, "within": "90s", "short": "30s"}]
    fields: Fields = {"objective": 0.9, "pairs": pairs[: draw.randint(1, 2)], "min_samples": draw.randint(1, 3)}
    return fields, {}, draw.choice(GROUPS)


def _change(draw: random.Random) -> Drawn:
    within_ms = draw.choice((10_000, 20_000))
    fields: Fields = {
        "of": "failures",
        "within": Ms(within_ms),
        "trailing": Ms(4 * within_ms),
        "min_samples": 1,
        "sigma": 0.5,
    }
    return fields, {}, draw.choice(GROUPS)


def _sequence(draw: random.Random) -> Drawn:
    steps = [
        {"state": "running"},
        {"state": draw.choice((["completed"], ["failed", "crashed"], ["completed", "running"]))},
    ]
    fields: Fields = {
        "steps": steps,
        "within": Ms(draw.choice(WINDOWS_MS)),
        "fires_when": draw.choice(("complete", "incomplete")),
    }
    return fields, {}, draw.choice((("flow",), ("run",)))


def _missed(draw: random.Random) -> Drawn:
    fields: Fields = {"every": Ms(draw.choice((20_000, 40_000))), "grace": Ms(draw.choice((5_000, 15_000)))}
    if draw.random() < 0.4:
        fields["completes_within"] = Ms(30_000)
    return fields, {}, ("flow",)


CONDITIONS: tuple[Fields, ...] = (
    {"match": {"state": "crashed"}, "when": {"event": {}}},
    {"match": {"state": "completed"}, "when": {"absence": {"after": "15s"}}, "for": "3s"},
    {"when": {"failure_rate": {"above": 0.4, "within": "20s", "min_samples": 1}}, "keep_firing_for": "5s"},
    {"when": {"late": {"after": "5s", "within": "20s"}}},
    {"match": {"state": ["failed", "crashed"]}, "when": {"event": {"times": 1, "within": "30s"}}},
)


def _all_of(draw: random.Random) -> Drawn:
    return {"within": Ms(draw.choice((20_000, 50_000))), "conditions": draw.sample(CONDITIONS, 2)}, {}, ("flow",)


def _any_of(draw: random.Random) -> Drawn:
    count = draw.randint(2, 4)
    fields: Fields = {
        "conditions": draw.sample(CONDITIONS, count),
        "at_least": draw.randint(1, 2),
        "within": Ms(20_000),
    }
    return fields, {}, ("flow",)


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
}
