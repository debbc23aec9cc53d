"""Log lines as events of the run that logs them, against a real gateway."""

import asyncio
import contextvars
import json
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import cast

import pytest
import structlog
from tests.integration.gateway_server import Running, running_gateway

from flowgauge.producers import FlowgaugeHandler, Publisher, current_run, structlog_processor
from flowgauge.schemas.event import Event

pytestmark = pytest.mark.integration


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
def handler() -> Generator[FlowgaugeHandler]:
    """Return a handler of the root logger, as a worker has it."""
    root, made = logging.getLogger(), FlowgaugeHandler(logging.INFO)
    before = root.level
    root.addHandler(made)
    root.setLevel(logging.DEBUG)
    try:
        yield made
    finally:
        root.removeHandler(made)
        root.setLevel(before)


async def lines(gateway: Running, publisher: Publisher) -> list[Event]:
    """Return the log lines that arrived."""
    await asyncio.to_thread(publisher.close, 15_000)
    assert (publisher.refused, publisher.dropped) == (0, 0)
    return [event for event in await gateway.events() if event.kind == "log"]


def exception_of(line: Event) -> dict[str, str]:
    return cast("dict[str, str]", line.payload["exception"])


async def test_a_line_becomes_an_event_of_the_run_that_logs_it(gateway: Running, handler: FlowgaugeHandler) -> None:
    publisher = Publisher(gateway.url)
    logger = logging.getLogger("etl.extract")
    logger.error("nobody's")
    with publisher.run("etl", run="r-1"):
        logger.warning("%d rows", 42)
        logger.debug("below the handler's level")

    (line,) = await lines(gateway, publisher)
    assert (line.event, line.flow, line.run) == ("log.write", "etl", "r-1")
    assert line.payload == {"level": "WARNING", "logger": "etl.extract", "message": "42 rows"}


async def test_an_exception_is_told_with_the_end_of_its_traceback(gateway: Running, handler: FlowgaugeHandler) -> None:
    publisher = Publisher(gateway.url)

    def dig(depth: int) -> None:
        if not depth:
            raise ValueError("x" * 100_000)
        dig(depth - 1)

    with publisher.run("etl"):
        try:
            dig(200)
        except ValueError:
            logging.getLogger("etl").exception("no rows")

    (line,) = await lines(gateway, publisher)
    told = exception_of(line)
    assert (line.payload["message"], told["type"], len(told["message"])) == ("no rows", "ValueError", 8_192)
    assert len(told["traceback"]) == 8_192


async def test_tasks_and_threads_log_for_the_run_that_started_them(gateway: Running, handler: FlowgaugeHandler) -> None:
    publisher = Publisher(gateway.url)
    logger = logging.getLogger("etl")

    async def work(name: str) -> None:
        with publisher.run(name, run=name):
            await asyncio.sleep(0)
            logger.info("task")
            await asyncio.to_thread(logger.info, "to_thread")
            thread = threading.Thread(target=contextvars.copy_context().run, args=(logger.info, "thread"))
            thread.start()
            await asyncio.to_thread(thread.join)

    await asyncio.gather(work("a"), work("b"))
    assert current_run() is None

    found = [(line.run, line.payload["message"]) for line in await lines(gateway, publisher)]
    assert sorted(found, key=str) == [(run, said) for run in "ab" for said in ("task", "thread", "to_thread")]


async def test_a_file_name_that_is_no_utf_8_costs_no_line(gateway: Running, handler: FlowgaugeHandler) -> None:
    publisher = Publisher(gateway.url)
    with publisher.run("etl"):
        logging.getLogger("etl").info("read %s ä", b"caf\xe9".decode(errors="surrogateescape"))

    assert [line.payload["message"] for line in await lines(gateway, publisher)] == ["read caf? ä"]


