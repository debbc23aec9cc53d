"""The errors flowgauge raises, by what should happen next.

FlowgaugeError
├── BadInput              somebody wrote or sent something wrong: say where, go on      exit 2
│   ├── InvalidEvent      one event; it goes to the dlq with the reason
│   ├── InvalidRules      a rule or channel file: file, line, field and remedy
│   └── InvalidSettings   flowgauge.toml, the environment or a flag
├── BadEnvironment        the machine is not as needed: say what to change              exit 3
│   ├── DataFolderLocked  another process owns the data folder
│   ├── LogMismatch       a log or state that belongs to another log_id or source set
│   └── ServerAway        no flowgauge server answers
├── Transient             try again later, with backoff: disk full, ClickHouse away
└── InvariantBroken       a bug or a damaged store: stop loudly, lose nothing
    ├── Fenced            another owner took over: end this one
    ├── StoodStill        a connection that brings nothing: end, start again
    ├── Unreadable        what a program of ours wrote cannot be read: nothing is consumed past it
    └── OffsetGap         input is missing: match again from the detector's position
"""

from dataclasses import dataclass


class FlowgaugeError(Exception):
    """The root: a message that names the place and the remedy."""

    exit_code = 1


class BadInput(FlowgaugeError):
    """Somebody wrote or sent something wrong."""

    exit_code = 2


class InvalidEvent(BadInput):
    """One event that cannot be kept as an event. `reason` is from a bounded set and labels metrics."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that people write: where it stands, what is wrong, what to write instead."""

    file: str
    line: int  # 1-based; 0 when the file as a whole is meant
    column: int
    field: str  # dotted path, such as rules[0].when.failure_rate.above
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return `file:line:column: field: message (remedy)`, the form that editors jump to."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{place}:{field} {self.message}{remedy}"


class InvalidRules(BadInput):
    """A rule or channel file with mistakes: all of them, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InvalidSettings(BadInput):
    """Settings that contradict themselves or name something unknown."""


class BadEnvironment(FlowgaugeError):
    """The machine is not as flowgauge needs it."""

    exit_code = 3


class DataFolderLocked(BadEnvironment):
    """Another process owns the data folder."""


class LogMismatch(BadEnvironment):
    """A log or stored position that belongs to another log_id or source set."""


class ServerAway(BadEnvironment):
    """No flowgauge server answers at FLOWGAUGE_URL. `wait_ms`: for how long one asks not to be asked again."""

    def __init__(self, message: str, *, wait_ms: int = 0) -> None:
        super().__init__(message)
        self.wait_ms = wait_ms


class Transient(FlowgaugeError):
    """Something outside failed and may succeed later: retry with backoff, keep everything."""


class InvariantBroken(FlowgaugeError):
    """A promise of the log or of a store does not hold: stop loudly."""


class Fenced(InvariantBroken):
    """Another process opened the same group: its steps count from now on, ours do not."""


class StoodStill(InvariantBroken):
    """A connection brings nothing though something waits; only a new one helps."""


class Unreadable(InvariantBroken):
    """A record, state or note that only programs of ours write cannot be read: a newer version's, or damaged."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__(
            f"{where} cannot be read ({error}): update this program to the version that wrote it; if it is damaged, "
            "restore the log from a backup, or begin a new one under another kafka.prefix"
        )


class OffsetGap(InvariantBroken):
    """Samples of a source are missing before those that came: match again from the detector's position."""
