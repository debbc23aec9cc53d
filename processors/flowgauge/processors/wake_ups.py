"""When which key is to be evaluated next: pane ends in their order, and the keys of each."""

import heapq

from flowgauge.processors.key_state import KeyState


class WakeUps:
    """Keys by the pane end at which something can change for them.

    A key that is asked for again, for an earlier or later end, leaves what it asked before behind: `KeyState.wake_ms`
    tells which one counts. Pane ends are shared by most keys of a rule, so there are few of them to order.
    """

    __slots__ = ("_ends", "_states")

    def __init__(self) -> None:
        self._ends: list[tuple[int, int]] = []  # a heap of (when it is final, pane end)
        self._states: dict[tuple[int, int], set[KeyState]] = {}

    def add(self, state: KeyState, end_ms: int) -> None:
        """Wake `state` at the pane end `end_ms`, instead of when it asked before."""
        state.wake_ms = end_ms
        place = (end_ms + state.rule.lateness_ms, end_ms)
        states = self._states.get(place)
        if states is None:
            self._states[place] = {state}
            heapq.heappush(self._ends, place)
        else:
            states.add(state)

    @property
    def next_final_ms(self) -> int | None:
        """The clock at which the next pane end is final."""
        return self._ends[0][0] if self._ends else None

    def pop(self) -> tuple[int, int, list[KeyState]]:
        """Return the next pane end, (when it is final, the end, its keys in the order of evaluation)."""
        place = heapq.heappop(self._ends)
        final_ms, end_ms = place
        states = [state for state in self._states.pop(place) if state.wake_ms == end_ms]
        if len(states) > 1:
            states.sort(key=_order)
        return final_ms, end_ms, states


def _order(state: KeyState) -> tuple[str, tuple[str, ...], str]:
    return state.rule.name, state.key, state.rule.uid
