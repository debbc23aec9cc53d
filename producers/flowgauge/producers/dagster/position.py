"""How far Dagster's event log has been told: what the sensor keeps as its cursor. Pure.

    updated    all changes of runs up to then were taken in: runs that change later are asked for
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
class Seen:
    """What a run was when it was asked for. Its time is in seconds since 1970."""

    updated: float
    is_ended: bool

    @property
    def ended(self) -> float | None:
        """When the run was last updated, if it has ended."""
        return self.updated if self.is_ended else None


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

    def seen(self, known: Mapping[str, Seen], changed: Mapping[str, Seen], *, runs_max: int) -> "Position":
        """Return the position after runs were seen: `known` are of its own, `changed` those since, earliest first.

        Changed runs that are new to it are to be told, while fewer than `runs_max` go on or wait for that. It stays
        before the first that has no room, so that it is found again. Its own that were not seen are no more.
        """
        runs = {name: RunPosition(one.cursor, known[name].ended) for name, one in self.runs.items() if name in known}
        room = runs_max - sum(one.ended is None or one.cursor is None for one in runs.values())
        updated = self.updated
        for name, one in changed.items():
            if name not in runs:
                if room <= 0:
                    break
                runs[name] = RunPosition(None, one.ended)
                room -= 1
            updated = max(updated, one.updated)
        return Position(updated, runs)

    def forgotten(self) -> "Position":
        """Return the position without the runs that are told whole, and ended before updates may still be unseen."""
        horizon = self.updated - OVERLAP_S
        gone = {name for name, one in self.runs.items() if one.whole and one.ended is not None and one.ended < horizon}
        return Position(self.updated, {name: one for name, one in self.runs.items() if name not in gone})


def encoded(position: Position) -> str:
    """Write a position as a sensor's cursor."""
    return msgspec.json.encode(position).decode()


def decoded(cursor: str) -> Position | None:
    """Read a sensor's cursor; None for one that is none of ours."""
    try:
        return msgspec.json.decode(cursor, type=Position)
    except msgspec.MsgspecError:
        return None
