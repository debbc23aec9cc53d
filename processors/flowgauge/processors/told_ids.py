"""The ids that immediate `event` rules have told of lately, so that a re-sent event is not told twice.

Forgetting is harmless: the same event makes the same transition id again, and whoever reads transitions knows it.
"""

from collections.abc import Mapping

from flowgauge.processors.detector_state import encode

IDS_MAX = 2_000  # of one rule and key; then the oldest is forgotten
TOLD_MS = 3_600_000  # a rule and key that told of nothing for so long is forgotten


class ToldIds:
    """Ids by their record's name, the name that told last standing last."""

    __slots__ = ("_changed", "_told")

    def __init__(self, stored: Mapping[str, dict[str, int]]) -> None:
        self._told = dict(sorted(stored.items(), key=lambda item: max(item[1].values(), default=0)))
        self._changed: set[str] = set()

    def is_new(self, name: str, event_id: str, append_ms: int) -> bool:
        """Note that `event_id` is told of; False where it was before."""
        told = self._told.get(name)
        if told is None:
            told = {}
        elif event_id in told:
            return False
        else:
            del self._told[name]
        self._told[name] = told
        told[event_id] = append_ms
        if len(told) > IDS_MAX:
            del told[next(iter(told))]
        self._changed.add(name)
        return True

    def write(self, state: dict[str, bytes | None], clock_ms: int) -> None:
        """Put what changed since the last call into `state`, and forget what is older than TOLD_MS."""
        for name in self._changed:
            state[name] = encode(self._told[name])
        self._changed.clear()
        while self._told:
            name, told = next(iter(self._told.items()))
            if max(told.values()) > clock_ms - TOLD_MS:
                return
            del self._told[name]
            state[name] = None
