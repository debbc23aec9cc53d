"""The last lines that a command printed, within bounds of count and bytes, whatever it prints. Pure."""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

LINES_MAX = 100  # of both streams together
LINE_BYTES_MAX = 4_096  # of one line; its start is kept
TOTAL_BYTES_MAX = 65_536  # of all of them

_NEW_LINE: Final = b"\n"


class Printed(NamedTuple):
    """A line: when its end was read, where it was printed, and what."""

    at_ms: int
    stream: str
    text: str


class LastLines:
    """Takes what streams print as it comes. `seen` counts all lines; what is no UTF-8 is told as U+FFFD."""

    def __init__(self) -> None:
        self.seen = 0
        self._lines: deque[tuple[int, str, bytes]] = deque()
        self._bytes = 0
        self._begun: dict[str, bytes] = {}  # by stream: the start of a line that has not ended

    def feed(self, stream: str, data: bytes, at_ms: int) -> None:
        """Take `data`, which `stream` printed. Costs as much as its last lines, however long it is."""
        lines = data.count(_NEW_LINE)
        if not lines:
            self._begin(stream, data)
            return
        first, _, rest = data.partition(_NEW_LINE)
        self._add(stream, self._begun.pop(stream, b"") + first[:LINE_BYTES_MAX], at_ms)
        *middle, last = rest.rsplit(_NEW_LINE, LINES_MAX + 1)
        for line in middle[-LINES_MAX:]:
            self._add(stream, line, at_ms)
        self.seen += lines - 1 - len(middle[-LINES_MAX:])
        self._begin(stream, last)

    def end(self, at_ms: int) -> None:
        """Take lines that were begun as they are: nothing more comes."""
        for stream, begun in self._begun.items():
            if begun:
                self._add(stream, begun, at_ms)
        self._begun.clear()

    def __iter__(self) -> Iterator[Printed]:
        """Yield the lines that are left, in the order they were read."""
        for at_ms, stream, line in self._lines:
            yield Printed(at_ms, stream, line.rstrip(b"\r").decode(errors="replace"))

    def _begin(self, stream: str, data: bytes) -> None:
        self._begun[stream] = (self._begun.get(stream, b"") + data[:LINE_BYTES_MAX])[:LINE_BYTES_MAX]

    def _add(self, stream: str, line: bytes, at_ms: int) -> None:
        self.seen += 1
        line = line[:LINE_BYTES_MAX]
        self._lines.append((at_ms, stream, line))
        self._bytes += len(line)
        while len(self._lines) > LINES_MAX or self._bytes > TOTAL_BYTES_MAX:
            self._bytes -= len(self._lines.popleft()[2])
