"""Log lines on standard error: a constant phrase and its key-values, for people at a terminal, else as JSON."""

import logging
import sys

import structlog


def configure_log_lines(level: str) -> None:
    """Write lines from `level` (debug, info, warning, error) on; called once, by the command that runs the parts."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
