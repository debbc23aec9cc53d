"""Log lines on standard error: a constant phrase and its key-values, for people at a terminal, else as JSON."""

import logging
import sys

import structlog
from structlog.typing import EventDict

from flowgauge.console.text_table import printable

SAID_MAX = 1_000  # characters of a library's line


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
    """Write what the library `name` warns of as lines of ours."""
    logging.getLogger(name).handlers = [_Lines(logging.WARNING)]


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; its text is the library's, so it stands as a value."""
        structlog.get_logger(record.name).log(record.levelno, "library says", said=record.getMessage()[:SAID_MAX])


def _clean(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Let no text of an event or an error speak to the terminal; a traceback keeps its lines."""
    return {
        name: printable(value, keep="\n" if name == "exception" else "") if isinstance(value, str) else value
        for name, value in line.items()
    }
