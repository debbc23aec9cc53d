"""What happened in a simulation, in order; the end of it is printed with a failure."""

from collections import deque
from dataclasses import dataclass, field

LINES_MAX = 60


@dataclass(slots=True)
class Trace:
    """The last lines, each with its virtual second."""

    now_ms: int = 0
    begin_ms: int = 0
    lines: deque[str] = field(default_factory=lambda: deque[str](maxlen=LINES_MAX))

    def say(self, line: str) -> None:
        """Add a line at the present moment."""
        self.lines.append(f"{(self.now_ms - self.begin_ms) / 1000:8.1f} s  {line}")
