"""What orchestrators call the states of runs, and what these become here. Pure, and imports no orchestrator.

Each connector fills in one StateTable, by which it also translates; docs/states.md is made of all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTable:
    """One orchestrator's words. A state is told as one of `flowgauge.schemas.event.STATES`, or as None: no state."""

    orchestrator: str  # as its people write it
    page: str  # the file in docs/ that tells how to connect it
    runs: Mapping[str, str | None]  # its word for a state of what is a flow run here
    tasks: Mapping[str, str | None] = field(default_factory=dict[str, str | None])  # the same of task runs
    scheduled_for: str  # a sentence: where the time comes from at which a run was to start
    occurred: str  # a sentence: where the time of an event comes from
    cannot_tell: tuple[str, ...]  # a sentence for each thing that it never says
