"""`flowgauge publish` against a real gateway: any input, each bad line told, and no server told at once."""

import asyncio
import gzip
import json
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.integration.gateway_server import Running, running_gateway
from tests.integration.test_publisher import Reply, accepted, scripted
from tests.integration.up_process import COMMAND, environment

from flowgauge.console.cli.publish import TOLD_MAX
from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.schemas.topics import EVENTS
from flowgauge.transport import wall_clock
from flowgauge.transport.log import Assigned

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

CAPTURE = Path(__file__).parents[1] / "data" / "prefect-outage-extract.jsonl.gz"
GOOD = b'{"event":"etl.done","resource":{"id":"etl.1"}}'
ID = "01a207c7-d5fc-7558-9164-f669aabd48aa"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path / "log") as running:
        yield running


async def publish(*arguments: str, said: bytes = b"") -> tuple[int | None, str, list[str]]:
    """Run the command; return its exit code, what it printed, and the lines of its standard error."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("publish", *arguments),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    printed, errors = await process.communicate(said)
    return process.returncode, printed.decode(), errors.decode().splitlines()


async def test_each_bad_line_is_told_with_its_place_and_the_others_are_sent(gateway: Running, tmp_path: Path) -> None:
    bad = [
        b"not json",
        b"\xff\xfe",
        b"[1]",
        b'{"event":"no resource"}',
        b"",
        b'{"x":"' + b"x" * 3 * EVENT_BYTES_MAX + b'"}',
        f'{{"id":"{ID}","occurred":"2001-01-01T00:00:00Z","event":"old","resource":{{"id":"x"}}}}'.encode(),
    ]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(part for line in bad for part in (GOOD, line)) + b"\r\n" + GOOD)

    code, printed, errors = await publish("--url", gateway.url, str(file))

    assert (code, printed) == (1, "14 events: 8 sent, 6 refused\n")
    assert [(int(e.split(":")[1]), e.split(": ")[1]) for e in errors] == [
        (2, "not a JSON object"),
        (4, "not a JSON object"),
        (6, "not a JSON object"),
        (8, "wrong field"),
        (12, "too large"),
        (14, "clock far off"),
    ]
    assert all(error.startswith(f"{file}:") for error in errors)
    assert len(await gateway.events()) == 8


async def test_more_than_any_buffer_holds_is_sent_from_files_and_standard_input(
    gateway: Running, tmp_path: Path
) -> None:
    large = json.dumps({"event": "x", "resource": {"id": "y"}, "payload": {"text": "x" * 500_000}}).encode()
    file = tmp_path / "large.ndjson"
    file.write_bytes((large + b"\n") * 80)

    found = await publish("--url", gateway.url, str(file), "-", said=(GOOD + b"\n") * 60_000)

    assert found == (0, "60,080 events: 60,080 sent, 0 refused\n", [])
    assert len({event.id for event in await gateway.events()}) == len(await gateway.events())


@pytest.mark.parametrize("from_file", [True, False])
async def test_gzip_is_read_from_a_file_and_from_a_pipe(gateway: Running, tmp_path: Path, from_file: bool) -> None:
    file = tmp_path / "events.ndjson.gz"
    file.write_bytes(gzip.compress((GOOD + b"\n") * 3 + b"?\n"))

    said = b"" if from_file else file.read_bytes()
    code, printed, errors = await publish("--url", gateway.url, str(file) if from_file else "-", said=said)

    assert (code, printed) == (1, "4 events: 3 sent, 1 refused\n")
    assert errors[0].startswith(f"{file if from_file else 'standard input'}:4: not a JSON object: ")


async def test_gzip_that_breaks_off_is_told_and_the_lines_before_are_sent(gateway: Running, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson.gz"
    file.write_bytes(gzip.compress((GOOD + b"\n") * 3)[:-8])

    code, printed, errors = await publish("--url", gateway.url, str(file))

    assert (code, printed) == (2, "3 events: 3 sent, 0 refused\n")
    assert errors[0].startswith(f"flowgauge: {file}: after line 3: the gzip stream is broken: ")


@pytest.mark.parametrize("from_file", [True, False])
async def test_a_capture_of_prefect_is_refused_with_the_command_that_converts_it(
    gateway: Running, from_file: bool
) -> None:
    said = b"" if from_file else CAPTURE.read_bytes()
    code, printed, errors = await publish("--url", gateway.url, str(CAPTURE) if from_file else "-", said=said)

    assert (code, printed) == (2, "0 events: 0 sent, 0 refused\n")
    assert errors == [
        (
            f"flowgauge: {CAPTURE if from_file else 'standard input'}: a capture of a Prefect server, not event lines: "
            f"convert it first (flowgauge prefect convert {CAPTURE if from_file else '/dev/stdin'} | flowgauge publish)"
        )
    ]


async def test_a_body_that_is_too_large_goes_in_halves_and_refusals_stay_in_the_order_of_the_lines() -> None:
    too_large: Reply = (413, {}, b"no")
    half = accepted(1, {"index": 1, "reason": "wrong field", "detail": "x"})
    never: Reply = (422, {}, b'{"error":"never"}')
    with scripted(too_large, half, (503, {}, b""), never, never, never) as server:
        code, printed, errors = await publish("--url", server.url, said=b"\n".join([GOOD, GOOD, b"?", GOOD, GOOD]))

    assert (code, printed) == (1, "5 events: 1 sent, 4 refused\n")
    assert [len(body.splitlines()) for body in server.bodies] == [4, 2, 2, 2, 1, 1]
    assert server.bodies[2] == server.bodies[3]
    assert errors[0] == f"{server.url} answers 503; trying for 60 s more"
    assert [error.split(": ")[0] for error in errors[1:]] == [f"standard input:{number}" for number in (2, 3, 4, 5)]


async def test_what_was_not_sent_when_the_address_turns_out_wrong_is_counted() -> None:
    with scripted((413, {}, b"no"), accepted(2), (200, {}, b"<html>")) as server:
        code, printed, errors = await publish("--url", server.url, said=b"\n".join([GOOD] * 5))

    assert (code, printed) == (2, "5 events: 2 sent, 0 refused, 3 not sent\n")
    assert errors == [
        (
            f"flowgauge: what answers at {server.url} is no flowgauge gateway: is the address right (FLOWGAUGE_URL)?"
            " Not sent: standard input:3 and on"
        )
    ]


async def test_a_long_list_of_bad_lines_is_cut_and_counted(gateway: Running) -> None:
    said = b"{}\n" * 1_500 + b"x\n" * 10

    code, printed, errors = await publish("--url", gateway.url, said=said)

    assert (code, printed) == (1, "1,510 events: 0 sent, 1,510 refused\n")
    assert (len(errors), errors[-1]) == (TOLD_MAX + 1, "… and 1410 more")
    assert errors[0].startswith("standard input:1: wrong field: ")


async def test_ids_and_times_that_a_line_has_are_kept(gateway: Running) -> None:
    occurred = wall_clock.now_ms() // 1000
    line = {"id": ID, "occurred": None, "event": "x", "resource": {"id": "y"}}

    assert (await publish("--url", gateway.url, said=json.dumps(line).encode()))[0] == 0

    [event] = await gateway.events()
    assert str(event.id) == ID
    assert event.occurred.timestamp() >= occurred


async def test_lines_of_a_pipe_that_stays_open_are_sent_meanwhile(gateway: Running) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "publish", "--url", gateway.url, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(GOOD + b"\n")

    reader = await gateway.log.open_reader(EVENTS, "test")
    assert await reader.poll(records_max=10, timeout_ms=0) == [Assigned(0, 0)]
    assert await reader.poll(records_max=10, timeout_ms=30_000)

    process.stdin.close()
    assert (await process.wait(), gateway.health.accepted) == (0, 1)


async def test_without_a_server_it_says_so_and_gives_up_after_the_stated_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

    code, printed, errors = await publish("--url", url, "--wait", "300ms", said=GOOD)

    assert (code, printed) == (3, "1 event: 0 sent, 0 refused, 1 not sent\n")
    assert errors[0].startswith(f"no answer from {url} (")
    assert errors[0].endswith("; trying for 0 s more")
    assert errors[-1].startswith(f"flowgauge: no answer from {url} (")
    assert errors[-1].endswith(f" for 300ms: is `flowgauge up` running at {url}? Not sent: standard input:1 and on")


async def test_a_server_that_comes_while_it_waits_gets_every_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "publish", "--url", f"http://127.0.0.1:{port}"),
        env=environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(GOOD)
    process.stdin.close()
    assert b"; trying for " in await process.stderr.readline()

    async with running_gateway(tmp_path, port=port) as gateway:
        assert await process.wait() == 0
        assert len(await gateway.events()) == 1


async def test_a_wrong_token_ends_it_at_once_with_the_remedy(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tokens={"one": "acme"}) as gateway:
        code, printed, errors = await publish("--url", gateway.url, "--token", "two", said=GOOD)

    assert (code, printed) == (2, "1 event: 0 sent, 0 refused, 1 not sent\n")
    assert errors == [
        f"flowgauge: {gateway.url} answers 401: is the token right (FLOWGAUGE_TOKEN)? Not sent: standard input:1 and on"
    ]


async def test_a_wait_that_is_no_duration_is_told() -> None:
    code, _, errors = await publish("--wait", "soon", said=GOOD)

    assert (code, errors) == (
        2,
        ["flowgauge: --wait: expected a duration such as 30s, 10m, 1h30m or 7d, got 'soon'"],
    )


def test_the_light_install_is_enough() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('pydantic', 'structlog', 'yaml', 'starlette'))); "
        "from flowgauge.console.main import main; main(sys.argv[1:])"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code, "publish", CAPTURE], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (2, "0 events: 0 sent, 0 refused\n")
    assert f"flowgauge: {CAPTURE}: a capture of a Prefect server, not event lines: " in ended.stderr
