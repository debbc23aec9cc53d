"""What a library says becomes lines of ours: the first at once, a flood as counts, and its end."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator

import pytest
from aiokafka.errors import ProducerFenced
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from flowgauge.console.log_lines import KINDS_MAX, LibraryLines, quiet_library, tell_left_behind, tell_library_lines

NAME = "aiokafka"  # the library's own, as its errors name it


class Clock:
    """Keeps what is to be called later until it is told to."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def later(self, _delay_s: float, call: Callable[[], None]) -> None:
        self.due.append(call)

    def go_on(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


def say(lines: LibraryLines, text: str, *arguments: object, level: int = logging.WARNING) -> None:
    lines.handle(logging.LogRecord(NAME, level, "", 0, text, arguments, None))


def test_a_flood_is_told_at_once_then_counted_and_its_end_is_told() -> None:
    clock = Clock()
    lines = LibraryLines(clock.later)

    with capture_logs() as told:
        for number in range(100):
            say(lines, "cannot connect to %s", number, level=logging.ERROR)
        clock.go_on()
        clock.go_on()
        say(lines, "cannot connect to %s", "it")

    assert told == [
        {"event": "library says", "said": "cannot connect to 0", "log_level": "error"},
        {"event": "library says again", "said": "cannot connect to 99", "times": 99, "log_level": "error"},
        {"event": "library is quiet again", "log_level": "info"},
        {"event": "library says", "said": "cannot connect to it", "log_level": "warning"},
    ]


@given(st.lists(st.one_of(st.integers(0, 5), st.none()), max_size=60))
def test_every_line_is_told_or_counted_and_no_kind_twice_between_two_looks(said: list[int | None]) -> None:
    clock = Clock()
    lines = LibraryLines(clock.later)

    with capture_logs() as told:
        for kind in [*said, None]:
            if kind is None:
                before = len(told)
                clock.go_on()
                assert len(told) - before <= len({each for each in said if each is not None}) + 1
            else:
                say(lines, f"kind {kind}")

    assert sum(line.get("times", 1) for line in told if "said" in line) == len([k for k in said if k is not None])
    assert len(clock.due) <= 1


def test_more_kinds_than_are_told_apart_are_counted_together() -> None:
    clock = Clock()
    lines = LibraryLines(clock.later)

    with capture_logs() as told:
        for kind in range(KINDS_MAX + 10):
            say(lines, f"kind {kind}")
        clock.go_on()

    assert len(told) == KINDS_MAX + 1
    assert told[-1]["times"] == 10


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    logger = logging.getLogger(NAME)
    before = logger.handlers, logger.propagate
    quiet_library(NAME)
    yield logger
    logger.handlers, logger.propagate = before


async def test_a_failure_of_the_library_that_nobody_waits_for_is_one_line_of_its_own(library: logging.Logger) -> None:
    tell_left_behind(library.name)
    tell_library_lines(library.name)

    with capture_logs() as told:
        asyncio.get_running_loop().create_future().set_exception(ProducerFenced())
        gc.collect()

    (line,) = told
    assert line["event"] == "library says"
    assert str(line["said"]).startswith("left behind: ProducerFenced(")


def test_what_is_found_after_the_end_of_the_loop_is_told_too(library: logging.Logger) -> None:
    async def leave_behind() -> "asyncio.Future[None]":
        tell_left_behind(library.name)
        tell_library_lines(library.name)
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left.set_exception(ProducerFenced())
        return left

    with capture_logs() as told:
        left = asyncio.run(leave_behind())
        del left
        gc.collect()

    (line,) = told
    assert str(line["said"]).startswith("left behind: ProducerFenced(")


async def test_a_failure_of_ours_that_nobody_waits_for_keeps_its_traceback(library: logging.Logger) -> None:
    tell_left_behind(library.name)

    with capture_logs() as told:
        asyncio.get_running_loop().create_future().set_exception(ZeroDivisionError("ours"))
        gc.collect()

    (line,) = told
    assert (line["event"], repr(line["exc_info"])) == ("left behind", "ZeroDivisionError('ours')")
