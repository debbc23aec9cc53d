"""The kinds of rule, one file each. Adding one: its file, and its line in `KINDS`."""

from flowgauge.processors.kinds.absence import Absence
from flowgauge.processors.kinds.consecutive_failures import ConsecutiveFailures
from flowgauge.processors.kinds.event import EventHappened
from flowgauge.processors.kinds.failure_rate import FailureRate
from flowgauge.processors.kinds.kind import Kind, Window
from flowgauge.processors.kinds.late import Late
from flowgauge.processors.kinds.prefect import PrefectTrigger

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (EventHappened, FailureRate, ConsecutiveFailures, Late, Absence, PrefectTrigger)
}

__all__ = [
    "KINDS",
    "Absence",
    "ConsecutiveFailures",
    "EventHappened",
    "FailureRate",
    "Kind",
    "Late",
    "PrefectTrigger",
    "Window",
]
