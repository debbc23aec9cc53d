"""What the ways say, compared line by line with what the replay says. Pure.

A line is a transition as `flowgauge replay --format jsonl` prints it: its id, its times, its numbers and its reason.
Lines of one incident come in the order in which they were told.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import msgspec
from tests.equality.costs import NO_COST, Cost

from flowgauge.processors.replay import transition_row
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.transition import Transition

EXAMPLES_MAX = 3
TOLD, ENDED = frozenset({"firing", "no_data"}), frozenset({"resolved", "inactive"})


@dataclass(frozen=True, slots=True)
class Said:
    """The lines that a way said, how long it took and what it cost, and what else to know of it."""

    lines: Sequence[bytes]
    seconds: float
    cost: Cost = NO_COST
    notes: Mapping[str, object] = field(default_factory=dict[str, object])

    def digest(self) -> str:
        """Return the same for the same lines, in whatever order those of different incidents were said."""
        return hashlib.sha256(b"\n".join(sorted(_placed(self.lines)))).hexdigest()

    def summary(self) -> dict[str, object]:
        """Return what to print of it."""
        return {
            "lines": len(self.lines),
            "digest": self.digest()[:16],
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cost.cpu_s, 1),
            "peak_mib": round(self.cost.peak_mib),
            **self.notes,
        }


def lines_of(transitions: Iterable[Transition]) -> list[bytes]:
    """Return each as a line."""
    return [msgspec.json.encode(transition_row(each)) for each in transitions]


def differences(expected: Said, found: Said) -> dict[str, object]:
    """Return what is missing from `found` and what nobody expected there, a line said twice or out of order too.

    Empty when equal.
    """
    missing = list((Counter(_placed(expected.lines)) - Counter(_placed(found.lines))).elements())
    unexpected = list((Counter(_placed(found.lines)) - Counter(_placed(expected.lines))).elements())
    if not missing and not unexpected:
        return {}
    return {
        "missing": len(missing),
        "unexpected": len(unexpected),
        "examples": [line.decode() for line in (*missing[:EXAMPLES_MAX], *unexpected[:EXAMPLES_MAX])],
    }


def states(lines: Iterable[bytes]) -> dict[str, int]:
    """Return how often transitions led to each state."""
    return dict(Counter(_decode(line).to for line in lines))


def kinds(lines: Iterable[bytes], rules: Iterable[CompiledRule]) -> dict[str, int]:
    """Return how many transitions there are of each kind that the rules have, none too."""
    kind_of = {item.name: item.kind.name for item in rules}
    return dict.fromkeys(sorted({*kind_of.values()}), 0) | Counter(kind_of[_decode(line).rule] for line in lines)


def incidents_of(lines: Iterable[bytes]) -> list[bytes]:
    """Return a line for each incident that people are told of, as `flowgauge rules backtest --format json` has it."""
    told: dict[str, dict[str, object]] = {}
    for line in lines:
        row = msgspec.json.decode(line, type=dict[str, object])
        incident = str(row["incident_id"])
        if row["to"] in TOLD:
            is_single = "event_id" in msgspec.convert(row["key"], dict[str, str])
            told.setdefault(incident, {**row, "fired_at": row["at"], "ended_at": row["at"] if is_single else None})
        elif row["to"] in ENDED and incident in told:
            told[incident]["ended_at"] = row["at"]
    return [incident_line(each) for each in told.values()]


_OF_INCIDENT = (
    *("tenant", "rule", "key", "incident_id", "transition_id", "opened_at", "fired_at", "ended_at"),
    *("to", "value", "threshold", "samples", "reason", "examples"),
)


def incident_line(row: Mapping[str, object]) -> bytes:
    """Return what is compared of an incident."""
    return msgspec.json.encode({name: row[name] for name in _OF_INCIDENT})


class _Row(msgspec.Struct):
    rule: str
    incident_id: str
    to: str


_decode = msgspec.json.Decoder(_Row).decode


def _placed(lines: Iterable[bytes]) -> list[bytes]:
    """Return each line with its place among those of its incident."""
    places: dict[str, count[int]] = {}
    return [b"%d %b" % (next(places.setdefault(_decode(line).incident_id, count())), line) for line in lines]
