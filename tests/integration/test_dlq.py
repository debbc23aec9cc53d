"""`flowgauge dlq` and `GET /v1/dlq`: what could not be read, for whom it concerns."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.integration.commands_here import run_here
from tests.integration.up_process import Up, run, running_up, wait_for

from flowgauge.console.up import partitions_of
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Outgoing
from flowgauge.transport.wall_clock import now_ms

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

        table = run_here("dlq", "--url", up.url, "--data", str(tmp_path / "none"))
        asked = run_here("dlq", "--url", up.url, "--since", "1d", "--limit", "1", "--format", "json")
        wrong = run_here("dlq", "--url", up.url, "--since", "soon")

    folder = run("dlq", "--url", up.url, "--data", str(tmp_path / "data"), "--format", "json")
    assert (letter["reason"], letter["origin"], letter["size"]) == ("not JSON", "gateway", 30)
    assert letter["value"] == '{"id": "1", "event": "x [31m"}'
    assert table.stdout.startswith("letter  time ")
    assert letter["letter"] == "0@0"
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


def test_only_one_tenants_letters_are_sent_again_and_as_its_own(tmp_path: Path) -> None:
    (tmp_path / "flowgauge.toml").write_text(f'operator = "other"\n{TENANTS}', encoding="utf-8")
    bad = b'{"id": "1", "event": "x"}'
    with running_up(tmp_path / "data", env={"ACME": "acme-token", "OTHER": "other-token"}) as up:
        send(up, bad, **of("acme-token"))
        (letter,) = wait_for(lambda: letters(up, of("acme-token")), "the letter")

        def retry(token: str, *more: str) -> tuple[int, str, str]:
            ended = run("dlq", "retry", "--url", up.url, "--token", token, *more)
            return ended.returncode, ended.stdout, ended.stderr

        own = retry("other-token")
        named = retry("other-token", "--tenant", "acme")
        refused = retry("acme-token", "--tenant", "other")
        empty = retry("acme-token", "--reason", "")

    assert own == (0, "nothing found\n0 letters: 0 would be sent, 0 not; --yes sends\n", "")
    assert (named[0], "1 letter: 0 would be sent, 1 not" in named[1]) == (1, True)
    assert named[2].startswith(f"flowgauge.dlq-{letter['letter']}: still bad: wrong field: ")
    assert f"flowgauge dlq show {letter['letter']} --tenant acme > event.json" in named[2]
    assert (refused[0], "shows nothing of 'other'" in refused[2]) == (2, True)
    assert (empty[0], "reason: expected a value" in empty[2]) == (2, True)


async def test_what_clickhouse_refused_is_sent_again_once_and_stored(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    good, lower_case, cut = event("good"), event("lower", occurred="t"), event("cut", text="x" * 70_000)
    cut = cut.replace(b'{"id":"r"}', b"{}")
    others = event("of acme", occurred="t").replace(b'"default"', b'"acme"')
    log = await open_local_log(settings.data, partitions=partitions_of(settings))
    await log.append(EVENTS, [Outgoing(0, "", value) for value in (good, lower_case, cut, others)])
    await log.close()

    with running_up(settings.data) as up:
        retry = ("dlq", "retry", "--url", up.url, "--data", str(tmp_path / "none"))
        wait_for(lambda: len(letters(up)) == 2, "the letters")
        planned = run_here(*retry)
        named = next(row["letter"] for row in letters(up) if row["size"] == len(lower_case))
        shown = run_here("dlq", "show", named, "--url", up.url)
        sent = run(*retry, "--source", "0@1", "--yes")
        wait_for(lambda: runs(up) == {"good", "lower"}, "the event")
        again = run(*retry, "--reason", "refused by ClickHouse", "--yes")
        wait_for(lambda: letters(up, tenant="acme"), "the letter of another tenant")
        of_acme = run_here(*retry, "--tenant", "acme", "--yes")
        forced = run(*retry, "--reason", "refused by ClickHouse", "--again", "--yes")
        unknown = run_here("dlq", "show", "9@9", "--url", up.url)
        wrong = run_here(*retry, "--source", "first")

    assert (planned.returncode, "2 letters: 1 would be sent, 1 not; --yes sends" in planned.stdout) == (1, True)
    assert "cut: 65536 of" in planned.stdout
    assert shown.stdout.encode() == lower_case
    assert (sent.returncode, "1 letter: 1 sent, 0 not" in sent.stdout) == (0, True), sent
    assert (again.returncode, "stored: an event of its id is there" in again.stdout) == (1, True)
    assert (of_acme.returncode, of_acme.stdout, of_acme.stderr) == (
        2,
        "",
        (
            "flowgauge: --tenant: what is sent so would be of tenant default, not of acme: nothing was sent; "
            "give a token of tenant acme (FLOWGAUGE_TOKEN, --token)\n"
        ),
    )
    assert (forced.returncode, "1 sent" in forced.stdout) == (0, True)
    assert (unknown.returncode, wrong.returncode) == (1, 2)


def event(run_id: str, occurred: str = "T", text: str = "") -> bytes:
    at = rfc3339(now_ms()).replace("T", occurred)
    return (
        f'{{"id":"{uuid.uuid4()}","tenant":"default","occurred":"{at}","event":"x","kind":"flow-run",'
        f'"flow":"f","run":"{run_id}","state":"failed","resource":{{"id":"r"}},"payload":{{"text":"{text}"}}}}'
    ).encode()


def runs(up: Up) -> set[str]:
    return {row["run"] for row in up.http.get("/v1/metrics/runs").json()["rows"]}
