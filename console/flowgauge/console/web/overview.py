"""The overview: health, what is open, what closed lately, how many events come and where runs fail. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowgauge.console.web.banner import Banner, banner
from flowgauge.console.web.heat_map import HeatMap, heat_map
from flowgauge.console.web.incident_views import IncidentRow
from flowgauge.console.web.rate_chart import RateChart, rate_chart
from flowgauge.console.web.words import SEVERITIES, count, span
from flowgauge.transport.health import Health

SEVERITY_ORDER = {mark.text: at for at, mark in enumerate(SEVERITIES.values())}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that people look for first."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A page that says why there is nothing else to show."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the overview says."""

    banner: Banner
    figures: tuple[Figure, ...]
    open: tuple[IncidentRow, ...]
    recent: tuple[IncidentRow, ...]
    rate: RateChart
    heat: HeatMap
    rules: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What ClickHouse answered for the overview."""

    open: Sequence[IncidentRow]
    recent: Sequence[IncidentRow]
    minutes: Iterable[tuple[int, int]]
    heat: Iterable[Mapping[str, object]]


def overview(health: Health, asked: Asked, now_ms: int, *, rules: int) -> Overview:
    """Return the overview of one tenant."""
    rate = rate_chart(asked.minutes, now_ms)
    return Overview(
        banner=banner(health, now_ms),
        figures=_figures(health, asked.open, rate, now_ms),
        open=tuple(asked.open),
        recent=tuple(asked.recent),
        rate=rate,
        heat=heat_map(asked.heat),
        rules=rules,
    )


def _figures(health: Health, open_: Sequence[IncidentRow], rate: RateChart, now_ms: int) -> tuple[Figure, ...]:
    behind_ms = max(0, now_ms - health.clock_ms) if health.clock_ms else 0
    owed = f"oldest for {span(now_ms - health.undelivered_since_ms)}" if health.undelivered_since_ms else "all told"
    taken = f"{count(health.accepted, 'event')} taken since the start"
    taken += f", {count(health.limited, 'request')} over a limit" if health.limited else ""
    return (
        Figure("Open incidents", str(len(open_)), _severities(open_) or "nothing to do"),
        Figure("Events per second", rate.now_per_s, taken),
        Figure("Detection behind", _behind(behind_ms) if health.clock_ms else "–", f"rule set {health.rules_version}"),
        Figure("Messages owed", f"{health.undelivered:,}", owed),
    )


def _severities(rows: Sequence[IncidentRow]) -> str:
    """Return how many there are of each severity, the worst first."""
    counts = Counter(row.severity.text for row in rows)
    worst_first = sorted(counts, key=lambda text: SEVERITY_ORDER.get(text, len(SEVERITY_ORDER)))
    return ", ".join(f"{counts[text]} {text.lower()}" for text in worst_first)


def _behind(ms: int) -> str:
    return span(ms) if ms >= 1_000 else "under 1 s"
