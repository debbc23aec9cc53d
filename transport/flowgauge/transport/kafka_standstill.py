"""Notices that a consumer gets nothing though records wait: its process ends, and another start joins afresh.

Seen once after a broker was killed: a sink got no record and no error for five minutes, until it was ended. Whatever
stops a fetch loop without a word is found by its effect: no record for SILENCE_S, and at two looks LOOK_S apart a
partition has the same place before its end.
"""

from collections.abc import Callable, Mapping

from flowgauge.schemas.errors import StoodStill

SILENCE_S = 30.0  # longer than a fetch, a reconnection and a rebalance take
LOOK_S = 30.0  # after a broker came back, the next fetch needs a moment


class Standstill:
    """Of one consumer. `now_s` is a steady clock."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._next_look_s = now_s() + SILENCE_S
        self._seen: Mapping[int, int] = {}  # partition → where it stood before its end at the last look

    def end(self) -> None:
        """Something came, or partitions move."""
        self._next_look_s = self._now_s() + SILENCE_S
        self._seen = {}

    def is_to_be_looked_at(self) -> bool:
        """Tell whether nothing came for so long that `look` is due."""
        return self._now_s() >= self._next_look_s

    def look(self, places: Mapping[int, tuple[int, int]], group: str) -> None:
        """Compare (position, end) of each partition with the last look; raise StoodStill when one has not moved."""
        behind = {partition: at for partition, (at, end) in places.items() if at < end}
        stuck = sorted(partition for partition, at in behind.items() if self._seen.get(partition) == at)
        if stuck:
            partition = stuck[0]
            at, end = places[partition]
            raise StoodStill(
                f"{group} gets nothing of partition {partition} though it stands at {at} of {end}: its connection "
                "stands still. This process ends; start it again"
            )
        self._seen = behind
        self._next_look_s = self._now_s() + LOOK_S
