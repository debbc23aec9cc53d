"""The end of `up`: in order, within its time, and loudly when a part hangs."""

import asyncio
import subprocess
import sys

import pytest

from flowgauge.console.access import egress_policy
from flowgauge.console.ending import ShutdownOverdue, first_of, wait_for_end
from flowgauge.schemas.errors import InvalidSettings, OffsetGap
from flowgauge.schemas.setting_parts import EgressSettings
from flowgauge.schemas.settings import Settings


async def hang() -> None:
    await asyncio.Event().wait()


async def test_parts_that_end_in_time_end_quietly() -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(0), name="matcher")]

        await wait_for_end(tasks, asyncio.get_running_loop().time() + 10)


async def test_a_part_that_hangs_is_named_when_the_time_is_over() -> None:
    tasks = [asyncio.ensure_future(hang()), asyncio.ensure_future(hang())]
    tasks[0].set_name("sink")
    tasks[1].set_name("notifier")

    with pytest.raises(ShutdownOverdue, match="did not end in time: notifier, sink; nothing is lost"):
        await wait_for_end(tasks, asyncio.get_running_loop().time())
    for task in tasks:
        task.cancel()


def test_of_several_failures_the_one_that_says_most_is_told() -> None:
    gap = OffsetGap("samples are missing")
    group = BaseExceptionGroup("parts", [RuntimeError("x"), BaseExceptionGroup("sink", [gap])])

    assert first_of(group) is gap


def test_an_egress_entry_that_cannot_be_read_is_a_setting_to_mend() -> None:
    with pytest.raises(InvalidSettings, match=r"^egress\.allow: cannot read '10\.0\.0\.0/99'"):
        egress_policy(Settings(egress=EgressSettings(allow=("10.0.0.0/99",))))


def test_a_thread_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = """
import asyncio, threading
from flowgauge.console.ending import ShutdownOverdue, run_as_process

async def running():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    raise ShutdownOverdue("did not end in time: sink")

asyncio.run(run_as_process(running()))
"""

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=False)

    assert (ended.returncode, ended.stderr) == (1, "flowgauge: did not end in time: sink\n")


def test_a_process_passes_over_what_it_imported_when_it_collects_garbage() -> None:
    code = """
import asyncio, gc
from flowgauge.console.ending import run_as_process

async def running():
    print(gc.get_freeze_count() > len(gc.get_objects()))

asyncio.run(run_as_process(running()))
"""

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=False)

    assert ended.stdout == "True\n"
