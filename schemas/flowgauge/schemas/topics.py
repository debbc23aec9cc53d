"""The topics of the log and the kinds of record that stand in them."""

from enum import IntEnum

EVENTS = "flowgauge.events"
SAMPLES = "flowgauge.samples"
STATE = "flowgauge.state"
TRANSITIONS = "flowgauge.transitions"
RULES = "flowgauge.rules"
CONTROLS = "flowgauge.controls"
OUTBOX = "flowgauge.outbox"
DELIVERIES = "flowgauge.deliveries"
DLQ = "flowgauge.dlq"

ALL = (EVENTS, SAMPLES, STATE, TRANSITIONS, RULES, CONTROLS, OUTBOX, DELIVERIES, DLQ)
COMPACTED = frozenset({RULES, CONTROLS})


class RecordKind(IntEnum):
    """What a record is. Only events are stored and counted; the others steer the clock and the rules."""

    EVENT = 0
    PULSE = 1  # moves the clock of an idle partition
    RULES = 2  # from here on this rule set applies
    LOADED = 3  # the history that was loaded ends here
