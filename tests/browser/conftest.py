"""Real Chromium for the pages: Debian's package, driven by Playwright, with nothing that calls out."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright
from tests.integration.up_process import COMMAND, Up, environment, running_up, wait_for

from flowgauge.sinks.webhooks.signing import new_secret

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
    captures = [DEMO / f"prefect-{name}.jsonl.gz" for name in ("outage", "late")]
    (folder / "capture.jsonl.gz").write_bytes(b"".join(capture.read_bytes() for capture in captures))


def is_settled(up: Up) -> bool:
    health = up.get("/v1/health")
    rows = up.rows("/v1/incidents")
    if health["loading"] or not health["stored"] or len(rows) < 4:
        return False
    told = [up.get(f"/v1/incidents/{row['incident_id']}")["deliveries"] for row in rows]
    return all(any(each["outcome"] == "delivered" for each in deliveries) for deliveries in told)
