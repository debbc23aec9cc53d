"""The reading: what a rule's window says at one pane end."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from flowgauge.schemas.transition import ExampleRun


class Verdict(StrEnum):
    """What a value means for the alert. Only BREACH opens, only CLEAR closes."""

    BREACH = "breach"
    BETWEEN = "between"  # neither breaching nor clear: between `clear_below` and `above`
    CLEAR = "clear"
    HELD = "held"  # too few samples to tell
    EMPTY = "empty"  # nothing in the window: `no_data` decides


class Firing(NamedTuple):
    """A moment at which a rule fires: an incident of its own, which is told at once and is never open."""

    at_ms: int
    key: tuple[str, ...]  # what its incident has beside the key of the window
    reason: str
    value: float
    threshold: float
    examples: Sequence[ExampleRun]


class Reading(NamedTuple):
    """A verdict with its numbers and its reason, in words that people read."""

    verdict: Verdict
    reason: str
    value: float | None = None
    threshold: float | None = None
    samples: int = 0
    firings: Sequence[Firing] = ()  # since the last reading, of a kind whose firings do not last
