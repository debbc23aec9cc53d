"""Panes: a sliding window cut at fixed places, so that it can be kept exactly and cheaply.

    within 10m, pane 5s        [ … |    |    |    |    )
                                 s    pane ends e, aligned to 1970

A window `[e - within, e)` is always a whole number of panes; the rule is evaluated at pane ends only.
"""

PANES_MAX = 120
PANE_MS_MIN = 1_000


def pane_ms(within_ms: int, panes_max: int = PANES_MAX) -> int:
    """Return the smallest divisor of `within_ms` (>= 1 s) that is >= 1 s and >= `within_ms` / `panes_max`."""
    for panes in range(min(panes_max, within_ms // PANE_MS_MIN), 1, -1):
        if within_ms % panes == 0:
            return within_ms // panes
    return within_ms


def pane_end(moment_ms: int, pane: int) -> int:
    """Return the end of the pane `[s, e)` that holds `moment_ms`."""
    return (moment_ms // pane + 1) * pane


def pane_end_at_or_after(moment_ms: int, pane: int) -> int:
    """Return the first pane end `e` with `e >= moment_ms`."""
    return -(-moment_ms // pane) * pane
