"""What the ways say, compared line by line with what the replay says. Pure.

A line is a transition as `flowgauge replay --format jsonl` prints it: its id, its times, its numbers and its reason.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from flowgauge.processors.replay import transition_row
from flowgauge.schemas.transition import Transition

EXAMPLES_MAX = 3


@dataclass(frozen=True, slots=True)
class Said:
    """The lines that a way said, how long it took, and what else to know of it."""

    lines: Sequence[bytes]
    seconds: float
    notes: Mapping[str, object] = field(default_factory=dict[str, object])

    def digest(self) -> str:
        """Return the same for the same lines, in whatever order they were said."""
        return hashlib.sha256(b"\n".join(sorted(self.lines))).hexdigest()

    def summary(self) -> dict[str, object]:
        """Return what to print of it."""
        return {
            "transitions": len(self.lines),
            "digest": self.digest()[:16],
            "seconds": round(self.seconds, 1),
            **self.notes,
        }


def lines_of(transitions: Iterable[Transition]) -> list[bytes]:
    """Return each as a line."""
    return [msgspec.json.encode(transition_row(each)) for each in transitions]


def differences(expected: Said, found: Said) -> dict[str, object]:
    """Return what is missing from `found` and what nobody expected there, a line said twice too; empty when equal."""
    missing = list((Counter(expected.lines) - Counter(found.lines)).elements())
    unexpected = list((Counter(found.lines) - Counter(expected.lines)).elements())
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


class _Row(msgspec.Struct):
    to: str


_decode = msgspec.json.Decoder(_Row).decode
