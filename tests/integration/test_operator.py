"""With tokens: what a tenant may see of the process, and what only the operator may."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from tests.integration.up_process import running_up, wait_for

from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SETTINGS = """
operator = "platform"
[tenants.platform]
tokens = [{ env = "PLATFORM" }]
[tenants.acme]
tokens = [{ env = "ACME" }]
[tenants.beta]
tokens = [{ env = "BETA" }]
"""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RULES = """
rules:
  - name: crashed
    match: {state: crashed}
    when: {event: {}}
    notify: [secret-channel]
channels:
  - name: secret-channel
    webhook: {url: "https://10.0.0.1/", secret: {env: HOOK_SECRET}}  # an address that is refused
"""


def crash() -> dict[str, Any]:
    run = str(uuid4())
    return {
        "id": str(uuid4()),
        "occurred": rfc3339(now_ms()),
        "event": "flow-run.crashed",
        "kind": "flow-run",
        "flow": "etl",
        "run": run,
        "state": "crashed",
        "resource": {"id": f"flow-run.{run}"},
    }


def test_a_tenant_sees_its_own_trouble_and_only_the_operator_sees_all_and_the_measurements(tmp_path: Path) -> None:
    (tmp_path / "flowgauge.toml").write_text(SETTINGS, encoding="utf-8")
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES, encoding="utf-8")
    secrets = {"PLATFORM": "platform-token", "ACME": "acme-token", "BETA": "beta-token", "HOOK_SECRET": SECRET}
    with running_up(tmp_path / "data", "--rules", str(rules), env=secrets) as up:

        def ask(path: str, tenant: str) -> httpx2.Response:
            return up.http.get(path, headers={"authorization": f"Bearer {tenant}-token"})

        def health(tenant: str) -> dict[str, Any]:
            return dict(ask("/v1/health", tenant).json())

        posted = up.http.post("/v1/events", json=[crash(), crash()], headers={"authorization": "Bearer acme-token"})
        assert posted.json()["accepted"] == 2

        wait_for(lambda: health("acme")["problems"] and health("acme")["undelivered"] == 2, "the trouble")
        acme, beta, platform = health("acme"), health("beta"), health("platform")
        assert (acme["ok"], acme["accepted"], list(acme["problems"])) == (False, 2, ["channel secret-channel"])
        assert (beta["ok"], beta["accepted"], beta["undelivered"], beta["problems"]) == (True, 0, 0, {})
        assert (platform["ok"], platform["accepted"], platform["undelivered"]) == (False, 2, 2)
        assert list(platform["problems"]) == ["notify", "tenant acme: channel secret-channel"]
        assert ("stored" in acme, "stored" in platform) == (False, True)
        assert "secret-channel" in ask("/", "acme").text
        assert "secret-channel" not in ask("/", "beta").text

        def incidents() -> dict[str, Any]:
            return dict(ask("/v1/incidents?tenant=acme", "platform").json())

        wait_for(lambda: len(incidents()["rows"]) == 2, "the incidents in ClickHouse")
        listed = incidents()
        assert {row["tenant"] for row in listed["rows"]} == {"acme"}
        assert [list(row) for row in listed["rows"]] == [listed["columns"]] * 2
        assert {row["state"] for row in listed["rows"]} == {"happened"}
        assert "tenant <strong>acme</strong>" in ask("/?tenant=acme", "platform").text
        assert ask("/metrics", "platform").status_code == 200
        slash = up.http.post("/v1/events/", json=[])
        assert (slash.status_code, slash.json()["error"][:23]) == (404, "/v1/events/: not found:")
        nowhere, read_only = ask("/v1/metric/runs", "acme"), up.http.post("/v1/incidents")
        assert (nowhere.status_code, read_only.status_code, ask("/nowhere", "acme").text) == (404, 405, "Not Found\n")
        assert nowhere.json() == {"error": "/v1/metric/runs: not found: see `For programs` in docs/console.md"}
        assert read_only.json() == {"error": "/v1/incidents: method not allowed: expected GET, HEAD, got POST"}
        refused = ask("/metrics", "beta")
        assert (refused.status_code, "operator" in refused.text) == (403, True)


def test_what_is_wrong_with_the_rule_files_names_nobody_to_a_tenant(tmp_path: Path) -> None:
    (tmp_path / "flowgauge.toml").write_text(SETTINGS, encoding="utf-8")
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES.replace("[secret-channel]", "[acme-pager]"), encoding="utf-8")
    secrets = {"PLATFORM": "platform-token", "ACME": "acme-token", "BETA": "beta-token", "HOOK_SECRET": SECRET}
    with running_up(tmp_path / "data", "--rules", str(rules), env=secrets) as up:

        def problems(tenant: str) -> dict[str, str]:
            answer = up.http.get("/v1/health", headers={"authorization": f"Bearer {tenant}-token"})
            return dict(answer.json()["problems"])

        assert list(problems("platform")) == ["notify"]
        assert "acme-pager" in problems("platform")["notify"]
        assert problems("beta") == {}

        (rules / "acme.yaml").write_text("rules: [{name: of-acme, tenant: acme, wen: {}}]", encoding="utf-8")
        wait_for(lambda: "rules" in problems("beta"), "the broken change")

        assert problems("beta") == {"rules": "a change was not applied; the rules before it go on"}
        assert "acme.yaml:1:" in problems("platform")["rules"]


def test_only_the_operator_applies_rules(tmp_path: Path) -> None:
    (tmp_path / "flowgauge.toml").write_text(SETTINGS, encoding="utf-8")
    secrets = {"PLATFORM": "platform-token", "ACME": "acme-token", "BETA": "beta-token", "HOOK_SECRET": SECRET}
    with running_up(tmp_path / "data", env=secrets) as up:

        def apply(tenant: str) -> httpx2.Response:
            headers = {"authorization": f"Bearer {tenant}-token"}
            return up.http.post("/v1/rules", json={"files": {"rules.yaml": RULES}}, headers=headers)

        refused, applied = apply("acme"), apply("platform")

        assert (refused.status_code, "operator" in refused.text) == (403, True)
        assert (applied.status_code, applied.json()["version"]) == (200, 2)  # 1 is the empty set of a new log
