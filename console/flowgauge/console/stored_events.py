"""Past events out of ClickHouse: asked for page by page, and kept in a file while they are read as often as needed.

    ├── lead ──┤since ───────────────── until┤        what is read: the lead fills the windows
                                  clock ┤             and nothing past the log's clock, up to which all is stored

What no rule could match is left out: in a replay it would move the clock alone, and where that ends is known here.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from flowgauge.console.ask import Place, ask_pages
from flowgauge.console.past_events import PastEvents, Span
from flowgauge.processors.backtest import lead_ms, looks_of
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.times import rfc3339

FILE = "events.jsonl.gz"


class _Page(msgspec.Struct):
    rows: list[msgspec.Raw]
    clock: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What came: the events, the time that is told of as far as it is known, and the folder where no server ran."""

    past: PastEvents
    span: Span
    folder: Path | None


async def stored_events(
    place: Place, rules: Sequence[CompiledRule], span: Span, whose: Mapping[str, str], *, into: Path
) -> Stored:
    """Ask for all that `rules` could match of `span`, whose ends are told, and keep it in the folder `into`.

    Raises BadInput for a question that is refused, ServerAway when nobody can answer.
    """
    since_ms, until_ms = span.since_ms or 0, span.until_ms or 0
    asked = {
        "since": rfc3339(max(0, since_ms - lead_ms(rules))),
        "until": rfc3339(until_ms + 1),
        "looks": ",".join(looks_of(rules)),
        **whose,
    }
    folder: Path | None = None
    clock_ms: int | None = None
    with gzip.open(into / FILE, "wb", compresslevel=1) as lines:
        async for answer in ask_pages(place, "/v1/history", asked):
            page = msgspec.json.decode(answer.text, type=_Page)
            clock_ms = page.clock if clock_ms is None else clock_ms  # as it stood before the first rows were read
            folder = answer.folder
            lines.writelines(bytes(row) + b"\n" for row in page.rows)
    known_ms = until_ms if clock_ms is None else min(until_ms, clock_ms)
    return Stored(PastEvents(into / FILE, may_be_empty=True), replace(span, until_ms=known_ms), folder)
