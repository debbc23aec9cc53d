"""`flowgauge dlq` and `GET /v1/dlq`: what could not be read, for whom it concerns."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.up_process import Up, run, running_up, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

TENANTS = '[tenants.acme]\ntokens = [{ env = "ACME" }]\n[tenants.other]\ntokens = [{ env = "OTHER" }]\n'


def of(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def send(up: Up, body: bytes, **headers: str) -> None:
    answer = up.http.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson", **headers})
    assert answer.json()["rejected"] == 1


def letters(up: Up, headers: dict[str, str] | None = None, **parameters: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = up.http.get("/v1/dlq", headers=headers, params=parameters).json()["rows"]
    return rows


def test_a_refused_event_can_be_read_with_its_reason(tmp_path: Path) -> None:
    with running_up(tmp_path / "data") as up:
        send(up, b'{"id": "1", "event": "x\x1b[31m"}')
        (letter,) = wait_for(lambda: letters(up), "the letter")

        table = run("dlq", "--url", up.url, "--data", str(tmp_path / "none"))
        asked = run("dlq", "--url", up.url, "--since", "1d", "--limit", "1", "--format", "json")
        wrong = run("dlq", "--url", up.url, "--since", "soon")

    folder = run("dlq", "--url", up.url, "--data", str(tmp_path / "data"), "--format", "json")
    assert (letter["reason"], letter["origin"], letter["size"]) == ("not JSON", "gateway", 30)
    assert letter["value"] == '{"id": "1", "event": "x [31m"}'
    assert table.stdout.startswith("time ")
    assert "not JSON" in table.stdout
    assert json.loads(asked.stdout)["rows"] == json.loads(folder.stdout)["rows"] == [letter]
    assert (wrong.returncode, wrong.stderr.startswith("flowgauge: since: expected how long ago")) == (2, True)


def test_with_tokens_a_tenant_reads_its_own_letters_only(tmp_path: Path) -> None:
    (tmp_path / "flowgauge.toml").write_text(TENANTS, encoding="utf-8")
    with running_up(tmp_path / "data", env={"ACME": "acme-token", "OTHER": "other-token"}) as up:
        send(up, b"of acme", **of("acme-token"))
        send(up, b"of other", **of("other-token"))
        wait_for(lambda: letters(up, of("acme-token")) and letters(up, of("other-token")), "both letters")

        assert [row["value"] for row in letters(up, of("acme-token"))] == ["of acme"]
        refused = up.http.get("/v1/dlq", headers=of("other-token"), params={"tenant": "acme"})
        assert (refused.status_code, refused.json()) == (
            400,
            {"error": "tenant: this token is of tenant other and shows nothing of 'acme': leave it out"},
        )
        assert up.http.get("/v1/dlq").status_code == 401
        assert up.http.get("/v1/dlq", headers=of("acme-token"), params={"flow": "x"}).json() == {
            "error": "flow: unknown parameter; known are limit, since, tenant"
        }
