"""Prefect's own clients with a gateway as their API: a burst arrives whole, though the gateway is killed amid it."""

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from tests.integration.fenced_blocks import blocks
from tests.integration.gateway_server import running_gateway
from tests.integration.prefect_database import VENV
from tests.integration.prefect_server import ROOT, documented_exports, free_port, need_prefect
from tests.integration.up_process import Up, running_up, wait_for

from flowgauge.console.up import partitions_of
from flowgauge.schemas.event import decode_event
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.local import open_local_log

pytestmark = [pytest.mark.prefect, pytest.mark.integration, pytest.mark.timeout(600)]

EMITTER = ROOT / "tests" / "prefect" / "emitter.py"
GUIDE = ROOT / "docs" / "connect-prefect.md"
KILLS = int(os.environ.get("FLOWGAUGE_KILLS", "1"))  # `make torture` does more
KILLED_AT = range(3_000, 3_000 + 6_000 * KILLS, 6_000)
EVENTS_EMITTED = KILLED_AT[-1] + 5_000  # the emitter must not be done before the last kill
WAIT_S = 240.0
TOKEN = "prefect-token"
SETTINGS = """
[tenants.data-team]
tokens = [{ env = "PREFECT_TEST_TOKEN" }]
"""


@pytest.fixture(autouse=True)
def prefect_environment() -> None:
    need_prefect()


@dataclass
class Emitter:
    """Prefect's client in a process of its own; `confirmed` is how many events it believes safe."""

    process: subprocess.Popen[str]
    confirmed: int = 0
    said: list[str] = field(default_factory=list[str])

    def has_confirmed(self, count: int) -> bool:
        """Tell whether it believes so many safe; fail when it ended before."""
        assert self.process.poll() is None, "".join(self.said)
        return self.confirmed >= count

    def read(self) -> None:
        """Take what it says until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("confirmed "):
                self.confirmed = int(line.split()[1])


def outside(home: Path) -> dict[str, str]:
    """Return the variables of a process of Prefect's that knows nothing of this machine's user."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PREFECT_HOME": str(home)}


