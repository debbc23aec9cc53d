"""One evaluation as it was: what the window said at a pane end, what became of the alert, and why it does not fire.

Who wants to know gives the detector a function that takes them; it changes nothing. Pure.
"""

from typing import NamedTuple

from flowgauge.processors.alert_state import Alert, Change, Policy, next_timer_ms
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.times import format_duration, rfc3339


class Evaluation(NamedTuple):
    """What was read at the pane end `end_ms`. `alert` is as it stands after it; `next_ms` when it is read again."""

    rule: CompiledRule
    key: tuple[str, ...]
    end_ms: int
    reading: Reading
    change: Change | None
    alert: Alert
    late_samples: int
    next_ms: int | None

    @property
    def is_firing(self) -> bool:
        """Tell whether people know of it."""
        return bool(self.reading.firings) or self.alert.state not in {"inactive", "pending"}

    @property
    def state(self) -> str:
        """How the alert stands; "firing" too where it fired for that moment alone."""
        return "firing" if self.reading.firings else self.alert.state

    def why(self) -> str:
        """Return in words why it fires or does not."""
        if self.rule.by_arrival:
            return self._why_momentary()
        policy = self.rule.policy
        match self.alert.state:
            case "pending":
                return f"does not fire yet: {self.reading.reason}, {self._waits('for', policy.for_ms)}"
            case "recovering":
                return self._why_recovering(policy)
            case "no_data":
                return f"fires that there are no data: {self.reading.reason}"
            case "inactive":
                return self._why_not()
            case _:
                return f"fires: {self.reading.reason}" if self._breaches else f"goes on firing: {self._held()}"

    def _why_momentary(self) -> str:
        """Return the words for a kind whose firings do not last, so that its alert never moves."""
        times = len(self.reading.firings)
        fires = "does not fire" if not times else "fires" if times == 1 else f"fires {times} times"
        return f"{fires}: {self.reading.reason}"

    @property
    def _breaches(self) -> bool:
        return self.reading.verdict is Verdict.BREACH

    def _why_not(self) -> str:
        if self.change is not None:
            if self.change.to_state == "resolved":
                return f"resolved: {self._clear_words()}"
            for_ms = self.rule.policy.for_ms
            held_ms = self.end_ms - self.change.opened_at_ms
            return (
                f"does not fire: it held for {format_duration(held_ms)}, not for the {format_duration(for_ms)} of `for`"
            )
        if self.reading.verdict is Verdict.CLEAR:
            return f"does not fire: it is clear ({self.reading.reason})"
        return f"does not fire: {self._held()}"

    def _why_recovering(self, policy: Policy) -> str:
        if self.alert.clear_since_ms is None:
            return f"fires still, and the recovery waits: {self._held()}"
        waits = self._waits("keep_firing_for", policy.keep_firing_for_ms)
        return f"fires still, though it is clear: {self._clear_words()}, {waits}"

    def _clear_words(self) -> str:
        if self.reading.verdict is Verdict.EMPTY:
            return f"{self.reading.reason}, and `no_data: resolve` takes that for clear"
        return self.reading.reason

    def _held(self) -> str:
        match self.reading.verdict:
            case Verdict.EMPTY:
                return f"{self.reading.reason}, and `no_data: {self.rule.policy.no_data}` leaves it as it is"
            case Verdict.HELD:
                return f"too little to judge ({self.reading.reason})"
            case _:
                return self.reading.reason

    def _waits(self, field: str, length_ms: int) -> str:
        timer_ms = next_timer_ms(self.alert, self.rule.policy)
        assert timer_ms is not None  # noqa: S101  # both states wait for a timer
        passed = format_duration(max(0, self.end_ms - (timer_ms - length_ms)))
        return f"{passed} of `{field}: {format_duration(length_ms)}` have passed, it is over at {rfc3339(timer_ms)}"
