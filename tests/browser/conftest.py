"""Real Chromium for the pages: Debian's package, driven by Playwright, with nothing that calls out."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser, async_playwright
from tests.integration.up_process import COMMAND, Up, environment, running_up, wait_for

from flowgauge.producers.prefect.capture import Problem, convert
from flowgauge.schemas.signing_keys import new_secret
from flowgauge.schemas.times import parse_time_ms, rfc3339

DEMO = Path(__file__).parents[2] / "console" / "flowgauge" / "console" / "demo"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAVERING = """
rules:
  - name: flow failing once
    match: {flow: invoice-mail}
    for_each: [flow]
    when:
      consecutive_failures: {times: 1}
    summary: "{{ flow }} failed"
    notify: [demo-receiver]
"""
REMEDY = "no Chromium: apt-get install chromium, or set FLOWGAUGE_CHROMIUM to its path"


def chromium() -> str:
    """Return the path of Chromium; skip without it, fail where CI must have it."""
    path = os.environ.get("FLOWGAUGE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(REMEDY)
        pytest.skip(REMEDY)
    return path


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Let one Chromium serve all tests of a module."""
    return "asyncio"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        await launched.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a server with the recorded outage and late runs, which end now, and a receiver that is told of them."""
    chromium()
    folder = tmp_path_factory.mktemp("browser")
    (folder / "secret").write_text(new_secret(os.urandom(32)), encoding="utf-8")
    with listening(folder / "secret") as receiver:
        write_story(folder, receiver)
        arguments = ("--rules", str(folder / "rules"), "--load", str(folder / "capture.jsonl.gz"), "--shift-to-now")
        env = {"FLOWGAUGE_EGRESS_ALLOW": receiver, "FLOWGAUGE_MAX_ALERT_AGE": "1d"}
        with running_up(folder / "data", *arguments, env=env) as running:
            wait_for(lambda: is_settled(running), "the history to be detected, stored and told")
            yield running


@contextlib.contextmanager
def listening(secret: Path) -> Generator[str]:
    """Run `flowgauge webhooks listen` and give its host:port."""
    command = [*COMMAND, "webhooks", "listen", "--port", "0", "--secret-file", str(secret)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(PYTHONUNBUFFERED="1"))
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split("//")[1].split("/")[0]
    finally:
        process.kill()
        process.communicate()


def write_story(folder: Path, receiver: str) -> None:
    rules = folder / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_bytes((DEMO / "rules.yaml").read_bytes())
    channel = {"url": f"http://{receiver}/", "secret": {"file": str(folder / "secret")}}
    channels = {"channels": [{"name": "demo-receiver", "webhook": channel}]}
    (rules / "channels.yaml").write_text(json.dumps(channels), encoding="utf-8")
    (rules / "wavering.yaml").write_text(WAVERING, encoding="utf-8")
    lines = [*recorded("outage"), *wavering_runs(), *recorded("late")]
    (folder / "capture.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))


def recorded(name: str) -> list[bytes]:
    with gzip.open(DEMO / f"prefect-{name}.jsonl.gz") as lines:
        return [line for line in convert(lines) if not isinstance(line, Problem)]


def wavering_runs() -> Iterator[bytes]:
    """Yield the ends of runs of a flow that fails for 40 s in every ten minutes, and at last goes on failing."""
    begin_ms = parse_time_ms("2026-11-23T10:20:00Z")
    for number in range(5):
        for after_ms, state in ((0, "failed"), *[(40_000, "completed")] * (number < 4)):
            at = rfc3339(begin_ms + number * 600_000 + after_ms)
            run = f"invoice-{number}-{state}"
            event = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, run)), "occurred": at, "event": f"run.{state}"}
            told = {"kind": "flow-run", "flow": "invoice-mail", "run": run, "state": state, "resource": {"id": run}}
            yield msgspec.json.encode(event | told | {"_append": at})


def is_settled(up: Up) -> bool:
    health = up.get("/v1/health")
    rows = up.rows("/v1/incidents")
    if health["loading"] or not health["stored"] or len(rows) < 9:
        return False
    told = [up.get(f"/v1/incidents/{row['incident_id']}")["deliveries"] for row in rows]
    return all(any(each["outcome"] == "delivered" for each in deliveries) for deliveries in told)
