"""What was given up, end to end: a receiver that wanted no more is mended, and told under the same id."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.integration.commands_here import run_here
from tests.integration.test_silences_up import RULES, publish_failure
from tests.integration.up_process import Up, running_up, wait_for

from flowgauge.schemas.signing_keys import new_secret

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@dataclass
class Answering:
    """A receiver; `status` is by the path that is told."""

    status: Callable[[str], int]
    came: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])  # path, id, replay header
    port: int = 0


@contextmanager
def answering(status: Callable[[str], int]) -> Generator[Answering]:
    told = Answering(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            self.rfile.read(int(self.headers["content-length"]))
            told.came.append((self.path, self.headers["webhook-id"], self.headers.get("flowgauge-replay", "")))
            self.send_response(told.status(self.path))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's names
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def write_channels(folder: Path, url: str) -> None:
    channel = {"url": url, "secret": {"file": str(folder / "secret")}}
    channels = {"channels": [{"name": "receiver", "webhook": channel}]}
    (folder / "rules" / "channels.yaml").write_text(json.dumps(channels), encoding="utf-8")


def dead(up: Up) -> list[dict[str, Any]]:
    return up.rows("/v1/deliveries", outcome="dead")


def delivered(up: Up) -> set[str]:
    return {each["delivery_id"] for each in up.rows("/v1/deliveries", outcome="delivered")}


@contextmanager
def gone_receiver(folder: Path) -> Generator[tuple[Up, Answering]]:
    """Run a server whose only channel is a receiver that wants no more at /gone, and takes all elsewhere."""
    (folder / "secret").write_text(new_secret(bytes(range(32))), encoding="utf-8")
    (folder / "rules").mkdir()
    (folder / "rules" / "rules.yaml").write_text(RULES, encoding="utf-8")
    with answering(lambda path: 410 if path == "/gone" else 204) as receiver:
        address = f"127.0.0.1:{receiver.port}"
        write_channels(folder, f"http://{address}/gone")
        with running_up(folder / "data", "--rules", "rules", env={"FLOWGAUGE_EGRESS_ALLOW": address}) as up:
            yield up, receiver


def test_what_was_given_up_is_told_under_the_same_id_once_its_channel_is_mended(tmp_path: Path) -> None:
    with gone_receiver(tmp_path) as (up, receiver):
        address, at = f"127.0.0.1:{receiver.port}", ("--as", "ann", "--url", up.url)
        for flow in ("orders", "stock"):
            publish_failure(up, flow)
        wait_for(lambda: len(dead(up)) == 2, "the receiver to want no more")
        channels = run_here("channels", "list", "--rules", str(tmp_path / "rules"), "--url", up.url)
        lost = {each["delivery_id"] for each in dead(up)}
        first, second = sorted(lost)
        write_channels(tmp_path, f"http://{address}/mended")
        publish_failure(up, "invoices")
        wait_for(lambda: "/mended" in {path for path, *_ in receiver.came}, "the mended channel to be told")
        listed = run_here("deliveries", "list", "--outcome", "dead", "--url", up.url)
        one = run_here("deliveries", "replay", first, *at)
        wait_for(lambda: ("/mended", first, "1") in receiver.came, "the first to be sent again")
        rest = run_here("deliveries", "replay", "--channel", "receiver", "--since", "1h", *at)
        wait_for(lambda: ("/mended", second, "1") in receiver.came, "the second to be sent again")
        wait_for(lambda: not dead(up) and lost <= delivered(up), "both to be known as delivered")
        again = run_here("deliveries", "replay", first, *at)
        shown = run_here("deliveries", "show", first[:8], "--url", up.url)
        told = run_here("deliveries", "list", "--outcome", "delivered", "--format", "json", "--url", up.url)
        usage = run_here("deliveries", "replay", "--url", up.url)
        unknown = run_here("deliveries", "show", "0" * 32, "--url", up.url)

    assert [each.returncode for each in (listed, one, rest, shown, told)] == [0] * 5, one.stderr + rest.stderr
    assert (channels.returncode, "a message was given up: endpoint gone" in channels.stdout) == (0, True), (
        channels.stderr
    )
    assert all(each in listed.stdout for each in lost)
    assert one.stdout == f"delivery {first[:12]} is sent to receiver again, under the same id\n"
    assert "given up since" in rest.stdout
    assert (again.returncode, "was not given up, it is delivered" in again.stderr) == (1, True)
    assert lost <= {each["delivery_id"] for each in json.loads(told.stdout)["rows"]}
    assert "dead" in shown.stdout
    assert address not in shown.stdout + listed.stdout + told.stdout
    assert (usage.returncode, unknown.returncode) == (2, 1)
    assert {(each, replay) for path, each, replay in receiver.came if path == "/mended" and each in lost} == {
        (first, "1"),
        (second, "1"),
    }
