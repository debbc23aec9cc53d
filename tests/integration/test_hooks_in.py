"""Webhooks of other programs over HTTP, on a real log and in `flowgauge up`: what is stored, refused, and tried."""

import hashlib
import hmac
import json
import subprocess
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.integration.fenced_blocks import ROOT, blocks
from tests.integration.gateway_server import Running, running_gateway
from tests.integration.up_process import COMMAND, environment, run, running_up, wait_for

from flowgauge.producers.hook_book import OpenHook, hook_book
from flowgauge.producers.hook_event import HOOK_BYTES_MAX
from flowgauge.schemas.yaml_places import read_yaml

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BODIES = ROOT / "tests" / "data" / "webhooks"
(DOCUMENTED,) = (block.text for block in blocks(ROOT / "docs" / "connect-webhooks.md", "yaml"))
SECRET = "of-both-sides"
TOKEN = "of-the-tenant"
JSON = {"Content-Type": "application/json"}
VARIABLES = dict.fromkeys(("GITHUB_WEBHOOK_SECRET", "GITLAB_WEBHOOK_TOKEN", "DBT_WEBHOOK_SECRET"), SECRET)


def hooks_of(text: str) -> Callable[[str], OpenHook | None]:
    return hook_book(read_yaml("hooks.yaml", text), lambda _reference: SECRET, {"default"}).of


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path, tokens={TOKEN: "default"}, hook_of=hooks_of(DOCUMENTED)) as running:
        yield running


def body(name: str) -> bytes:
    return (BODIES / f"{name}.json").read_bytes()


def signed(raw: bytes) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    return {**JSON, "X-Hub-Signature-256": f"sha256={digest}", "Authorization": digest, "X-GitHub-Delivery": "7b2e"}


