"""The spool under real processes: a gateway that is frozen or away, a worker that is killed, the next that goes on."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tests.integration.gateway_server import Running, running_gateway
from tests.integration.notifier_scene import until

from flowgauge.producers import Publisher
from flowgauge.schemas.event import Event, decode_event
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.local import open_local_log

pytestmark = pytest.mark.integration

FLUSH_MS = 50_000
SERVER = [sys.executable, "-m", "benchmarks.server"]  # a gateway alone, over a folder


def said(number: int) -> dict[str, object]:
    return {"event": "etl.step", "resource": {"id": "etl"}, "payload": {"number": number}}


@contextmanager
def gateway_process(folder: Path) -> Generator[tuple[str, int]]:
    """Yield the URL and the process id of a gateway in a process of its own."""
    with subprocess.Popen([*SERVER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip(), child.pid
        finally:
            child.send_signal(signal.SIGCONT)
            child.kill()


async def has_events(gateway: Running, count: int) -> bool:
    return len(await gateway.events()) >= count


async def numbers_in(folder: Path) -> list[object]:
    """Return what the events say that a gateway has put into its log, in the order of the log."""
    log = await open_local_log(folder, partitions={EVENTS: 1})
    records = [await log.read(EVENTS, partition, 0, 100_000) for partition in range(log.partitions(EVENTS))]
    await log.close()
    by_id = {
        event.id: event.payload["number"]
        for partition in records
        for record in partition
        if record.value is not None and record.kind is RecordKind.EVENT and (event := decode_event(record.value))
    }
    return list(by_id.values())


def numbers_of(events: Sequence[Event]) -> list[object]:
    return [event.payload["number"] for event in events]


async def test_while_the_gateway_is_frozen_emit_goes_on_and_nothing_is_lost(tmp_path: Path) -> None:
    total = 30_000
    with gateway_process(tmp_path / "log") as (url, process):
        publisher = Publisher(url, spool=tmp_path / "spool", events_max=1_000)
        publisher.emit(said(0))
        assert await asyncio.to_thread(publisher.flush, FLUSH_MS)

        os.kill(process, signal.SIGSTOP)
        took = 1
        while took < total:  # the buffer holds a thousand: only the disk makes room for more
            if publisher.emit(said(took)):
                took += 1
            else:
                await asyncio.sleep(0)
        await until(lambda: publisher.spooled >= total - 1_000)
        assert publisher.sent == 1
        os.kill(process, signal.SIGCONT)

        assert await asyncio.to_thread(publisher.flush, FLUSH_MS)
        await asyncio.to_thread(publisher.close)
        httpx2.get(f"{url}/cpu", trust_env=False).raise_for_status()
    assert publisher.sent == total
    assert publisher.drained == publisher.spooled
    assert await numbers_in(tmp_path / "log") == list(range(total))
    assert [*(tmp_path / "spool").rglob("*.*")] == []


WORKER = """
import sys, time
from flowgauge.producers import Publisher
publisher = Publisher(sys.argv[1], spool=sys.argv[2])
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    publisher.emit({"event": "etl.step", "resource": {"id": "etl"}, "payload": {"number": number}})
while publisher.spooled < int(sys.argv[4]) - int(sys.argv[3]):
    time.sleep(0.01)
