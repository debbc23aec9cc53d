"""The kinds of rule, one file each. Adding one: its file, and its line in `KINDS`."""

from flowgauge.processors.kinds.absence import Absence
from flowgauge.processors.kinds.compound import AllOf, AnyOf, Compound
from flowgauge.processors.kinds.consecutive_failures import ConsecutiveFailures
from flowgauge.processors.kinds.event import EventHappened
from flowgauge.processors.kinds.failure_rate import FailureRate
from flowgauge.processors.kinds.kind import Kind, Window
from flowgauge.processors.kinds.late import Late

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (EventHappened, FailureRate, ConsecutiveFailures, Late, Absence, AllOf, AnyOf)
}

__all__ = [
    "KINDS",
    "Absence",
    "AllOf",
    "AnyOf",
    "Compound",
    "ConsecutiveFailures",
    "EventHappened",
    "FailureRate",
    "Kind",
    "Late",
    "Window",
]
