"""Prefect's states in flowgauge's words.

Prefect has nine state types and any number of state names; a name refines its type and means nothing
under another. So the type decides, and only the names below say more:

    type       name                      flowgauge
    SCHEDULED  Late                      late       the scheduler's sighting, 15 s after the expected start
    SCHEDULED  AwaitingRetry             retrying   the run has run before and will again
    SCHEDULED  AwaitingConcurrencySlot   pending    due, and held back by a limit
    RUNNING    Retrying                  retrying
    any other name                       its type (Submitting: pending, Suspended: paused, TimedOut: failed)
"""

from typing import Final

from flowgauge.producers.state_table import StateTable

_BY_TYPE: Final = {
    "SCHEDULED": "scheduled",
    "PENDING": "pending",
    "RUNNING": "running",
    "PAUSED": "paused",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CRASHED": "crashed",
}

_BY_TYPE_AND_NAME: Final = {
    ("SCHEDULED", "Late"): "late",
    ("SCHEDULED", "AwaitingRetry"): "retrying",
    ("SCHEDULED", "AwaitingConcurrencySlot"): "pending",
    ("RUNNING", "Retrying"): "retrying",
}


_WORDS: Final = {**_BY_TYPE, **{f"{kind} {name}": state for (kind, name), state in _BY_TYPE_AND_NAME.items()}}

STATES: Final = StateTable(
    orchestrator="Prefect",
    page="connect-prefect.md",
    runs=_WORDS,
    tasks=_WORDS,
    scheduled_for=(
        "A task run's `expected_start_time`. Of flow runs it publishes none: its `Late` is the sighting. "
        "The bridge and the import ask its API for it, of runs of deployments."
    ),
    occurred="The event's own `occurred`; of a log line its `timestamp`.",
    cannot_tell=(
        "Through the plugin, when a flow run was to start: being late by less than Prefect's 15 s is not seen.",
        "The flow of a log line, unless an event of its run passed before.",
        "A run that Prefect itself never made.",
    ),
)


def canonical_state(state_type: str | None, state_name: str | None) -> str | None:
    """Name the state as flowgauge does; None for an unknown type or none (a heartbeat has no state)."""
    if state_type is None:
        return None
    refined = _BY_TYPE_AND_NAME.get((state_type, state_name or ""))
    return refined if refined is not None else _BY_TYPE.get(state_type)
