"""The clock of one partition of the events topic: the append time that detection may trust.

    record        append   newest pulse's sent + 5 s     clock (the record's append_ms)
    event          10.0                  –               10.0
    pulse (10.2)   10.3               15.2               10.3
    event          99.0               15.2               15.2   the broker's clock jumped ahead: capped
    event          11.0               15.2               15.2   and back: it never runs backwards

It is a function of the partition alone, so matcher, sink and replay agree wherever they start, given the
`ClockState` that stands in the metadata of their committed offset.
"""

import msgspec

PULSE_SLACK_MS = 5_000  # how far a record's append time may run ahead of the newest pulse


class ClockState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a partition's clock stands after the records before an offset."""

    clock_ms: int = 0
    pulse_ms: int = 0  # sent time of the newest pulse; 0 before the first


class PartitionClock:
    """Turns the broker's append times into `append_ms`, record by record, in offset order."""

    __slots__ = ("_cap_ms", "clock_ms")

    def __init__(self, state: ClockState | None = None) -> None:
        state = state or ClockState()
        self.clock_ms = state.clock_ms
        self._cap_ms = state.pulse_ms + PULSE_SLACK_MS if state.pulse_ms else 0

    def see_record(self, append_ms: int) -> int:
        """Return the `append_ms` of a record that the log stamped `append_ms`."""
        if self._cap_ms and append_ms > self._cap_ms:
            append_ms = self._cap_ms
        if append_ms > self.clock_ms:
            self.clock_ms = append_ms
        return self.clock_ms

    def see_pulse(self, append_ms: int, sent_ms: int) -> int:
        """Return the `append_ms` of a pulse record, which also moves the cap to its sent time + 5 s."""
        if sent_ms + PULSE_SLACK_MS > self._cap_ms:
            self._cap_ms = sent_ms + PULSE_SLACK_MS
        return self.see_record(append_ms)

    def state(self) -> ClockState:
        """Return what a restart needs to go on from here."""
        return ClockState(self.clock_ms, self._cap_ms - PULSE_SLACK_MS if self._cap_ms else 0)