print("spooled", flush=True)
time.sleep(60)
"""


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@contextmanager
def worker(url: str, spool: Path, *numbers: int) -> Generator["subprocess.Popen[str]"]:
    """Run a worker until its events are on disk; killed in the end, if it still lives."""
    command = [sys.executable, "-c", textwrap.dedent(WORKER), url, str(spool), *map(str, numbers)]
    env = {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "spooled\n"
            yield child
        finally:
            child.kill()


async def test_what_a_killed_worker_had_spooled_the_next_one_sends_in_order(tmp_path: Path, free_port: int) -> None:
    url, spool = f"http://127.0.0.1:{free_port}", tmp_path / "spool"
    for first in (0, 500):
        with worker(url, spool, first, first + 500) as killed:
            killed.send_signal(signal.SIGKILL)

    async with running_gateway(tmp_path / "log", port=free_port) as gateway:
        publisher = Publisher(url, spool=spool)
        publisher.emit(said(1_000))
        assert await asyncio.to_thread(publisher.flush, FLUSH_MS)
        await asyncio.to_thread(publisher.close)

        events = await gateway.events()
    assert numbers_of(events) == list(range(1_001))
    assert (publisher.sent, publisher.drained, publisher.dropped) == (1_001, 1_000, 0)
    assert [*spool.rglob("*.*")] == []


async def test_the_spool_of_a_worker_that_lives_is_left_to_it(tmp_path: Path, free_port: int) -> None:
    url, spool = f"http://127.0.0.1:{free_port}", tmp_path / "spool"
    with worker(url, spool, 0, 10) as living:
        frozen = living.pid
        os.kill(frozen, signal.SIGSTOP)
        async with running_gateway(tmp_path / "log", port=free_port) as gateway:
            with Publisher(url, spool=spool) as publisher:
                publisher.emit(said(10))
                assert await asyncio.to_thread(publisher.flush, FLUSH_MS)
            assert numbers_of(await gateway.events()) == [10]

            os.kill(frozen, signal.SIGCONT)
            await until(lambda: has_events(gateway, 11))
            assert numbers_of(await gateway.events()) == [10, *range(10)]


async def test_a_spool_is_of_one_token_and_never_sent_with_another(tmp_path: Path, free_port: int) -> None:
    url, spool = f"http://127.0.0.1:{free_port}", tmp_path / "spool"
    before = Publisher(url, "one", spool=spool)
    before.emit(said(1))
    before.close(timeout_ms=0)

    async with running_gateway(tmp_path / "log", port=free_port, tokens={"one": "acme", "two": "umbrella"}) as gateway:
        for token, number in (("two", 2), ("one", 3)):
            with Publisher(url, token, spool=spool) as publisher:
                publisher.emit(said(number))
                assert await asyncio.to_thread(publisher.flush, FLUSH_MS)
        events = await gateway.events()

    assert [(event.tenant, event.payload["number"]) for event in events] == [("umbrella", 2), ("acme", 1), ("acme", 3)]


def test_what_is_left_at_the_end_waits_on_disk_and_is_said(
    tmp_path: Path, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(f"http://127.0.0.1:{free_port}", spool=tmp_path / "spool")
    for number in range(3):
        publisher.emit(said(number))
    publisher.close(timeout_ms=100)

    assert (publisher.dropped, publisher.spooled) == (0, 3)
    assert f"3 events wait in {tmp_path / 'spool'} for the next publisher (" in caplog.messages[-1]
    (file,) = (tmp_path / "spool").rglob("*.ndjson")
    assert [line.partition('"number":')[2] for line in file.read_text().splitlines()] == ["0}}", "1}}", "2}}"]


def test_beyond_the_bound_the_oldest_are_kept_and_the_rest_is_counted(
    tmp_path: Path, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(f"http://127.0.0.1:{free_port}", spool=tmp_path / "spool", spool_bytes_max=2_000)
    for number in range(100):
        publisher.emit(said(number))
    publisher.close(timeout_ms=100)

    (file,) = (tmp_path / "spool").rglob("*.ndjson")
    kept = file.read_text().splitlines()
    assert 0 < file.stat().st_size <= 2_000
    assert ('"number":0}' in kept[0], publisher.spooled, publisher.dropped) == (True, len(kept), 100 - len(kept))
    assert any(message.startswith(f"{100 - len(kept)} events are missing") for message in caplog.messages)


@pytest.mark.parametrize("trouble", ["a file", "open to others"])
async def test_a_spool_that_cannot_be_used_is_said_once_and_events_go_on_from_memory(
    tmp_path: Path, free_port: int, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    spool = tmp_path / "spool"
    if trouble == "a file":
        spool.touch()
    else:
        filled = Publisher(f"http://127.0.0.1:{free_port}", spool=spool)
        filled.emit(said(7))
        filled.close(timeout_ms=0)
        next(spool.iterdir()).chmod(0o777)
    caplog.clear()
    publisher = Publisher(f"http://127.0.0.1:{free_port}", spool=spool)
    with caplog.at_level(logging.WARNING, "flowgauge.publisher"):
        publisher.emit(said(0))
        await until(lambda: any("cannot write the spool" in message for message in caplog.messages))
        async with running_gateway(tmp_path / "log", port=free_port) as gateway:
            assert await asyncio.to_thread(publisher.flush, FLUSH_MS)
            events = await gateway.events()
        publisher.close()

    assert numbers_of(events) == [0]
    assert (publisher.dropped, publisher.spooled) == (0, 0)
    assert len([message for message in caplog.messages if "cannot write the spool" in message]) == 1


async def test_after_a_fork_the_childs_events_have_a_file_of_their_own(tmp_path: Path, free_port: int) -> None:
    script = """
        import multiprocessing, sys
        from flowgauge.producers import Publisher

        publisher = Publisher(sys.argv[1], spool=sys.argv[2], close_timeout_ms=0)

        def say(*numbers):
            for number in numbers:
                publisher.emit({"event": "etl", "resource": {"id": "etl"}, "payload": {"number": number}})

        say(1)
        while not publisher.spooled:
            pass
        child = multiprocessing.get_context("fork").Process(target=say, args=(3, 4))
        child.start()
        child.join()
        say(2)
    """
    spool = tmp_path / "spool"
    command = [sys.executable, "-c", textwrap.dedent(script), f"http://127.0.0.1:{free_port}", str(spool)]
    ended = await asyncio.to_thread(subprocess.run, command, env={"PYTHONPATH": ":".join(sys.path)}, check=False)

    files = {file.name.partition(".")[0]: b"" for file in sorted(spool.rglob("*.ndjson"))}
    for file in sorted(spool.rglob("*.ndjson")):
        files[file.name.partition(".")[0]] += file.read_bytes()
    assert ended.returncode == 0
    assert [[int(line.rpartition(b":")[2][:-2]) for line in text.splitlines()] for text in files.values()] == [
        [1, 2],
        [3, 4],
    ]


def test_a_publisher_that_cannot_begin_in_a_child_keeps_no_other_from_it(free_port: int) -> None:
    script = """
        import os, sys
        from flowgauge.producers import Publisher

        class Broken(Publisher):
            def begin(self):
                if os.getpid() != parent:
                    raise OSError("no descriptor is left")
                super().begin()

        parent = os.getpid()
        publishers = [Publisher(sys.argv[1], close_timeout_ms=0), *(Broken(sys.argv[1]) for _ in range(20))]
        publishers[0].emit({"event": "etl", "resource": {"id": "etl"}})
        if not os.fork():
            publishers[0].close()
            os._exit(publishers[0].dropped)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), f"http://127.0.0.1:{free_port}"]
    env = {"PYTHONPATH": ":".join(sys.path)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, "0\n")
    assert "no descriptor is left" in ended.stderr


async def test_threads_that_publish_while_the_spool_fills_and_drains_lose_nothing(
    tmp_path: Path, free_port: int
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    publisher = Publisher(url, spool=tmp_path / "spool", events_max=2_000)

    def work(first: int) -> None:
        number = first
        while number < first + 5_000:
            number += publisher.emit(said(number))

    threads = [threading.Thread(target=work, args=(5_000 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    await until(lambda: publisher.spooled)
    async with running_gateway(tmp_path / "log", port=free_port) as gateway:
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert await asyncio.to_thread(publisher.flush, FLUSH_MS)
        events = await gateway.events()
    publisher.close()

    found = numbers_of(events)
    assert [[n for n in found if isinstance(n, int) and n // 5_000 == t] for t in range(3)] == [
        list(range(5_000 * t, 5_000 * t + 5_000)) for t in range(3)
    ]
