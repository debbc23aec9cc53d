"""`flowgauge tenant export | erase` against a running server, as an operator gives them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.commands_here import run_here
from tests.integration.test_operator import SETTINGS, crash
from tests.integration.up_process import Up, running_up, wait_for

from flowgauge.console.tenant_files import MANIFEST, verify
from flowgauge.schemas.errors import FlowgaugeError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
SECRETS = {"PLATFORM": "platform-token", "ACME": "acme-token", "BETA": "beta-token"}
EVENTS = 7


def send(up: Up, tenant: str) -> None:
    events = [crash() for _ in range(EVENTS)]
    answer = up.http.post("/v1/events", json=events, headers={"authorization": f"Bearer {tenant}-token"})
    assert answer.json()["accepted"] == EVENTS


def held(up: Up, tenant: str) -> dict[str, int]:
    """Return what an erasure of `tenant` would take away, as the operator sees it."""
    answer = up.http.get(
        "/v1/tenant/erase", params={"tenant": tenant}, headers={"authorization": "Bearer platform-token"}
    )
    return dict(answer.json()["rows"])


def test_a_tenant_is_exported_and_erased_and_its_neighbour_stays(tmp_path: Path) -> None:
    (tmp_path / "flowgauge.toml").write_text(SETTINGS, encoding="utf-8")
    with running_up(tmp_path / "data", env=SECRETS) as up:
        send(up, "acme")
        send(up, "beta")
        wait_for(lambda: held(up, "acme")["events"] == held(up, "beta")["events"] == EVENTS, "the rows")

        def tenant(*arguments: str, token: str = "platform-token") -> tuple[int, str, str]:  # noqa: S107  # of this test
            ended = run_here("tenant", *arguments, "--url", up.url, "--token", token)
            return ended.returncode, ended.stdout, ended.stderr

        exported = tenant("export", "acme", "--to", str(tmp_path / "out"))
        own = tenant("export", "acme", "--to", str(tmp_path / "own"), token="acme-token")
        others = tenant("export", "acme", "--to", str(tmp_path / "others"), token="beta-token")
        again = tenant("export", "acme", "--to", str(tmp_path / "out"))
        tried = tenant("erase", "acme")
        refused = tenant("erase", "acme", "--yes", token="acme-token")
        looked = tenant("erase", "acme", token="acme-token")
        own_rows = up.http.get("/v1/tenant", headers={"authorization": "Bearer acme-token"}).json()["rows"]
        still = held(up, "acme")
        erased = tenant("erase", "acme", "--yes")
        no_more = [tenant("erase", "acme"), tenant("erase", "acme", "--yes")]
        nobody = tenant("export", "acmee", "--to", str(tmp_path / "nobody"))

        assert (exported[0], exported[2]) == (0, "")
        assert (own[0], others[0], again[0], tried[0], refused[0], erased[0]) == (0, 2, 2, 1, 2, 0)
        assert "shows nothing of 'acme'" in others[2]
        assert again[2] == f"flowgauge: --to: {tmp_path / 'out'} is not empty: name another folder\n"
        assert f"{EVENTS:>12,}  events\n" in tried[1]
        assert "nothing was erased: --yes erases these rows for good" in tried[2]
        assert "erasing is for the operator" in refused[2]
        assert (looked[0], looked[1], looked[2]) == (2, "", refused[2])
        assert own_rows == {"deliveries": 0, "dlq": 0, "events": EVENTS, "transitions": 0}
        assert still["events"] == EVENTS
        assert set(held(up, "acme").values()) == {0}
        assert held(up, "beta")["events"] == EVENTS
        unknown = "nothing is known of tenant {}: no table has a row of it"
        assert [each[0] for each in no_more] == [1, 0]
        assert no_more[0][2] == f"nothing was erased: {unknown.format('acme')}\n"
        assert no_more[1][2] == f"there is nothing to erase: {unknown.format('acme')}\n"
        assert f"{0:>12}  events\n" in no_more[1][1]
        assert (nobody[0], nobody[2]) == (1, f"flowgauge: {unknown.format('acmee')}: nothing was written\n")
        assert not (tmp_path / "nobody").exists()

    check_export(tmp_path / "out")


def check_export(folder: Path) -> None:
    manifest = verify(folder)
    assert (manifest.tenant, manifest.tables["events"].rows) == ("acme", EVENTS)
    assert {file.name for file in folder.iterdir()} == {MANIFEST, *(each.file for each in manifest.tables.values())}
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in gzip.decompress((folder / "events.ndjson.gz").read_bytes()).splitlines()
    ]
    assert {row["tenant"] for row in rows} == {"acme"}
    with gzip.open(folder / "events.ndjson.gz", "wt") as changed:
        changed.writelines(f"{json.dumps(row)}\n" for row in rows[1:])
    with pytest.raises(FlowgaugeError, match=r"events.ndjson.gz is not what was exported: 6 rows, 7 written"):
        verify(folder)
