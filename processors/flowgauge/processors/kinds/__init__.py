"""The kinds of rule, one file each. Adding one: its file, and its line in `KINDS`."""

from flowgauge.processors.kinds.absence import Absence
from flowgauge.processors.kinds.burn_rate import BurnRate
from flowgauge.processors.kinds.change import Change
from flowgauge.processors.kinds.consecutive_failures import ConsecutiveFailures
from flowgauge.processors.kinds.duration import Duration
from flowgauge.processors.kinds.event import EventHappened
from flowgauge.processors.kinds.failure_rate import FailureRate
from flowgauge.processors.kinds.kind import Kind, Window
from flowgauge.processors.kinds.late import Late
from flowgauge.processors.kinds.missed import Missed
from flowgauge.processors.kinds.sequence import EventsInOrder

KINDS: dict[str, type[Kind]] = {
    kind.name: kind
    for kind in (
        EventHappened,
        FailureRate,
        BurnRate,
        ConsecutiveFailures,
        Late,
        Missed,
        Absence,
        Duration,
        Change,
        EventsInOrder,
    )
}

__all__ = [
    "KINDS",
    "Absence",
    "BurnRate",
    "Change",
    "ConsecutiveFailures",
    "Duration",
    "EventHappened",
    "EventsInOrder",
    "FailureRate",
    "Kind",
    "Late",
    "Missed",
    "Window",
]
