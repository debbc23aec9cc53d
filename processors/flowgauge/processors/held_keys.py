"""The keys that a detector holds, and whether there is room for one more.

One bound is on all of them, so that memory has an end. The other is on those of one rule and tenant: a rule that groups
by what never comes again, such as a request id, does not take it all. Keys that are blank go with a step, so what is
refused hangs on the steps: at a bound, and only there, live detection and a replay may differ.
"""

from collections import Counter

from flowgauge.processors.key_state import Key, KeyState
from flowgauge.processors.key_store import Place

KEYS_MAX = 1_000_000  # of one samples partition: 2 GB in memory, a minute to restore
KEYS_OF_RULE_MAX = 250_000  # of one rule and tenant there: a quarter, so that one alone never fills it


class HeldKeys(dict[Place, KeyState]):
    """Keys by (rule uid, key), whose first part is the tenant. Read it as a dict; change it by `[…]` alone."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self._of_rule: Counter[tuple[str, str]] = Counter()

    def has_room(self, uid: str, key: Key) -> bool:
        """Tell whether a key that is not among them may be held."""
        return len(self) < KEYS_MAX and self._of_rule[uid, key[0]] < KEYS_OF_RULE_MAX

    def __setitem__(self, place: Place, state: KeyState) -> None:
        """Hold a key."""
        if place not in self:
            self._of_rule[place[0], place[1][0]] += 1
        super().__setitem__(place, state)

    def __delitem__(self, place: Place) -> None:
        """Let a key go."""
        super().__delitem__(place)
        whose = place[0], place[1][0]
        self._of_rule[whose] -= 1
        if not self._of_rule[whose]:
            del self._of_rule[whose]