async def test_an_exception_and_an_end_that_name_such_a_file_cost_no_event(
    gateway: Running, handler: FlowgaugeHandler
) -> None:
    publisher, name = Publisher(gateway.url), b"caf\xe9".decode(errors="surrogateescape")

    def fail() -> None:
        raise ValueError(f"cannot read {name}")

    with publisher.run("etl") as run:
        try:
            fail()
        except ValueError:
            logging.getLogger("etl").exception("failed")
        structlog_processor(None, "info", {"event": "x", "exception": f"Traceback: {name}"})
        run.ends("failed", {"message": f"cannot read {name}", "files": [{name: (name, 1)}]})

    ours, structlogs = await lines(gateway, publisher)
    assert exception_of(ours)["traceback"].endswith("ValueError: cannot read caf?\n")
    assert exception_of(structlogs) == {"traceback": "Traceback: caf?"}
    end = (await gateway.events())[-1]
    assert (end.state, end.payload) == (
        "failed",
        {"message": "cannot read caf?", "files": [{"caf?": ["caf?", 1]}]},
    )


async def test_a_payload_that_holds_itself_does_not_raise_into_the_work(gateway: Running) -> None:
    publisher = Publisher(gateway.url)
    payload: dict[str, object] = {}
    payload["self"] = payload
    with publisher.run("etl") as run:
        run.ends("failed", payload)

    await asyncio.to_thread(publisher.close)
    assert publisher.refused == 1


async def test_a_run_within_a_run_has_its_own_lines(gateway: Running, handler: FlowgaugeHandler) -> None:
    publisher = Publisher(gateway.url)
    with publisher.run("outer", run="o"):
        with publisher.run("inner", run="i"):
            logging.getLogger("etl").info("1")
        logging.getLogger("etl").info("2")

    assert [(line.run, line.payload["message"]) for line in await lines(gateway, publisher)] == [("i", "1"), ("o", "2")]


class LogsWhenTold:
    """Logs itself while it is told: a line that would cause the next, and that the one after."""

    def __str__(self) -> str:
        logging.getLogger("etl").info("about to be told")
        return "told"


class Broken:
    def __str__(self) -> str:
        raise ValueError("cannot be told")

    __repr__ = __str__


async def test_no_line_causes_another_and_none_raises(gateway: Running, handler: FlowgaugeHandler) -> None:
    publisher = Publisher(gateway.url, events_max=3)
    logger = logging.getLogger("etl.alone")
    logger.propagate = False  # pytest's own handler raises what a line costs
    logger.addHandler(handler)
    with publisher.run("etl"):
        logger.info("%s", LogsWhenTold())
        logger.info("%d rows", "many")
        logger.info("%s", Broken())
        for _ in range(100):  # the buffer is full: the publisher warns by a log line of its own
            logger.info("more")
    await asyncio.to_thread(publisher.close)

    said = [event.payload["message"] for event in await gateway.events() if event.kind == "log"]
    assert handler.failed == 2
    assert set(said) <= {"told", "more"}


async def test_structlog_events_become_events_of_the_run(gateway: Running) -> None:
    publisher = Publisher(gateway.url)
    printed: list[str] = []

    def render(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
        printed.append(json.dumps(event, default=str))
        return printed[-1]

    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.stdlib.add_log_level, structlog_processor, structlog.processors.format_exc_info, render],
    )
    logger.info("nobody's")
    with publisher.run("etl", run="r-1"):
        logger.warning("late event diverted", key="orders", late_by_ms=3)
        logger.info("odd", value=Broken, broken=str)
        try:
            int("no rows")
        except ValueError:
            logger.exception("failed")

    late, odd, failed = await lines(gateway, publisher)
    assert late.payload == {"level": "WARNING", "logger": "", "message": "late event diverted key=orders late_by_ms=3"}
    assert str(odd.payload["message"]).startswith("odd value=<class")
    assert exception_of(failed)["type"] == "ValueError"
    assert len(printed) == 4


async def test_a_structlog_value_that_cannot_be_told_costs_no_line(gateway: Running) -> None:
    publisher = Publisher(gateway.url)
    with publisher.run("etl"):
        structlog_processor(None, "info", {"event": "x", "value": Broken()})
        structlog_processor(None, "info", {"event": Broken(), "exception": "a traceback"})

    assert [line.payload for line in await lines(gateway, publisher)] == [
        {"level": "INFO", "logger": "", "message": "x value=<Broken>"},
        {"level": "INFO", "logger": "", "message": "<Broken>", "exception": {"traceback": "a traceback"}},
    ]


def test_structlog_is_not_imported() -> None:
    code = "import sys, flowgauge.producers; print('structlog' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "False\n"
