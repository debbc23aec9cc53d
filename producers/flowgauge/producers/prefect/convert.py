"""`flowgauge prefect convert FILE`: a capture file as flowgauge event lines.

The file may be gzipped (told by its first bytes, not its name). A bad line is passed over, and the first ones are
told; a gzip stream that breaks off is told, and what came before it has been converted.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, TextIO, cast

from flowgauge.producers.prefect.capture import LINE_BYTES_MAX, Counts, Problem, convert

PROBLEMS_SHOWN_MAX: Final = 10  # enough to see what is wrong with a file; the rest is counted
_GZIP_MAGIC: Final = b"\x1f\x8b"


def convert_file(path: Path | str, out: BinaryIO, problems: TextIO) -> Counts:
    """Convert a capture file; write event lines to `out`, the first problems and how many more to `problems`.

    Raises OSError when the file cannot be opened or read, or `out` cannot be written.
    """
    counts, bad = Counts(), 0
    with Path(path).open("rb") as raw:
        for converted in convert(_lines(raw, counts, problems), counts):
            if not isinstance(converted, Problem):
                out.write(converted + b"\n")
                continue
            bad += 1
            if bad <= PROBLEMS_SHOWN_MAX:
                problems.write(f"{path}: {converted}\n")
    if bad > PROBLEMS_SHOWN_MAX:
        problems.write(f"{path}: {bad - PROBLEMS_SHOWN_MAX} more lines cannot be converted\n")
    return counts


def _lines(raw: BinaryIO, counts: Counts, problems: TextIO) -> Iterator[bytes]:
    is_gzip = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    raw.seek(0)
    source = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if is_gzip else raw
    number = 0
    try:
        while line := source.readline(LINE_BYTES_MAX + 1):
            number += 1
            yield line
            while len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
                line = source.readline(LINE_BYTES_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        counts.bad += 1
        problems.write(f"{raw.name}: after line {number}: the gzip stream is broken: {error}\n")
