"""The life of an alert, written again from docs/rules.md, "The states of an incident": for the oracle alone.

inactive ─ breach ─► pending ─ held ─► firing ─ clear ─► recovering ─ clear for so long ─► resolved (inactive)
"""

from dataclasses import dataclass

from tests.oracles.told import BETWEEN, BREACH, CLEAR, EMPTY, HELD


@dataclass(slots=True)
class JudgedAlert:
    """One alert. `seq` is the number of its next transition in the incident."""

    for_ms: int
    keep_firing_for_ms: int
    no_data: str
    state: str = "inactive"
    opened_at_ms: int = 0
    seq: int = 0
    clear_since_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether people were told of it and it has not ended."""
        return self.state in {"firing", "recovering", "no_data"}

    def timer_ms(self) -> int | None:
        """Return when a recovery is over, if it is clear."""
        return None if self.clear_since_ms is None else self.clear_since_ms + self.keep_firing_for_ms

    def read(self, verdict: str, at_ms: int) -> tuple[str, str, int, int] | None:
        """Take a verdict; return (from, to, seq, opened) where it changes something."""
        if verdict == EMPTY:
            verdict = {"hold": HELD, "resolve": CLEAR, "fire": EMPTY}[self.no_data]
        if verdict == HELD:
            return None
        if self.state != "recovering" or verdict != CLEAR:
            self.clear_since_ms = None
        elif self.clear_since_ms is None:
            self.clear_since_ms = at_ms
        to_state = self._next(verdict, at_ms)
        if to_state is None:
            return None
        if to_state == "recovering":
            self.clear_since_ms = at_ms
        return self.go(to_state, at_ms)

    def _next(self, verdict: str, at_ms: int) -> str | None:
        """Return where the verdict leads: the table of (state, verdict); None for no change."""
        has_held = at_ms - self.opened_at_ms >= self.for_ms
        timer_ms = self.timer_ms()
        is_over = timer_ms is not None and timer_ms <= at_ms
        ends = "recovering" if self.keep_firing_for_ms else "resolved"
        table: dict[str, dict[str, str | None]] = {
            "inactive": {BREACH: "pending" if self.for_ms else "firing", EMPTY: "no_data"},
            "pending": {
                BREACH: "firing" if has_held else None,
                BETWEEN: "inactive",
                CLEAR: "inactive",
                EMPTY: "no_data",
            },
            "firing": {CLEAR: ends, EMPTY: "no_data"},
            "recovering": {BREACH: "firing", CLEAR: "resolved" if is_over else None, EMPTY: "no_data"},
            "no_data": {BREACH: "firing", CLEAR: ends},
        }
        return table[self.state].get(verdict)

    def go(self, to_state: str, at_ms: int) -> tuple[str, str, int, int]:
        """Change the state; return (from, to, seq, opened)."""
        if self.state == "inactive":
            self.opened_at_ms, self.seq = at_ms, 0
        change = (self.state, to_state, self.seq, self.opened_at_ms)
        self.seq += 1
        self.state = "inactive" if to_state == "resolved" else to_state
        if self.state == "inactive":
            self.clear_since_ms = None
        return change
