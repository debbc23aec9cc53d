"""Log lines as events: a handler for `logging`, a processor for structlog (which it does not import).

Both say a line as `log.write` of the run that the code is part of; a line outside of any run is nobody's, and left out.
Neither raises, does I/O, or hears what flowgauge's own threads and loggers say: each line would cause the next.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from flowgauge.producers.current_run import current_run
from flowgauge.producers.run_scope import as_text

TRACEBACK_CHARS_MAX = 8_192  # its end says most
FRAMES_MAX = 50
OUR_LOGGER: Final = "flowgauge.publisher"
OUR_THREADS: Final = "flowgauge-"

_Event = MutableMapping[str, Any]
_Triple = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_ExcInfo = _Triple | BaseException | bool | None
_NOT_SAID: Final = frozenset({"event", "level", "logger", "timestamp", "exc_info", "exception", "stack_info"})
_busy = threading.local()  # a line whose text logs another must not go round in circles


class FlowgaugeHandler(logging.Handler):
    """Says log records as events of the current run: level, logger, message, and the end of a traceback.

    Give it to any logger, the root's mostly. `failed` counts records that could not be said.
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.failed = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Say `record`, unless it is ours or nobody's."""
        if record.name == OUR_LOGGER or (record.threadName or "").startswith(OUR_THREADS):
            return
        try:
            _say(record.levelname, record.name, record.getMessage, lambda: _described(_exception_in(record.exc_info)))
        except Exception:  # noqa: BLE001  # arguments that do not fit the message, or that cannot be told
            self.failed += 1


def structlog_processor(_logger: object, method_name: str, event_dict: _Event) -> _Event:
    """Say a structlog event as an event of the current run; return it unchanged.

    Put it before the renderer. Other keys than structlog's own follow the message as `key=value`.
    """
    level, logger = event_dict.get("level") or method_name, event_dict.get("logger") or ""
    if not threading.current_thread().name.startswith(OUR_THREADS):
        with suppress(Exception):  # what cannot be told must not break the work
            _say(level, logger, lambda: _line(event_dict), lambda: _exception_of(event_dict))
    return event_dict


def _say(
    level: str, logger: str, message: Callable[[], str], exception: Callable[[], Mapping[str, str] | None]
) -> None:
    scope = current_run()
    if scope is None or getattr(_busy, "is_busy", False):
        return
    _busy.is_busy = True
    try:
        scope.log(level, message(), logger, exception=exception())
    finally:
        _busy.is_busy = False


def _line(event: Mapping[str, Any]) -> str:
    values = (f"{key}={as_text(value, 1_024)}" for key, value in event.items() if key not in _NOT_SAID)
    return " ".join([as_text(event.get("event", ""), TRACEBACK_CHARS_MAX), *values])


def _exception_of(event: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Describe the exception of a structlog event, or return what a processor before has made of it."""
    text = event.get("exception")
    if isinstance(text, str):
        return {"traceback": text[-TRACEBACK_CHARS_MAX:]}
    return _described(_exception_in(event.get("exc_info")))


def _exception_in(exc_info: _ExcInfo) -> BaseException | None:
    """Return the exception of what loggers take as `exc_info`: one, three of `sys.exc_info()`, or whether to look."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    if isinstance(exc_info, BaseException):
        return exc_info
    return sys.exc_info()[1] if exc_info else None


def _described(exception: BaseException | None) -> Mapping[str, str] | None:
    if exception is None:
        return None
    lines = traceback.format_exception(type(exception), exception, exception.__traceback__, limit=-FRAMES_MAX)
    return {
        "type": type(exception).__qualname__,
        "message": as_text(exception, TRACEBACK_CHARS_MAX),
        "traceback": "".join(lines)[-TRACEBACK_CHARS_MAX:],
    }
