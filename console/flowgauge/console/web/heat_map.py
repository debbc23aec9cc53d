"""The failure heat map: weekday × hour, the share of finished runs that failed. Pure.

The picture is an SVG with one sentence that sums it up; beside it stands a table with every number. No runs is not
the same as no failures, and has its own look.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flowgauge.console.web.words import count, percent
from flowgauge.schemas.times import WEEKDAYS

# Upper bounds of the shares of each step but the last: most flows fail rarely, so the steps widen.
STEPS = (0.0, 0.05, 0.15, 0.30, 0.60)
STEP_WORDS = ("none failed", "up to 5 %", "up to 15 %", "up to 30 %", "up to 60 %", "more")
CELL_WIDTH, CELL_HEIGHT, GAP = 24, 22, 2
LEFT, TOP = 36, 18


@dataclass(frozen=True, slots=True)
class Cell:
    """One hour of one weekday."""

    weekday: str
    hour: int
    failed: int
    finished: int
    x: int
    y: int

    @property
    def level(self) -> str:
        """The CSS class of the cell's colour."""
        if not self.finished:
            return "h-none"
        share = self.failed / self.finished
        return f"h{next((step for step, bound in enumerate(STEPS) if share <= bound), len(STEPS))}"

    @property
    def words(self) -> str:
        """What the cell says, for the pointer and for readers."""
        place = f"{self.weekday} {self.hour:02}:00"
        if not self.finished:
            return f"{place}: no runs"
        return (
            f"{place}: {self.failed} of {count(self.finished, 'run')} failed ({percent(self.failed / self.finished)})"
        )


@dataclass(frozen=True, slots=True)
class HeatMap:
    """All 7 × 24 cells, row by row, with the sentence that sums them up."""

    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    summary: str
    left: int = LEFT
    width: int = LEFT + 24 * (CELL_WIDTH + GAP)
    height: int = TOP + 7 * (CELL_HEIGHT + GAP)


def heat_map(rows: Iterable[Mapping[str, object]]) -> HeatMap:
    """Return the map of rows with `weekday` (1 is Monday), `hour`, `failed` and `finished`."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for row in rows:
        failed, finished = found.get((_whole(row["weekday"]), _whole(row["hour"])), (0, 0))
        place = (_whole(row["weekday"]), _whole(row["hour"]))
        found[place] = (failed + _whole(row["failed"]), finished + _whole(row["finished"]))
    cells = tuple(
        (name, tuple(_cell(name, day, hour, found) for hour in range(24))) for day, name in enumerate(WEEKDAYS, start=1)
    )
    return HeatMap(cells, _summary([cell for _, row in cells for cell in row]))


def _cell(name: str, day: int, hour: int, found: Mapping[tuple[int, int], tuple[int, int]]) -> Cell:
    failed, finished = found.get((day, hour), (0, 0))
    x, y = LEFT + hour * (CELL_WIDTH + GAP), TOP + (day - 1) * (CELL_HEIGHT + GAP)
    return Cell(name, hour, failed, finished, x, y)


def _summary(cells: list[Cell]) -> str:
    failed, finished = sum(cell.failed for cell in cells), sum(cell.finished for cell in cells)
    if not finished:
        return "No run has finished in this time."
    start = f"{failed:,} of {count(finished, 'run')} failed ({percent(failed / finished)})"
    if not failed:
        return f"{start}."
    worst = max(cells, key=lambda cell: cell.failed)
    return f"{start}; most in the hour from {worst.weekday} {worst.hour:02}:00, {worst.failed} of {worst.finished}."


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float | str) else 0
