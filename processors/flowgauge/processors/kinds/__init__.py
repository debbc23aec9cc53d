"""The kinds of rule, one file each. Adding one: its file, and its line in `KINDS`."""

from flowgauge.processors.kinds.absence import Absence
from flowgauge.processors.kinds.all_of import AllOf
from flowgauge.processors.kinds.any_of import AnyOf
from flowgauge.processors.kinds.burn_rate import BurnRate
from flowgauge.processors.kinds.change import Change
from flowgauge.processors.kinds.compound import Compound
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
        AllOf,
        AnyOf,
    )
}

__all__ = [
    "KINDS",
    "Absence",
    "AllOf",
    "AnyOf",
    "BurnRate",
    "Change",
    "Compound",
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
