"""How soon a webhook comes: `flowgauge up` under a steady load of events, its sender and receiver here.

    an event that fires by itself     from the sending of its request to the webhook's
    a failure rate                    from the sending of the sample that breaches: lateness and pane are waited for

What is measured begins before the append and ends when the request is read: longer than from append to request.
"""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from uuid import uuid4

import httpx2
import msgspec

from benchmarks.measure import Line, line_of
from benchmarks.processes import below, cpu_seconds, peak_bytes
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

RATE = 2_000  # events a second
BODY_MS = 100
PER_BODY = RATE * BODY_MS // 1_000
BREACH_EVERY = 5  # bodies
SAMPLES = 5  # of a breach: the rule's min_samples
SETTLE_S_MAX = 30.0
BUDGET_MS = 2_000  # beyond lateness and pane
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # of a receiver that checks nothing
MIB = 1 << 20
RULES = """
rules:
  - name: crashed
    match: {state: crashed}
    for_each: [run]
    when: {event: {}}
    notify: [receiver]
  - name: failing
    match: {flow: "failing-*"}
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 1m, min_samples: 5}}
    allowed_lateness: 2s
    notify: [receiver]
channels:
  - name: receiver
    webhook: {url: "URL", secret: {env: BENCH_HOOK_SECRET}}
"""
_encode = msgspec.json.Encoder().encode


class _Message(msgspec.Struct):
    class Told(msgspec.Struct):
        key: dict[str, str]

    data: Told


class _Watch:
    """When what was sent, and how many ms later its webhook came."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}
        self.came: dict[str, float] = {}
        self.arrived = asyncio.Event()
        self._decode = msgspec.json.Decoder(_Message).decode

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        key = self._decode(body).data.key
        name = key.get("run") or key["flow"]
        self.came.setdefault(name, time.monotonic())
        self.arrived.set()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    def took_ms(self, beginning: str) -> list[float]:
        """Return how long what begins so took, in ms, in order of length."""
        return sorted((self.came[each] - at) * 1_000 for each, at in self.sent.items() if each.startswith(beginning))


def bench_tell_latency(events: int) -> Line:
    """`events` at RATE a second; CPU is that of `flowgauge up` with all its threads."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        return asyncio.run(_bench(Path(folder), events))


async def _bench(folder: Path, events: int) -> Line:
    watch = _Watch()
    server = await asyncio.start_server(watch.serve, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    text = RULES.replace("URL", f"http://127.0.0.1:{port}/hook")
    rate = next(each for each in parse_rules("bench", text).rules if each.pane_ms)
    async with server, _up(folder, text, port) as (process, url):
        began = cpu_seconds(process)
        began_s = time.monotonic()
        await _send(url, watch, events)
        sent_s, spent = time.monotonic() - began_s, cpu_seconds(process) - began
        async with asyncio.timeout(SETTLE_S_MAX):
            while watch.sent.keys() - watch.came.keys():
                watch.arrived.clear()
                await watch.arrived.wait()
        peak = peak_bytes(process) + sum(map(peak_bytes, below(process)))
    line = line_of("tell-latency", events, spent)
    notes = {"events_per_second": events / sent_s, "peak_mib": peak / MIB}
    for name, took_ms in (("event", watch.took_ms("run-")), ("rate", watch.took_ms("failing-"))):
        cuts = statistics.quantiles(took_ms, n=100, method="inclusive")
        notes |= {f"{name}_webhooks": len(took_ms), f"{name}_p50_ms": cuts[49], f"{name}_p99_ms": cuts[98]}
        notes[f"{name}_max_ms"] = took_ms[-1]
    return line.noting(**notes, rate_budget_ms=rate.lateness_ms + rate.pane_ms + BUDGET_MS)


async def _send(url: str, watch: _Watch, events: int) -> None:
    """Post a body each BODY_MS, however long the last one took."""
    headers = {"Content-Type": "application/x-ndjson"}
    begin = time.monotonic()
    async with (
        httpx2.AsyncClient(base_url=url, timeout=30, headers=headers, trust_env=False) as client,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(events // PER_BODY):
            await asyncio.sleep(max(0.0, begin + number * BODY_MS / 1_000 - time.monotonic()))
            tasks.create_task(_post(client, watch, number))


async def _post(client: httpx2.AsyncClient, watch: _Watch, number: int) -> None:
    made = list(_events(number))
    body = b"\n".join(map(_encode, made))
    moment = time.monotonic()
    watch.sent[f"run-{number}"] = moment
    if number % BREACH_EVERY == 0:
        watch.sent[f"failing-{number}"] = moment
    answer = await client.post("/v1/events", content=body)
    assert answer.raise_for_status().json()["accepted"] == len(made), answer.text[:1_000]


def _events(number: int) -> Generator[dict[str, object]]:
    """Yield the events of one body: logs and task runs, one crash, and now and then a flow whose runs fail."""
    yield _event(f"run-{number}", "orders", "flow-run", "crashed")
    failed = SAMPLES if number % BREACH_EVERY == 0 else 0
    for each in range(failed):
        yield _event(f"fail-{number}-{each}", f"failing-{number}", "flow-run", "failed")
    for each in range(PER_BODY - 1 - failed):
        yield _event(f"task-{number}-{each}", "orders", "task-run", "completed")


def _event(run: str, flow: str, kind: str, state: str) -> dict[str, object]:
    return {
        "id": str(uuid4()),
        "occurred": rfc3339(now_ms()),
        "event": f"{kind}.{state}",
        "kind": kind,
        "flow": flow,
        "run": run,
        "state": state,
        "resource": {"id": f"{kind}.{run}"},
    }


@contextlib.asynccontextmanager
async def _up(folder: Path, rules: str, port: int) -> AsyncGenerator[tuple[int, str]]:
    """Run `flowgauge up` until the block ends; yield its process and address."""
    (folder / "rules").mkdir()
    (folder / "rules" / "rules.yaml").write_text(rules, encoding="utf-8")
    (folder / "settings.toml").write_text(f'[egress]\nallow = ["127.0.0.1:{port}"]\n', encoding="utf-8")
    arguments = ["--data", str(folder / "data"), "--port", "0", "--rules", str(folder / "rules")]
    with (folder / "up.err").open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from flowgauge.console.main import main; main()", "up", *arguments),
            *("--config", str(folder / "settings.toml")),
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"BENCH_HOOK_SECRET": SECRET},
        )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().rpartition(" ")[2].strip()
        assert url.startswith("http"), (folder / "up.err").read_text()
        yield process.pid, url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
