"""Tokens that come and go while events come in: nothing is lost, an old one ends, and a broken file changes nothing."""

import threading
import uuid
from pathlib import Path

import httpx2
import pytest
from tests.integration.up_process import Up, running_up, wait_for

from flowgauge.console.token_files import PART, look
from flowgauge.producers import Publisher
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.settings import Settings, parse_settings
from flowgauge.transport.health import Health

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SETTINGS = """
operator = "acme"
[tenants.acme]
tokens = [{{ file = "{file}" }}]
"""


def write(file: Path, *tokens: str) -> None:
    """Replace the file at once, as Kubernetes does."""
    new = file.with_suffix(".new")
    new.write_text("\n".join([*tokens, ""]), encoding="utf-8")
    new.rename(file)


def status(up: Up, token: str) -> int:
    return httpx2.get(f"{up.url}/v1/health", headers={"Authorization": f"Bearer {token}"}, trust_env=False).status_code


class Worker:
    """Publishes with one token until it is told to end."""

    def __init__(self, up: Up, token: str) -> None:
        self.publisher = Publisher(up.url, token, linger_ms=10)
        self.sent = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._end.wait(0.001):
            self.publisher.emit({"event": "etl.done", "resource": {"id": "etl"}})
            self.sent += 1

    def end(self) -> None:
        self._end.set()
        self._thread.join()
        self.publisher.close(30_000)


def test_a_token_is_rotated_under_load_and_no_event_is_lost(tmp_path: Path) -> None:
    old, new = str(uuid.uuid4()), str(uuid.uuid4())
    tokens, settings = tmp_path / "tokens", tmp_path / "flowgauge.toml"
    settings.write_text(SETTINGS.format(file=tokens), encoding="utf-8")
    write(tokens, old)

    with running_up(tmp_path / "data", "--config", str(settings)) as up:
        first = Worker(up, old)
        wait_for(lambda: first.publisher.sent, "the first events")
        write(tokens, old, new)
        wait_for(lambda: status(up, new) == 200, "the new token to be good")
        second = Worker(up, new)
        wait_for(lambda: second.publisher.sent, "events with the new token")
        first.end()
        write(tokens, new)
        wait_for(lambda: status(up, old) == 401, "the old token to be refused")
        second.end()
        up.http.headers["Authorization"] = f"Bearer {new}"
        everything = first.sent + second.sent
        wait_for(lambda: up.get("/v1/health")["stored"] == everything, "every event in ClickHouse")

    for worker in (first, second):
        assert (worker.publisher.sent, worker.publisher.refused, worker.publisher.dropped) == (worker.sent, 0, 0)
    assert old not in (tmp_path / "up.err").read_text()


def of(file: Path) -> Settings:
    return parse_settings(SETTINGS.format(file=file), "flowgauge.toml", {}, {})


@pytest.mark.parametrize(
    "broken", [b"", b"\n \n", b"\xff", b"x\n" * 17, b"y" * 5_000, b"# none\n", b"x\n", b"so good a token\n"]
)
def test_a_broken_token_file_changes_nothing_and_is_told_without_a_token(tmp_path: Path, broken: bytes) -> None:
    file, health, table = tmp_path / "tokens", Health(), TokenTable({"good": "acme"})
    file.write_bytes(broken)

    look(of(file), table, health)
    told = (dict(health.problems), dict(health.operator_problems))
    tenant = table.tenant_of("Bearer good")
    write(file, "a-better-one")
    look(of(file), table, health)

    assert (tenant, told[0]) == ("acme", {PART: "a change was not applied; the tokens before it go on"})
    assert told[1][PART].startswith(f"flowgauge.toml: tenants.acme.tokens.0: file {file} ")
    assert (health.problems, health.operator_problems) == ({}, {})
    assert (table.tenant_of("Bearer good"), table.tenant_of("Bearer a-better-one")) == (None, "acme")


def test_a_million_wrong_tokens_leave_nothing_behind() -> None:
    table = TokenTable({"good": "acme"})
    before = table.__sizeof__(), len(table._tenants)  # pyright: ignore[reportPrivateUsage]  # what must not grow

    assert all(table.sender_of(f"Bearer {number}") is None for number in range(1_000_000))

    assert (table.__sizeof__(), len(table._tenants)) == before  # pyright: ignore[reportPrivateUsage]
