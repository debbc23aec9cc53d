"""Log lines on standard error: a constant phrase and its key-values, for people at a terminal, else as JSON."""

import logging
import sys

import structlog
from structlog.typing import EventDict

from flowgauge.console.text_table import printable


def configure_log_lines(level: str) -> None:
    """Write lines from `level` (debug, info, warning, error) on; called once, by the command that runs the parts."""
    people, programs = (_clean, structlog.dev.ConsoleRenderer()), (structlog.processors.JSONRenderer(),)
    renderers = people if sys.stderr.isatty() else programs
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _clean(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Let no text of an event or an error speak to the terminal; a traceback keeps its lines."""
    return {
        name: printable(value, keep="\n" if name == "exception" else "") if isinstance(value, str) else value
        for name, value in line.items()
    }