async def post(gateway: Running, hook: str, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
        response = await client.post(f"{gateway.url}/v1/hooks/{hook}", content=raw, headers=headers)
    answer: dict[str, Any] = response.json()
    return response.status_code, answer


@pytest.mark.parametrize(
    ("hook", "name", "headers"),
    [
        ("github", "github-workflow_run", {}),
        ("github", "github-workflow_job", {}),
        ("gitlab", "gitlab-pipeline", {"X-Gitlab-Token": SECRET}),
        ("dbt-cloud", "dbt-cloud-completed", {}),
        ("cron", "cron", {"Authorization": f"Bearer {TOKEN}"}),
    ],
)
async def test_each_documented_hook_makes_one_event_however_often_it_is_sent(
    gateway: Running, hook: str, name: str, headers: dict[str, str]
) -> None:
    raw = body(name)
    for _ in range(2):
        status, answer = await post(gateway, hook, raw, signed(raw) | headers)
        assert (status, answer["accepted"]) == (200, 1), answer

    events = await gateway.events()
    assert (len(events), len({event.id for event in events})) == (2, 1)
    assert events[0].tenant == "default"


@pytest.mark.parametrize(
    ("hook", "headers", "status"),
    [
        ("github", JSON, 401),
        ("github", {**JSON, "X-Hub-Signature-256": "sha256=00"}, 401),
        ("gitlab", {**JSON, "X-Gitlab-Token": "guessed"}, 401),
        ("cron", JSON, 401),
        ("cron", {**JSON, "Authorization": "Bearer guessed"}, 401),
        ("nobodys", JSON, 404),
        ("github", {"Content-Type": "text/plain"}, 415),
    ],
)
async def test_who_is_not_known_leaves_nothing(
    gateway: Running, hook: str, headers: dict[str, str], status: int
) -> None:
    said, answer = await post(gateway, hook, body("github-workflow_run"), headers)

    assert said == status
    assert SECRET not in answer["error"]
    assert not await gateway.events()
    assert not await gateway.letters()


async def test_what_no_event_can_be_made_of_is_told_and_kept_and_what_is_ignored_is_not(gateway: Running) -> None:
    odd = body("github-workflow_run").replace(b'"failure"', b'"exploded"')

    assert await post(gateway, "github", body("github-ping"), signed(body("github-ping"))) == (
        200,
        {"accepted": 0, "rejected": 0, "errors": [], "errors_omitted": 0},
    )
    status, answer = await post(gateway, "github", odd, signed(odd))

    assert (status, answer["rejected"], answer["errors"][0]["reason"]) == (422, 1, "unmappable")
    assert '"exploded" stands in no `words`' in answer["errors"][0]["detail"]
    (letter,) = await gateway.letters()
    assert (letter.reason, letter.tenant, letter.value) == ("unmappable", "default", odd)
    assert not await gateway.events()


async def test_a_body_that_no_event_has_room_for_is_refused_before_it_is_looked_at(gateway: Running) -> None:
    assert (await post(gateway, "github", b" " * (HOOK_BYTES_MAX + 1), signed(b"")))[0] == 413


def test_up_watches_the_file_and_questions_see_the_run(tmp_path: Path) -> None:
    file = tmp_path / "hooks.yaml"
    file.write_text(DOCUMENTED.replace("name: github", "name: other"), encoding="utf-8")
    raw = body("github-workflow_run")

    with running_up(tmp_path / "data", env={**VARIABLES, "FLOWGAUGE_HOOKS": str(file)}) as up:
        assert up.http.post("/v1/hooks/github", content=raw, headers=signed(raw)).status_code == 404
        file.write_text(DOCUMENTED + "  - {nam: x}\n", encoding="utf-8")
        wait_for(lambda: "hooks before it go on" in json.dumps(up.get("/v1/health")), "the mistake in the banner")
        file.write_text(DOCUMENTED, encoding="utf-8")
        wait_for(
            lambda: up.http.post("/v1/hooks/github", content=raw, headers=signed(raw)).status_code == 200, "the hook"
        )
        (found,) = wait_for(lambda: up.rows("/v1/metrics/runs", flow="acme/lake/nightly", since="400d"), "the run")

    assert (found["run"], found["state"]) == ("19734411207", "failed")


def test_a_mistake_in_the_file_refuses_the_start(tmp_path: Path) -> None:
    file = tmp_path / "hooks.yaml"
    file.write_text(DOCUMENTED, encoding="utf-8")

    done = run("up", "--data", str(tmp_path / "data"), "--port", "0", env={"FLOWGAUGE_HOOKS": str(file)})

    assert done.returncode == 2
    assert f"{file}:5:" in done.stderr
    assert "GITHUB_WEBHOOK_SECRET is not set or empty" in done.stderr
    assert not (tmp_path / "data" / "log.sqlite").exists()


@pytest.mark.parametrize(
    ("hook", "name", "code", "said"),
    [
        ("github", "github-workflow_run", 0, '"flow": "acme/lake/nightly"'),
        ("github", "github-ping", 0, "ignored: "),
        ("gitlab", "github-ping", 1, "unmappable: no `when` of the hook finds something in it"),
        ("gutlab", "github-ping", 2, "no hook is called 'gutlab': there are github, gitlab, dbt-cloud, cron"),
    ],
)
def test_a_hook_is_tried_without_a_server_and_without_secrets(
    tmp_path: Path, hook: str, name: str, *, code: int, said: str
) -> None:
    (tmp_path / "hooks.yaml").write_text(DOCUMENTED, encoding="utf-8")

    done = _try(tmp_path / "hooks.yaml", hook, body(name))

    assert (done[0], said in done[1]) == (code, True), done


def test_trying_warns_of_a_body_without_a_time(tmp_path: Path) -> None:
    (tmp_path / "hooks.yaml").write_text(DOCUMENTED, encoding="utf-8")

    tried = [
        _try(tmp_path / "hooks.yaml", "cron", raw) for raw in (body("cron"), body("cron").replace(b'"at"', b'"a"'))
    ]

    assert [(code, "warning: `occurred` finds nothing" in said) for code, said in tried] == [(0, False), (0, True)]


def _try(file: Path, hook: str, raw: bytes) -> tuple[int, str]:
    command = [*COMMAND, "hooks", "try", str(file), hook, "--header", "X-GitHub-Delivery: 7b2e"]
    done = subprocess.run(command, input=raw, capture_output=True, env=environment(), timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()
