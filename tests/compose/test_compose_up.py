"""`docker compose up` itself, where a Docker engine answers: the image is built, all is healthy, one event arrives.

Elsewhere it is skipped and says so; then test_compose_processes.py is as near as it gets.
"""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator

import httpx2
import pytest
from tests.compose.composed import COMPOSE, FILE, read_compose
from tests.compose.role_commands import needs_roles

WAIT_S = 300.0
POLL_S = 0.5
NO_ENGINE = "NO DOCKER ENGINE ANSWERS HERE: compose/ is not started as containers, and its image is not built"
PROJECT = "flowgauge-test"


def engine_answers() -> bool:
    """Tell whether containers can be run here, with Compose."""
    if shutil.which("docker") is None:
        return False
    asked = (["docker", "info"], ["docker", "compose", "version"])
    return all(subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in asked)


pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1800),
    needs_roles,
    pytest.mark.skipif(not engine_answers(), reason=NO_ENGINE),
]


@pytest.fixture(scope="module")
def up() -> Iterator[None]:
    """Run compose.yaml as a project of its own; its volumes go at the end."""
    from testcontainers.compose import DockerCompose  # noqa: PLC0415  # only where an engine answers

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOSE_PROJECT_NAME", PROJECT)
        with DockerCompose(str(COMPOSE), FILE.name, build=True, wait=True, keep_volumes=False):
            yield


def secret(name: str) -> str:
    return (COMPOSE / "secrets" / "example" / name).read_text(encoding="utf-8").strip()


def compose(*arguments: str, given: str = "") -> str:
    """Run a command of the project; return what it prints."""
    done = subprocess.run(
        ["docker", "compose", "--project-name", PROJECT, "--file", str(FILE), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_event_that_is_published_stands_in_clickhouse(up: None) -> None:
    event_id = str(uuid.uuid4())
    event = json.dumps({"id": event_id, "event": "try.it", "resource": {"id": "me"}})
    client = ["clickhouse-client", "--user", "flowgauge", "--password", secret("clickhouse-password")]
    question = [f"--param_id={event_id}", "--query", "SELECT count() FROM flowgauge.events WHERE id = {id:UUID}"]

    compose("exec", "--no-TTY", "gateway", "flowgauge", "publish", "--token", secret("demo-token"), given=event)

    deadline = time.monotonic() + WAIT_S
    while compose("exec", "--no-TTY", "clickhouse", *client, *question).strip() != "1":
        assert time.monotonic() < deadline, "the event never came to ClickHouse"
        time.sleep(POLL_S)


def test_every_service_that_stays_is_healthy(up: None) -> None:
    told = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    file = read_compose()

    health = {each["Service"]: each["Health"] for each in told}
    assert health == {name: "healthy" for name in file.services if name not in file.once}


def test_prometheus_reaches_every_process(up: None) -> None:
    targets = httpx2.get("http://127.0.0.1:9090/api/v1/targets", trust_env=False, timeout=WAIT_S).json()

    assert {each["health"] for each in targets["data"]["activeTargets"]} == {"up"}
