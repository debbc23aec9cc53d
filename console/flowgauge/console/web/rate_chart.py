"""Events per second over the last hour, as bars of a minute. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from flowgauge.console.web.words import count

MINUTES = 60
BAR, GAP, HEIGHT = 8, 2, 236
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute."""

    x: int
    y: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class RateChart:
    """The bars, the scale, and the sentence that sums them up."""

    bars: tuple[Bar, ...]
    peak: str
    summary: str
    now_per_s: str
    width: int = MINUTES * (BAR + GAP)
    height: int = HEIGHT


def rate_chart(minutes: Iterable[tuple[int, int]], now_ms: int) -> RateChart:
    """Return the chart of (start of the minute, events) pairs; the running minute counts for what it has had."""
    found = dict(minutes)
    newest = now_ms // MINUTE_MS * MINUTE_MS
    starts = [newest - (MINUTES - 1 - at) * MINUTE_MS for at in range(MINUTES)]
    rates = [found.get(start, 0) / _seconds(start, now_ms) for start in starts]
    peak = max(rates)
    bars = tuple(_bar(at, rate, peak) for at, rate in enumerate(rates))
    total = sum(found.get(start, 0) for start in starts)
    summary = f"{count(total, 'event')} in the last hour, {per_second(peak)} per second in the busiest minute."
    now = (found.get(newest, 0) + found.get(newest - MINUTE_MS, 0)) / (MINUTE_MS / 1000 + _seconds(newest, now_ms))
    return RateChart(bars, per_second(peak), summary, per_second(now))


def per_second(rate: float) -> str:
    """Return a rate with as many digits as say something."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" if rate >= 0.05 else "0"


def _seconds(start_ms: int, now_ms: int) -> float:
    return min(MINUTE_MS, max(1_000, now_ms - start_ms)) / 1000


def _bar(at: int, rate: float, peak: float) -> Bar:
    height = round(rate / peak * (HEIGHT - 4), 1) if peak else 0.0
    if rate and height < 1:
        height = 1.0  # a quiet minute is not an empty one
    ago = MINUTES - 1 - at
    when = "this minute" if not ago else f"{count(ago, 'minute')} ago"
    return Bar(at * (BAR + GAP), round(HEIGHT - height, 1), height, f"{when}: {per_second(rate)} per second")
