"""Log lines on standard error: a constant phrase and its key-values, for people at a terminal, else as JSON."""

import asyncio
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog
from structlog.typing import EventDict

from flowgauge.console.text_table import printable

SAID_MAX = 1_000  # characters of a library's line
AGAIN_MS = 30_000  # a library that says one thing over and over, while brokers are away, is told this often
KINDS_MAX = 64  # told apart; a library's lines are made from as many texts as its source has

Later: TypeAlias = Callable[[float, Callable[[], None]], object]  # asyncio's call_later

_lines: Any = structlog.get_logger("flowgauge")


def configure_log_lines(level: str, **names: str) -> None:
    """Write lines from `level` (debug, info, warning, error) on; called once, by the command that runs the parts.

    `names` stand in every line: they say which process speaks, where several do.
    """

    def named(_logger: object, _method: str, line: EventDict) -> EventDict:
        return {**names, **line}

    people, programs = (_clean, structlog.dev.ConsoleRenderer()), (structlog.processors.JSONRenderer(),)
    renderers = people if sys.stderr.isatty() else programs
    structlog.configure(
        processors=[
            named,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def quiet_library(name: str) -> None:
    """Let the lines of the library `name` go nowhere: what it cannot do, it raises, and we tell that."""
    library = logging.getLogger(name)
    library.handlers = [logging.NullHandler()]
    library.propagate = False


def tell_library_lines(name: str) -> None:
    """Write what the library `name` warns of in the running loop as lines of ours, bounded (see LibraryLines)."""
    loop = asyncio.get_running_loop()

    def later(delay_s: float, call: Callable[[], None]) -> None:
        if not loop.is_closed():  # what is left behind may be found only after its end
            loop.call_later(delay_s, call)

    logging.getLogger(name).handlers = [LibraryLines(later)]


def tell_left_behind(name: str) -> None:
    """Tell failures in the running loop that nobody waits for: those of the library `name` as its own lines.

    It has told them already to whoever asked. Any other is a bug, and told with its traceback.
    """

    def tell(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error: BaseException | None = context.get("exception")
        if error is not None and type(error).__module__.partition(".")[0] == name:
            logging.getLogger(name).warning("left behind: %r", error)
        else:
            _lines.error("left behind", said=context["message"], exc_info=error)

    asyncio.get_running_loop().set_exception_handler(tell)


@dataclass(slots=True)
class _Kind:
    """Lines made from one text: how many were not told, and the newest of them."""

    count: int
    newest: logging.LogRecord


class LibraryLines(logging.Handler):
    """Tells a library's warnings, but no kind of them more often than each AGAIN_MS.

    the first of a kind           library says             said=…
    AGAIN_MS later, if it came    library says again       said=the newest times=since the last line of that kind
    if none of any kind came      library is quiet again   an info: what was wrong is over
    """

    def __init__(self, later: Later) -> None:
        super().__init__(logging.WARNING)
        self._later = later
        self._kinds: dict[str, _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a line, or count it."""
        kind = str(record.msg)
        if kind not in self._kinds and len(self._kinds) >= KINDS_MAX:
            kind = next(reversed(self._kinds))
        if found := self._kinds.get(kind):
            found.count, found.newest = found.count + 1, record
            return
        if not self._kinds:
            self._later(AGAIN_MS / 1000, self._look_again)
        self._kinds[kind] = _Kind(0, record)
        _tell(record, "library says")

    def _look_again(self) -> None:
        told = [kind for kind in self._kinds.values() if kind.count]
        for kind in told:
            _tell(kind.newest, "library says again", times=kind.count)
            kind.count = 0
        if told:
            self._later(AGAIN_MS / 1000, self._look_again)
            return
        self._kinds.clear()
        _lines.info("library is quiet again")


def _tell(record: logging.LogRecord, event: str, **more: int) -> None:
    """Write one line; its text is the library's, so it stands as a value, and without a traceback."""
    said = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        said = f"{said}: {record.exc_info[1]!r}"
    structlog.get_logger(record.name).log(record.levelno, event, said=said[:SAID_MAX], **more)


def _clean(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Let no text of an event or an error speak to the terminal; a traceback keeps its lines."""
    return {
        name: printable(value, keep="\n" if name == "exception" else "") if isinstance(value, str) else value
        for name, value in line.items()
    }
