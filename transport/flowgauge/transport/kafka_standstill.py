"""Notices that a consumer gets nothing though records wait: its process ends, and another start joins afresh. Pure.

Seen once after a broker was killed: a sink got no record and no error for five minutes, until it was ended. Whatever
stops fetching without a word, of all partitions or of those of one broker, is found by its effect: no record of a
partition for SILENCE_S, and at two looks LOOK_S apart the same place before its end.
"""

from collections.abc import Callable, Iterable, Mapping

from flowgauge.schemas.errors import StoodStill

SILENCE_S = 30.0  # longer than a fetch, a reconnection and a rebalance take
LOOK_S = 30.0  # after a broker came back, the next fetch needs a moment
LOOK_S_MAX = 5.0  # how long a look may hold up the shell: its group waits 20 s for it


class Standstill:
    """Of one consumer. `now_s` is a steady clock."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._came_s: dict[int, float] = {}  # partition → when its last record came, or it was first asked about
        self._next_look_s = now_s() + SILENCE_S
        self._seen: Mapping[int, int] = {}  # partition → where it stood before its end at the last look

    def begin(self) -> None:
        """Begin anew: partitions move."""
        self._came_s.clear()
        self._seen = {}

    def note(self, partitions: Iterable[int]) -> None:
        """Take note that records of `partitions` came."""
        self._came_s.update(dict.fromkeys(partitions, self._now_s()))

    def to_be_looked_at(self, owned: Iterable[int]) -> list[int]:
        """Return which of `owned` were silent for so long that `look` is due, which it is not again for LOOK_S."""
        now_s = self._now_s()
        silent = [each for each in sorted(owned) if now_s - self._came_s.setdefault(each, now_s) >= SILENCE_S]
        if not silent or now_s < self._next_look_s:
            return []
        self._next_look_s = now_s + LOOK_S
        return silent

    def look(self, places: Mapping[int, tuple[int, int]], group: str) -> None:
        """Compare (position, end) of each silent partition with the last look; raise StoodStill when one is stuck."""
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
