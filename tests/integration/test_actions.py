"""Actions against real servers on loopback and real programs: what is sent, what is judged, what is left running."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.actions_about import NOW_MS, firing, notice
from tests.integration.egress_servers import Receiver, Reply, endless, saying, serving, silent, unresolvable

from flowgauge.schemas.setting_parts import SecretFromEnv, SecretRef
from flowgauge.sinks.webhooks.actions.action import DRY_RUN, Action
from flowgauge.sinks.webhooks.actions.command import NOT_LISTED, NOT_STARTED, TIMED_OUT
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.kinds.kind import Means
from flowgauge.sinks.webhooks.schedule import Verdict
from flowgauge.sinks.webhooks.telling import UNKNOWN_OUTCOME

pytestmark = pytest.mark.integration

LOOPBACK = EgressPolicy(allow=("127.0.0.1", "nowhere.example:80"))
SECRETS: Mapping[SecretRef, str] = dict.fromkeys((SecretFromEnv(env="ROBOT"),), "Bearer s3cret")


def means(*commands: str) -> Means:
    return Means(Egress(LOOPBACK, resolve=unresolvable), lambda: NOW_MS, SECRETS, frozenset(commands))


def action(**fields: object) -> Action:
    return Action.model_validate({"name": "restart", **fields})


def http(port: int, **fields: object) -> dict[str, object]:
    return {"url": f"http://127.0.0.1:{port}/restart", **fields}


def saying_status(status: int, *headers: str) -> Reply:
    return saying("\r\n".join([f"HTTP/1.1 {status} X", "Content-Length: 0", *headers, "", ""]).encode())


async def told(reply: Reply, **fields: object) -> Verdict:
    async with Receiver(reply).running() as port:
        verdict = await action(http=http(port), **fields).tell(notice(), means())
    return Verdict(verdict.outcome, verdict.reason, verdict.status, 0, verdict.retry_after_ms)


async def test_a_request_has_its_method_headers_rendered_body_and_the_deliverys_key() -> None:
    receiver = Receiver(saying_status(204))
    async with receiver.running() as port:
        restart = action(
            http=http(
                port,
                method="PUT",
                headers={"Authorization": {"env": "ROBOT"}, "X-Kind": "flowgauge"},
                body={"flow": "{{ flow }}", "share": ["{{ value|percent }}"]},
            )
        )
        verdict = await restart.tell(notice(), means())

    (request,) = receiver.requests
    head, _, body = request.decode().partition("\r\n\r\n")
    lines = head.lower().split("\r\n")
    assert (verdict.outcome, verdict.status) == ("delivered", 204)
    assert lines[0] == "put /restart http/1.1"
    assert {"authorization: bearer s3cret", "x-kind: flowgauge", "content-type: application/json"} <= set(lines)
    assert f"idempotency-key: {notice().delivery_id}" in lines
    assert json.loads(body) == {"flow": "orders", "share": ["60%"]}


async def test_without_a_body_a_post_has_the_message_of_a_webhook_and_a_get_has_none() -> None:
    receiver = Receiver(saying_status(200))
    async with receiver.running() as port:
        await action(http=http(port)).tell(notice(), means())
    got: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        await saying_status(200)(reader, writer)

    async with serving(keep) as port:
        verdict = await action(http=http(port, method="GET")).tell(notice(), means())

    message = json.loads(receiver.requests[0].partition(b"\r\n\r\n")[2])
    assert (message["type"], message["data"]["incident_id"]) == ("incident.firing", firing().incident_id)
    assert verdict.outcome == "delivered"
    assert got[0].startswith(b"GET ")
    assert b"content-length" not in got[0].lower()


@pytest.mark.parametrize(
    ("reply", "once", "idempotent"),
    [
        (saying_status(201), Verdict("delivered", "", 201), Verdict("delivered", "", 201)),
        (
            saying_status(429, "Retry-After: 30"),
            Verdict("failed", "answered 429", 429, 0, 30_000),
            Verdict("failed", "answered 429", 429, 0, 30_000),
        ),
        (
            saying_status(307, "Location: http://127.0.0.1:1/"),
            Verdict("dead", "answered 307", 307),
            Verdict("dead", "answered 307", 307),
        ),
        (
            saying_status(404),
            Verdict("dead", "answered 404", 404),
            Verdict("dead", "answered 404", 404),
        ),
        (saying_status(503), Verdict("dead", UNKNOWN_OUTCOME, 503), Verdict("failed", "answered 5xx", 503)),
        (
            saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
            Verdict("dead", UNKNOWN_OUTCOME),
            Verdict("failed", "answer is not whole HTTP"),
        ),
        (saying(b""), Verdict("dead", UNKNOWN_OUTCOME), Verdict("failed", "answer is not whole HTTP")),
        (endless, Verdict("delivered", "", 200), Verdict("delivered", "", 200)),
    ],
    ids=["201", "429", "307", "404", "503", "cut short", "hung up", "endless"],
)
async def test_what_may_have_been_done_is_only_repeated_where_that_does_no_harm(
    reply: Reply, once: Verdict, idempotent: Verdict
) -> None:
    assert await told(reply) == once
    assert await told(reply, idempotent=True) == idempotent


async def test_no_answer_in_time_is_an_unknown_outcome() -> None:
    assert await told(silent, timeout="50ms") == Verdict("dead", UNKNOWN_OUTCOME)


async def test_what_never_left_is_tried_again() -> None:
    async with serving(silent) as closed_later:
        pass

    async def outcome(url: str) -> tuple[str, str]:
        verdict = await action(http={"url": url}).tell(notice(), means())
        return verdict.outcome, verdict.reason

    assert await outcome(f"http://127.0.0.1:{closed_later}/") == ("failed", "cannot connect")
    assert await outcome("http://nowhere.example/") == ("failed", "does not resolve")
    assert (await outcome("http://169.254.169.254/latest/"))[0] == "failed"
    assert "169.254" not in (await outcome("http://169.254.169.254/latest/"))[1]


async def test_a_tls_handshake_that_fails_sent_nothing() -> None:
    async with serving(saying(b"no TLS here")) as port:
        verdict = await action(http={"url": f"https://127.0.0.1:{port}/"}).tell(notice(), means())

    assert (verdict.outcome, verdict.reason) == ("failed", "no trusted TLS connection")


async def test_a_dry_run_sends_nothing_and_still_finds_what_cannot_be_rendered(tmp_path: Path) -> None:
    receiver = Receiver(saying_status(200))
    async with receiver.running() as port:
        verdict = await action(http=http(port), dry_run=True).tell(notice(), means())
        cancel = {"api_url": f"http://127.0.0.1:{port}", "do": "cancel_flow_run", "flow_run": "{{ nobody }}"}
        impossible = await action(prefect=cancel, dry_run=True).tell(notice(), means())
    script = program(tmp_path, "open('ran', 'w')")
    command = await action(command={"run": [script]}, dry_run=True).tell(notice(), means(script))

    assert (verdict.outcome, verdict.reason, receiver.requests) == ("delivered", DRY_RUN, [])
    assert (impossible.outcome, impossible.reason) == ("dead", "not done: its flow run is empty here")
    assert (command.outcome, command.reason) == ("delivered", DRY_RUN)


# ── programs ──


def program(folder: Path, text: str) -> str:
    """Make an executable Python program that runs `text` in `folder`; return its path."""
    file = folder / "program"
    file.write_text(f"#!{sys.executable}\nimport os, signal, subprocess, sys\nos.chdir({str(folder)!r})\n{text}\n")
    file.chmod(0o700)
    return str(file)


async def ran(script: str, *arguments: str, **fields: object) -> tuple[str, str]:
    verdict = await action(command={"run": [script, *arguments]}, **fields).tell(notice(), means(script))
    return verdict.outcome, verdict.reason


async def test_a_program_gets_the_incident_on_standard_input_and_knows_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_TOKEN", "s3cret")
    script = program(
        tmp_path,
        "import json\n"
        "seen = [sys.argv[1:], json.load(sys.stdin)['data']['key'], sorted(os.environ), os.getsid(0) == os.getpid()]\n"
        "open('seen', 'w').write(json.dumps(seen))\nprint('x' * 1_000_000)",
    )

    assert await ran(script, "; touch hacked", "$HOME") == ("delivered", "")

    arguments, key, environment, is_own_session = json.loads((tmp_path / "seen").read_text())
    assert (arguments, key) == (["; touch hacked", "$HOME"], {"flow": "orders"})
    assert set(environment) - {"LC_CTYPE"} == {"LANG", "PATH"}
    assert is_own_session


async def test_a_program_that_is_not_listed_is_not_started(tmp_path: Path) -> None:
    script = program(tmp_path, "open('ran', 'w')")

    verdict = await action(command={"run": [script]}, idempotent=True).tell(notice(), means("/bin/true"))

    assert (verdict.outcome, verdict.reason) == ("dead", NOT_LISTED)
    assert not (tmp_path / "ran").exists()


async def test_a_program_that_fails_is_run_again_only_where_that_does_no_harm(tmp_path: Path) -> None:
    script = program(tmp_path, "sys.exit(3)")

    assert await ran(script) == ("dead", UNKNOWN_OUTCOME)
    assert await ran(script, idempotent=True) == ("failed", "the program failed: exit status 3")
    assert await ran(program(tmp_path, "os.kill(0, 9)"), idempotent=True) == ("failed", "the program failed: signal 9")
    assert await ran(str(tmp_path / "nothing")) == ("failed", NOT_STARTED)


async def test_a_program_that_reads_nothing_is_run_all_the_same(tmp_path: Path) -> None:
    assert await ran(program(tmp_path, "os.close(0)")) == ("delivered", "")


FOREVER = """
child = subprocess.Popen([sys.executable, '-c', 'import signal\\nsignal.signal(15, signal.SIG_IGN)\\nsignal.pause()'])
open('child', 'w').write(str(child.pid))
"""


async def has_ended(process: int) -> None:
    """Wait for the end of a process that is no child of ours."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    await ended.wait()
    loop.remove_reader(handle)
    os.close(handle)


async def test_at_the_deadline_the_program_and_its_children_are_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ready")
    script = program(tmp_path, f"{FOREVER}\nopen('ready', 'w').close()\nchild.wait()")
    restart = action(command={"run": [script]}, timeout="60s", idempotent=True)
    running = asyncio.ensure_future(restart.tell(notice(), means(script)))
    await asyncio.to_thread((tmp_path / "ready").read_bytes)
    child = int((tmp_path / "child").read_text())
    os.kill(child, 0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await has_ended(child)
    assert await ran(script, timeout="1ms", idempotent=True) == ("failed", TIMED_OUT)


async def test_what_a_program_leaves_behind_in_its_group_ends_with_it(tmp_path: Path) -> None:
    assert await ran(program(tmp_path, FOREVER)) == ("delivered", "")

    await has_ended(int((tmp_path / "child").read_text()))
