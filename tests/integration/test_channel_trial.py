"""`flowgauge channels test` with every kind of channel against a server on loopback, good days and bad."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.integration.commands_here import run_here
from tests.integration.http_service import Answer, Request, http, serving
from tests.integration.mail_server import MailServer

from flowgauge.schemas.signing_keys import new_secret
from flowgauge.sinks.webhooks.kinds import KINDS

pytestmark = pytest.mark.integration

TOKEN = "s3cret0123456789s3cret0123456789"  # of nobody
SECRET = new_secret(bytes(range(32)))
KINDS_WRITTEN: Mapping[str, Mapping[str, object]] = {
    "webhook": {"url": {"env": "URL"}, "secret": {"env": "SECRET"}},
    "slack": {"url": {"env": "URL"}},
    "teams": {"url": {"env": "URL"}},
    "pagerduty": {"routing_key": {"env": "TOKEN"}, "api_url": "http://HERE"},
    "incident_io": {"url": {"env": "URL"}, "token": {"env": "TOKEN"}},
    "alertmanager": {"url": {"env": "URL"}},
    "apprise": {"url": {"env": "APPRISE_URL"}},
}


async def tried(folder: Path, port: int, kind: str, written: object, *options: str) -> tuple[int, str, str]:
    """Run `channels test ops` with a channel of this kind; return its exit code and what it printed."""
    url = f"http://127.0.0.1:{port}/{TOKEN}"
    channels = json.dumps({"channels": [{"name": "ops", kind: written}]}).replace("http://HERE", url)
    (folder / "channels.yaml").write_text(channels, encoding="utf-8")
    (folder / "flowgauge.toml").write_text(f'egress.allow = ["127.0.0.1:{port}"]\negress.apprise = true\n')
    known = {"URL": url, "APPRISE_URL": f"json://127.0.0.1:{port}/{TOKEN}", "SECRET": SECRET, "TOKEN": TOKEN}
    arguments = ("channels", "test", "ops", "--rules", str(folder / "channels.yaml"), *options)
    done = await asyncio.to_thread(run_here, *arguments, env=known, cwd=folder)
    return done.returncode, done.stdout, done.stderr


def answering(*answers: bytes) -> tuple[Answer, list[Request]]:
    """Return what answers each request with the next, the last for ever, and the requests that came."""
    came: list[Request] = []

    def answer(request: Request) -> bytes:
        came.append(request)
        return answers[min(len(came), len(answers)) - 1]

    return answer, came


GOOD: Mapping[str, Callable[[], bytes]] = {
    "webhook": lambda: http(204),
    "slack": lambda: http(200, "ok"),
    "teams": lambda: http(202),
    "pagerduty": lambda: http(202, {"status": "success", "dedup_key": "d"}),
    "incident_io": lambda: http(202, {"status": "success"}),
    "alertmanager": lambda: http(200),
    "apprise": lambda: http(200, {}),
}


def test_every_kind_is_tried_here() -> None:
    assert {*KINDS_WRITTEN, "email"} == set(KINDS)


@pytest.mark.parametrize("kind", list(KINDS_WRITTEN))
async def test_a_firing_and_its_end_arrive_marked_as_a_test(tmp_path: Path, kind: str) -> None:
    answer, came = answering(GOOD[kind]())
    async with serving(answer) as port:
        code, out, err = await tried(tmp_path, port, kind, KINDS_WRITTEN[kind])

    assert (code, err, len(came)) == (0, "", 2), out
    assert [line.partition("(")[0].split() for line in out.splitlines()[1:]] == [
        ["firing", "delivered"],
        ["resolved", "delivered"],
    ]
    assert all("flowgauge: test of channel ops" in json.dumps(json.loads(each.body)) for each in came)
    assert all(hidden not in out + err for hidden in (TOKEN, SECRET, "127.0.0.1", str(port)))


@pytest.mark.parametrize("kind", list(KINDS_WRITTEN))
async def test_what_is_refused_says_so_without_an_address_and_is_not_followed_by_its_end(
    tmp_path: Path, kind: str
) -> None:
    answer, came = answering(http(400, "no"))
    async with serving(answer) as port:
        code, out, err = await tried(tmp_path, port, kind, KINDS_WRITTEN[kind])

    assert (code, err, len(came)) == (1, "", 1), out
    assert out.splitlines()[1].startswith("firing    not delivered: ")
    assert out.splitlines()[-1].strip() in {"the notifier would try it again", "the notifier would give it up"}
    assert all(hidden not in out + err for hidden in (TOKEN, SECRET, "127.0.0.1", str(port)))


async def test_the_end_is_left_out_where_somebody_says_so(tmp_path: Path) -> None:
    answer, came = answering(http(204))
    async with serving(answer) as port:
        code, out, _ = await tried(tmp_path, port, "webhook", KINDS_WRITTEN["webhook"], "--no-resolve")

    assert (code, len(came), "resolved" in out) == (0, 1, False)


async def test_a_mail_goes_out_and_its_end_follows(tmp_path: Path) -> None:
    server = MailServer()
    async with server.running(tls="none"):
        written = {"to": ["ops@example.com"], "from": "flowgauge@example.com", "host": "127.0.0.1", "tls": "none"}
        code, out, err = await tried(tmp_path, server.port, "email", {**written, "port": server.port})

    assert (code, err) == (0, ""), out
    assert ["test of channel ops" in str(mail["subject"]) for mail in server.mails] == [True, True]
