"""A slow oracle of the conditions of `all_of` and `any_of`: whether one holds, by what it did on its own."""

from collections.abc import Iterable, Sequence

from tests.oracles.told import pane_end

STEP_MS = 1_000  # in which a condition counts that is told at once

Change = tuple[int, bool]  # when a condition changed, and whether it was open from then on


def momentary(moments_ms: Iterable[int]) -> list[Change]:
    """Return the changes of a condition that is told at once: open from the end of the step that holds the event."""
    ends_ms = sorted({pane_end(moment_ms, STEP_MS) for moment_ms in moments_ms})
    return [change for end_ms in ends_ms for change in ((end_ms, True), (end_ms + STEP_MS, False))]


def lingers_ms(within_ms: int, *, is_momentary: bool) -> int:
    """Return for how long a condition still holds after it was open."""
    return within_ms - STEP_MS if is_momentary else within_ms


def holds(changes: Sequence[Change], end_ms: int, lingers_ms: int) -> bool:
    """Tell whether a condition holds at a pane end: it is open, or was not so long ago. Changes are in their order."""
    is_open = False
    for at_ms, opens in changes:
        if at_ms > end_ms:
            break
        if is_open and not opens and end_ms < at_ms + lingers_ms:
            return True
        is_open = opens
    return is_open
