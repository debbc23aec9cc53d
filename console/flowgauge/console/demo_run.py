"""`flowgauge demo`: everything in one process and one temporary folder, on loopback.

    captures ──shifted to end now──► up ──signed webhooks──► local receiver ──verified──► what is printed
    simulated workers ──SDK, gateway──►┘

The history is also replayed offline by the same rules: the ids it finds are the ones that must be told.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import httpx2
import msgspec

from flowgauge.console.demo.findings import Findings
from flowgauge.console.demo.workers import run_workers
from flowgauge.console.ending import first_of, stop_on_signals
from flowgauge.console.history import Entry, entries
from flowgauge.console.listening import bind
from flowgauge.console.loading import Load, LoadStopped, event_lines, shift_of
from flowgauge.console.log_lines import configure_log_lines
from flowgauge.console.started import Started
from flowgauge.console.up import run_up
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import load_rules
from flowgauge.producers.publisher import Publisher
from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.setting_parts import EgressSettings
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.signing_keys import new_secret
from flowgauge.sinks.webhooks.receiver import Received, listen
from flowgauge.transport.wall_clock import now_ms

HOST = "127.0.0.1"
CAPTURES = ("prefect-outage.jsonl.gz", "prefect-late.jsonl.gz")  # in the order of their time
ONCE_S = 240.0  # a slow machine needs a minute; past this something is wrong
POLL_S = 0.2
SECRET_BYTES = 32
PORT_DEFAULT = 4280  # where commands look by themselves

# What is worth a try while the demo runs, in another terminal.
TRIES = (
    "incidents list",
    "metrics failure-rate --flow orders-sync",
    "metrics logs --text refused --level ERROR",
)

Say = Callable[[str], None]


async def run_demo(*, once: bool, port: int, say: Say) -> int:
    """Run the demo until Ctrl-C, or with `once` until it has shown everything; return the exit code."""
    configure_log_lines("error")
    stop = asyncio.Event()
    stop_on_signals(stop)
    with tempfile.TemporaryDirectory(prefix="flowgauge-demo-") as folder:
        say("demo      events of a real Prefect server, their times moved so that they end now; then live workers")
        say(f"demo      all data is in {folder}, and goes with the demo")
        demo = _Demo(Path(folder), _free_port(port, say), say, once=once)
        try:
            return await demo.run(stop)
        except BaseExceptionGroup as failures:
            raise first_of(failures) from failures


class _Demo:
    def __init__(self, folder: Path, port: int, say: Say, *, once: bool) -> None:
        self._folder = folder
        self._port = port
        self._say = say
        self._once = once
        self._rules = folder / "rules"
        self._secret = new_secret(os.urandom(SECRET_BYTES))
        self._findings = Findings(frozenset())
        self._changed = asyncio.Event()
        self._receiver_port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self, stop: asyncio.Event) -> int:
        """Run all parts; return 0, or 1 when `once` was not complete in time or was ended before."""
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(self._receive())
            history = await asyncio.to_thread(self._prepare, await self._receiver_port)
            up_stop = asyncio.Event()
            up = group.create_task(self._up(history, up_stop))
            working = group.create_task(self._work())
            waking = group.create_task(self._wake_at(stop))
            code = await self._judge(stop) if self._once else await self._stay(stop)
            working.cancel()
            await asyncio.wait([working])  # while the server still takes what they have left to publish
            up_stop.set()
            stop.set()
            await asyncio.wait([up, waking])
            receiving.cancel()
        return code

    async def _up(self, history: Load, stop: asyncio.Event) -> None:
        def ready(started: Started) -> None:
            self._url.set_result(started.url)

        with contextlib.suppress(LoadStopped):  # the folder goes with the demo
            await run_up(self._settings(), stop=stop, history=history, ready=ready)

    async def _receive(self) -> None:
        def ready(_host: str, port: int) -> None:
            self._receiver_port.set_result(port)

        await listen(HOST, 0, [self._secret], self._note, on_ready=ready)

    def _note(self, received: Received) -> None:
        for line in self._findings.note(received.message_id, received.body, is_verified=received.verified):
            self._say(line)
        self._changed.set()

    def _prepare(self, receiver_port: int) -> Load:
        """Write rules, channel and history, and replay the history to know what must be found."""
        self._rules.mkdir()
        packaged = files("flowgauge.console.demo")
        (self._rules / "rules.yaml").write_bytes((packaged / "rules.yaml").read_bytes())
        secret_file = self._folder / "secret"
        secret_file.write_text(self._secret, encoding="utf-8")
        webhook = {"url": f"http://{HOST}:{receiver_port}/", "secret": {"file": str(secret_file)}}
        channels = {"channels": [{"name": "demo-receiver", "webhook": webhook}]}
        (self._rules / "channels.yaml").write_bytes(msgspec.json.encode(channels))  # JSON is YAML
        file = self._folder / "history.jsonl.gz"
        file.write_bytes(b"".join((packaged / name).read_bytes() for name in CAPTURES))
        history = Load(file, end_ms=now_ms())
        self._findings.predicted = frozenset(_predicted(history, self._rules / "rules.yaml"))
        count = len(self._findings.predicted)
        self._say(
            f"replay    offline, the same rules find {count} incidents in it; `up` must find the same, by their ids"
        )
        return history

    def _settings(self) -> Settings:
        return Settings(
            data=self._folder / "data",
            port=self._port,
            rules=self._rules,
            egress=EgressSettings(allow=(f"{HOST}:{self._receiver_port.result()}",)),
            max_alert_age="1d",  # the history is from the last hours, and is to be told
        )

    async def _work(self) -> None:
        url = await self._url
        self._say(f"console   {url}{'' if self._once else ' (open it in a browser; Ctrl-C here ends the demo)'}")
        await _loaded(url)
        self._say("live      three shop flows publish through the SDK and the gateway, and a database fails them soon")
        if not self._once:
            for words in TRIES:
                self._say(f"try       {_command()} {words}{'' if self._port == PORT_DEFAULT else f' --url {url}'}")
        publisher = Publisher(url)
        try:
            await run_workers(publisher, self._say)
        finally:
            await asyncio.shield(asyncio.to_thread(publisher.close))

    async def _judge(self, stop: asyncio.Event) -> int:
        try:
            async with asyncio.timeout(ONCE_S):
                while not self._findings.is_complete and not stop.is_set():
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            missing = len(self._findings.missing)
            self._say(
                f"failed    within {ONCE_S:.0f} s: {missing} incidents of the history and "
                f"{'no' if not self._findings.live else self._findings.live} live ones were told"
            )
            return 1
        return 0 if self._sum_up() else 1

    async def _wake_at(self, stop: asyncio.Event) -> None:
        """Let `_judge` see that it is to end."""
        await stop.wait()
        self._changed.set()

    async def _stay(self, stop: asyncio.Event) -> int:
        await stop.wait()
        self._sum_up()
        return 0

    def _sum_up(self) -> bool:
        found = self._findings
        self._say(
            f"found     {len(found.told) - found.live} incidents of the history, with the replay's ids, and "
            f"{found.live} live; {found.verified} webhooks verified, {found.refused} refused"
        )
        if self._once:
            self._say(f"next      `{_command()} demo` stays, with its console; `{_command()} up` takes your own events")
        return found.is_complete and not found.refused


def _predicted(history: Load, rules: Path) -> Iterator[str]:
    shift_ms = shift_of(history)

    def lines() -> Iterator[bytes]:
        for entry in entries(event_lines(history.file), shift_ms=shift_ms):
            if isinstance(entry, Entry):
                yield entry.value[:-1] + f',"_append":{entry.append_ms}}}'.encode()

    for transition in Replay(lines, load_rules([rules])).transitions():
        if transition.to_state == "firing":
            yield transition.incident_id


async def _loaded(url: str) -> None:
    """Return when the history has passed detection: until then the gateway asks senders to wait."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        while (await client.get("/v1/health")).json()["loading"]:  # noqa: ASYNC110  # the server is asked as anybody would
            await asyncio.sleep(POLL_S)


def _free_port(port: int, say: Say) -> int:
    try:
        bind(HOST, port).close()
    except BadEnvironment:
        say(f"demo      port {port} cannot be had: the console takes a free one")
        return 0
    return port


def _command() -> str:
    """Return how this command can be called again: by its name where a shell finds it, else by its path."""
    return "flowgauge" if shutil.which("flowgauge") else os.path.relpath(sys.argv[0])