@contextlib.contextmanager
def emitting(home: Path, count: int, variables: Mapping[str, str]) -> Generator[Emitter]:
    """Emit until the block ends, which waits for the emitter's own end."""
    process = subprocess.Popen(
        [VENV / "bin" / "python", EMITTER, str(count)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PREFECT_HOME": str(home),
            "DO_NOT_TRACK": "1",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
    )
    emitter = Emitter(process)
    reading = threading.Thread(target=emitter.read)
    reading.start()
    try:
        yield emitter
        process.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()
        reading.join()
        assert process.stdout is not None
        process.stdout.close()


def emit(home: Path, count: int, variables: Mapping[str, str]) -> str:
    """Emit to the end; return what the client said."""
    with emitting(home, count, variables) as emitter:
        pass
    assert emitter.process.returncode == 0
    return "".join(emitter.said)


async def ids_in(data: Path) -> list[int]:
    """Return the ids of all events in the log of a folder that no process holds, repeated ones too."""
    log = await open_local_log(data, partitions=partitions_of(Settings(data=data)))
    try:
        records = await log.read(EVENTS, 0, 0, 10 * EVENTS_EMITTED)
    finally:
        await log.close()
    return [decode_event(r.value).id.int for r in records if r.kind is RecordKind.EVENT and r.value is not None]


@contextlib.contextmanager
def guarded_up(folder: Path, port: int) -> Generator[Up]:
    folder.mkdir(exist_ok=True)
    (folder / "flowgauge.toml").write_text(SETTINGS, encoding="utf-8")
    with running_up(folder / "data", "--port", str(port), env={"PREFECT_TEST_TOKEN": TOKEN}) as up:
        up.http.headers["authorization"] = f"Bearer {TOKEN}"
        yield up


def ends_told(up: Up) -> tuple[int, int]:
    """Return how many runs ended, and how many of them failed, as the questions answer."""
    rows = up.rows("/v1/metrics/failure-rate", since="1d")
    return sum(row["finished"] for row in rows), sum(row["failed"] for row in rows)


def test_a_burst_arrives_whole_though_the_gateway_is_killed_amid_it(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "up"
    variables = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": f"anyone:{TOKEN}"}
    confirmed: list[int] = []

    with contextlib.ExitStack() as ends:
        emitter: Emitter | None = None
        for at in KILLED_AT:
            with guarded_up(folder, port) as up:
                emitter = emitter or ends.enter_context(emitting(tmp_path, EVENTS_EMITTED, variables))
                wait_for(partial(emitter.has_confirmed, at), "a checkpoint", wait_s=WAIT_S)
                up.process.kill()
                up.process.wait()
            confirmed.append(emitter.confirmed)
            assert set(asyncio.run(ids_in(folder / "data"))) >= set(range(confirmed[-1]))
        with guarded_up(folder, port) as up:
            ends.close()
            wait_for(lambda: ends_told(up)[0] >= EVENTS_EMITTED, "the ends of all runs")
            assert ends_told(up) == (EVENTS_EMITTED, EVENTS_EMITTED // 2)

    found = asyncio.run(ids_in(folder / "data"))
    print(f"confirmed at the kills: {confirmed}; in the log {len(found)}, of {len(set(found))} ids")
    assert set(found) == set(range(EVENTS_EMITTED))


async def test_the_documented_program_is_heard(tmp_path: Path) -> None:
    said = documented_exports("PREFECT_API_URL")
    (program,) = (block.text for block in blocks(GUIDE, "python") if "emit_event" in block.text)
    async with running_gateway(tmp_path, tokens={TOKEN: "data-team"}) as gateway:
        environment = {
            **outside(tmp_path),
            "PREFECT_API_URL": said["PREFECT_API_URL"].replace("http://127.0.0.1:4280", gateway.url),
            "PREFECT_API_AUTH_STRING": said["PREFECT_API_AUTH_STRING"].replace("$FLOWGAUGE_TOKEN", TOKEN),
        }
        command = [str(VENV / "bin" / "python"), "-c", program]
        await asyncio.to_thread(lambda: subprocess.run(command, env=environment, cwd=tmp_path, timeout=60, check=True))

        (event,) = await gateway.events()
    assert (event.tenant, event.event, event.resource) == ("data-team", "orders.exported", {"id": "orders-db"})


@pytest.mark.parametrize(
    "variables",
    [
        {"PREFECT_API_AUTH_STRING": TOKEN},
        {"PREFECT_API_KEY": TOKEN, "PREFECT_CLOUD_API_URL": "http://127.0.0.1"},  # so that the client takes us for it
        {"PREFECT_CLIENT_CUSTOM_HEADERS": f'{{"Authorization": "Bearer {TOKEN}"}}'},
    ],
    ids=["auth string", "as Cloud's", "own header"],
)
async def test_each_way_to_say_a_token_is_let_in(tmp_path: Path, variables: Mapping[str, str]) -> None:
    async with running_gateway(tmp_path, tokens={TOKEN: "data-team"}) as gateway:
        where = {"PREFECT_API_URL": f"{gateway.url}/api", **variables}
        said = await asyncio.to_thread(emit, tmp_path, 1_500, where)

        assert (sorted(e.id.int for e in await gateway.events()), "confirmed 700\n" in said) == ([*range(1_500)], True)


@pytest.mark.parametrize("variables", [{}, {"PREFECT_API_AUTH_STRING": "wrong"}], ids=["none", "wrong"])
async def test_without_a_known_token_the_client_says_so_and_nothing_is_stored(
    tmp_path: Path, variables: Mapping[str, str]
) -> None:
    async with running_gateway(tmp_path, tokens={TOKEN: "data-team"}) as gateway:
        where = {"PREFECT_API_URL": f"{gateway.url}/api", **variables}
        said = await asyncio.to_thread(emit, tmp_path, 3, where)

        assert "no tenant of this gateway has this token" in said
        assert await gateway.events() == []
