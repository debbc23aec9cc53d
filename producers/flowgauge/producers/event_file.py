"""A file of lines, gzipped or not: told by its first bytes, not by its name."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, cast

from flowgauge.schemas.errors import BadInput

LINE_BYTES_MAX: Final = 4 * 1_048_576  # Prefect refuses events over 1.5 MB; a longer line is none
_GZIP_MAGIC: Final = b"\x1f\x8b"


def read_lines(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file or a pipe. A line over LINE_BYTES_MAX ends one byte past it.

    Raises BadInput when a gzip stream is broken, after the lines before.
    """
    with file.open("rb") as source:
        yield from lines_of(source, str(file))


def lines_of(source: BufferedReader, name: str) -> Iterator[bytes]:
    """Yield lines as `read_lines` does, of what is open already."""
    unzipped = cast("BinaryIO", gzip.GzipFile(fileobj=source)) if is_gzip(source) else source
    number = 0
    try:
        while line := unzipped.readline(LINE_BYTES_MAX + 1):
            number += 1
            yield line
            while len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
                line = unzipped.readline(LINE_BYTES_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{name}: after line {number}: the gzip stream is broken: {error}") from None


def is_gzip(source: BufferedReader) -> bool:
    """Tell whether what `source` starts with is gzip; nothing is taken from it."""
    return source.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)


def refuse_pipe(file: Path) -> None:
    """Raise BadInput for what cannot be read twice."""
    if not file.is_file():
        raise BadInput(f"{file}: no regular file, and it is read more than once: write it to a file first")
