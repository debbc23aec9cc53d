"""Heartbeats of runs that last, and the end that a run is told to have."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.gateway_server import Running, running_gateway

from flowgauge.producers import Publisher
from flowgauge.producers.heartbeats import THREAD_NAME, Heartbeats

pytestmark = pytest.mark.integration


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path) as running:
        yield running


def beating_threads() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate() if thread.name == THREAD_NAME}


async def test_a_run_that_lasts_beats_until_its_end_and_never_after(gateway: Running) -> None:
    publisher = Publisher(gateway.url, linger_ms=1)

    async def has_beaten() -> bool:
        return sum(event.event == "flow-run.heartbeat" for event in await gateway.events()) >= 2

    with publisher.run("etl", run="r-1", tags=["prod"], heartbeat_ms=100):
        while not await has_beaten():
            await asyncio.to_thread(publisher.flush)
    await asyncio.to_thread(publisher.close)

    events = await gateway.events()
    assert [event.event for event in (events[0], events[-1])] == ["flow-run.running", "flow-run.completed"]
    beats = events[1:-1]
    assert {(e.event, e.kind, e.state, e.run) for e in beats} == {("flow-run.heartbeat", "flow-run", None, "r-1")}
    assert all(beat.related == events[0].related for beat in beats)


async def test_a_run_that_asks_for_none_has_none(gateway: Running) -> None:
    before = beating_threads()
    publisher = Publisher(gateway.url)
    with publisher.run("etl", heartbeat_ms=0):
        assert beating_threads() <= before
    await asyncio.to_thread(publisher.close)


def test_many_runs_beat_from_one_thread_each_until_its_own_end() -> None:
    heartbeats, told, both = Heartbeats(), list[str](), threading.Event()
    before = beating_threads()

    def say(name: str) -> None:
        told.append(name)
        if {"long", "short"} <= set(told):
            both.set()

    with heartbeats.beating(lambda: say("long"), 100):
        with heartbeats.beating(lambda: say("short"), 100):
            assert both.wait(30)
        short = told.count("short")
        again = threading.Event()
        with heartbeats.beating(again.set, 100):
            assert again.wait(30)
        assert told.count("short") == short
        assert len(beating_threads() - before) == 1
    heartbeats.end()


async def test_a_forked_child_does_not_beat_for_its_parents_run(gateway: Running) -> None:
    script = """
        import multiprocessing, time
        from flowgauge.producers import Publisher

        publisher = Publisher(linger_ms=1)

        def work():
            publisher.emit({"event": "child", "resource": {"id": "y"}})
            time.sleep(0.5)

        with publisher.run("etl", heartbeat_ms=60_000) as run:
            run.heartbeat()
            child = multiprocessing.get_context("fork").Process(target=work)
            child.start()
            child.join()
        publisher.close()
    """
    env = {"FLOWGAUGE_URL": gateway.url, "PYTHONPATH": ":".join(sys.path)}
    script = textwrap.dedent(script).replace("60_000", "100")
    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], env=env, check=False)

    events = await gateway.events()
    assert ended.returncode == 0
    assert [event.event for event in events].count("child") == 1
    assert events[-1].event == "flow-run.completed"


async def test_a_run_ends_as_it_was_told_to_whatever_ends_the_block(gateway: Running) -> None:
    publisher = Publisher(gateway.url)
    with publisher.run("etl") as run:
        run.ends("failed", {"message": "3 of 7 files"})
    with publisher.run("etl") as run, suppress(ZeroDivisionError), publisher.run("inner") as inner:
        inner.ends("cancelled")
        run.ends("crashed", {"message": 1 / 0})
    await asyncio.to_thread(publisher.close)

    ends = [event for event in await gateway.events() if event.state != "running"]
    assert [(end.state, end.payload) for end in ends] == [
        ("failed", {"message": "3 of 7 files"}),
        ("cancelled", {}),
        ("completed", {}),
    ]
