"""The reading: what a rule's window says at one pane end."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """What a value means for the alert. Only BREACH opens, only CLEAR closes."""

    BREACH = "breach"
    BETWEEN = "between"  # neither breaching nor clear: between `clear_below` and `above`
    CLEAR = "clear"
    HELD = "held"  # too few samples to tell
    EMPTY = "empty"  # nothing in the window: `no_data` decides


class Reading(NamedTuple):
    """A verdict with its numbers and its reason, in words that people read."""

    verdict: Verdict
    reason: str
    value: float | None = None
    threshold: float | None = None
    samples: int = 0
