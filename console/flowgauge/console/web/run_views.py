"""What the page of a run says: all that was told of it, in order. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgauge.console.web.words import Moment, moment
from flowgauge.schemas.incident_context import in_short
from flowgauge.schemas.times import parse_time_ms

RUN_LINES_MAX = 500  # of a page; the question `timeline` has more


@dataclass(frozen=True, slots=True)
class RunRow:
    """One thing that was told of the run."""

    at: Moment
    kind: str
    name: str
    said: str  # the state of a run or task, the level of a log line, else the event's name
    message: str


@dataclass(frozen=True, slots=True)
class RunPage:
    """Everything the run page says. `is_cut`: more was told than a page shows."""

    run: str
    rows: tuple[RunRow, ...]
    is_cut: bool


def run_page(run: str, told: Sequence[Mapping[str, Any]], now_ms: int) -> RunPage:
    """Return the page of a run of which the question `timeline` answers `told`."""
    return RunPage(run, tuple(_row(row, now_ms) for row in told), len(told) >= RUN_LINES_MAX)


def _row(row: Mapping[str, Any], now_ms: int) -> RunRow:
    said = row["state"] or row["level"] or row["event"]
    at = moment(parse_time_ms(row["time"]), now_ms)
    return RunRow(at, row["kind"], row["name"], said, in_short(row["message"] or ""))
