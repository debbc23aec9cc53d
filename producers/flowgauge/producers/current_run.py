"""Which run the code that runs now is part of: set by `publisher.run`, read by what turns log lines into events.

It is a context variable: asyncio tasks have the one of who started them, threads that of the context that they are
given (`asyncio.to_thread` gives it; `threading.Thread` does not: start it with `contextvars.copy_context().run`).
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from flowgauge.producers.run_scope import RunScope

_current: Final[ContextVar[RunScope | None]] = ContextVar("flowgauge_run", default=None)


def current_run() -> RunScope | None:
    """Return the innermost run that this code is part of, None outside of any."""
    return _current.get()


@contextmanager
def as_current(scope: RunScope) -> Generator[None, None, None]:
    """Let what runs inside be part of `scope`."""
    before = _current.get()
    _current.set(scope)
    try:
        yield
    finally:
        _current.set(before)  # no token: a generator may be closed in another context than it was started in
