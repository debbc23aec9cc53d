"""`flowgauge prefect convert FILE`: a capture file as flowgauge event lines.

The file may be gzipped (told by its first bytes, not its name). A bad line is passed over, and the first ones are
told; a gzip stream that breaks off is told, and what came before it has been converted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from flowgauge.producers.event_file import read_lines
from flowgauge.producers.prefect.capture import Counts, Problem, convert
from flowgauge.schemas.errors import BadInput

PROBLEMS_SHOWN_MAX: Final = 10  # enough to see what is wrong with a file; the rest is counted


def convert_file(path: Path | str, out: BinaryIO, problems: TextIO) -> Counts:
    """Convert a capture file; write event lines to `out`, the first problems and how many more to `problems`.

    Raises OSError when the file cannot be opened or read, or `out` cannot be written.
    """
    counts, bad = Counts(), 0
    for converted in convert(_lines(Path(path), counts, problems), counts):
        if not isinstance(converted, Problem):
            out.write(converted + b"\n")
            continue
        bad += 1
        if bad <= PROBLEMS_SHOWN_MAX:
            problems.write(f"{path}: {converted}\n")
    if bad > PROBLEMS_SHOWN_MAX:
        problems.write(f"{path}: {bad - PROBLEMS_SHOWN_MAX} more lines cannot be converted\n")
    return counts


def _lines(path: Path, counts: Counts, problems: TextIO) -> Iterator[bytes]:
    try:
        yield from read_lines(path)
    except BadInput as error:
        counts.bad += 1
        problems.write(f"{error}\n")
