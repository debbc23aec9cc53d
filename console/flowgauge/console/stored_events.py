"""Past events out of ClickHouse: asked for page by page, and kept in a file while they are read as often as needed.

    ├── lead ──┤since ───────────────── until┤        what is read: the lead fills the windows
                                  clock ┤             and nothing past the log's clock, up to which all is stored

What no rule could match is left out: in a replay it would move the clock alone, and where that ends is known here.
"""

import errno
import gzip
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from flowgauge.console.ask import Answer, Place, ask_pages
from flowgauge.console.past_events import PastEvents, Span
from flowgauge.processors.backtest import lead_ms, looks_of
from flowgauge.processors.ruleset import CompiledRule
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import rfc3339

FILE = "events.jsonl.gz"
STORED_BYTES_MAX = 4 * 1_073_741_824  # as gzipped: a span that is named by mistake must not fill the disk
REMEDY = "ask for a later --since, or for fewer rules at a time"


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
    place: Place,
    rules: Sequence[CompiledRule],
    span: Span,
    whose: Mapping[str, str],
    *,
    into: Path,
    bytes_max: int = STORED_BYTES_MAX,
) -> Stored:
    """Ask for all that `rules` could match of `span`, whose ends are told, and keep it in the folder `into`.

    Raises BadInput for a question that is refused, for more than `bytes_max` and where the folder has no room,
    ServerAway when nobody can answer.
    """
    since_ms, until_ms = span.since_ms or 0, span.until_ms or 0
    asked = {
        "since": rfc3339(max(0, since_ms - lead_ms(rules))),
        "until": rfc3339(until_ms + 1),
        "looks": ",".join(looks_of(rules)),
        **whose,
    }
    try:
        clock_ms, folder = await _write(ask_pages(place, "/v1/history", asked), into / FILE, bytes_max)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise BadInput(f"no room for the events of that time in {into}: {REMEDY}, or set TMPDIR") from None
    known_ms = until_ms if clock_ms is None else min(until_ms, clock_ms)
    return Stored(PastEvents(into / FILE, may_be_empty=True), replace(span, until_ms=known_ms), folder)


async def _write(answers: AsyncIterator[Answer], file: Path, bytes_max: int) -> tuple[int | None, Path | None]:
    """Write the events of all pages; return the log's clock before the first, and the folder where no server ran."""
    folder: Path | None = None
    clock_ms: int | None = None
    with file.open("wb") as out, gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as lines:
        async for answer in answers:
            page = msgspec.json.decode(answer.text, type=_Page)
            clock_ms = page.clock if clock_ms is None else clock_ms  # as it stood before the first rows were read
            folder = answer.folder
            lines.writelines(bytes(row) + b"\n" for row in page.rows)
            lines.flush()
            if out.tell() > bytes_max:
                raise BadInput(f"the events of that time take more than {bytes_max:,} bytes, gzipped: {REMEDY}")
    return clock_ms, folder
