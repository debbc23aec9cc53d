"""How far Dagster's event log has been told: what the sensor keeps as its cursor. Pure.

    updated    the newest update of a run that was seen: runs that change later are asked for
    runs       the runs that may go on, each with the cursor of its own log up to which it has been told

A run's update may become visible after a newer one's, within OVERLAP_S: so runs are asked for from that much earlier,
and a run that ended is remembered until then. One that is forgotten and then changes is told again, under the same ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

OVERLAP_S: Final = 60.0  # how long a database may take to show an update


@dataclass(frozen=True, slots=True)
class RunPosition:
    """How far one run has been told."""

    cursor: str | None = None  # Dagster's, of the run's own log; None: nothing yet
    ended: float | None = None  # when the run was last updated, once it has ended; seconds since 1970
    whole: bool = False  # told to the end of its log, since it was last seen


@dataclass(frozen=True, slots=True)
class Position:
    """How far all runs have been told, the longest untold first. Times are seconds since 1970, as Dagster's are."""

    updated: float
    runs: Mapping[str, RunPosition] = field(default_factory=dict[str, RunPosition])

    def told(self, run: str, cursor: str | None, *, whole: bool) -> "Position":
        """Return the position after a run has been told up to `cursor`, which may be the end of its log."""
        others = {name: one for name, one in self.runs.items() if name != run}
        return Position(self.updated, {**others, run: RunPosition(cursor, self.runs[run].ended, whole)})

    def seen(self, seen: Mapping[str, tuple[float, bool]]) -> "Position":
        """Return the position after runs were seen, each with the time of its update and whether it has ended.

        Runs that are new to it are to be told; others of its own that were not seen are no more.
        """
        runs = {name: one for name, one in self.runs.items() if name in seen}
        for name, (updated, ended) in seen.items():
            runs[name] = RunPosition(runs[name].cursor if name in runs else None, updated if ended else None)
        return Position(max([self.updated, *(updated for updated, _ in seen.values())]), runs)

    def forgotten(self) -> "Position":
        """Return the position without the runs that are told whole, and ended before updates may still be unseen."""
        horizon = self.updated - OVERLAP_S
        gone = {name for name, one in self.runs.items() if one.whole and one.ended is not None and one.ended < horizon}
        return Position(self.updated, {name: one for name, one in self.runs.items() if name not in gone})


def encoded(position: Position) -> str:
    """Write a position as a sensor's cursor."""
    return msgspec.json.encode(position).decode()


def decoded(cursor: str | None, start: float) -> Position:
    """Read a sensor's cursor; without one, or with one that is none of ours, begin at `start`."""
    try:
        return Position(start) if cursor is None else msgspec.json.decode(cursor, type=Position)
    except msgspec.MsgspecError:
        return Position(start)
