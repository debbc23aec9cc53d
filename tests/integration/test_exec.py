"""`flowgauge exec`: the command runs, prints and ends as it would alone, and its run is told."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.integration.gateway_server import Running, running_gateway
from tests.integration.notifier_scene import until

from flowgauge.schemas.event import Event

pytestmark = pytest.mark.integration

MAIN = "from flowgauge.console.main import main; import sys; main(sys.argv[1:])"


@pytest.fixture(autouse=True)
def no_signal_is_blocked_or_ignored() -> None:
    """Start commands as a shell does, not as chDB, which blocks SIGPIPE here, or nohup, which ignores SIGHUP, would."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path / "log") as running:
        yield running


class Streams(NamedTuple):
    """What the streams of `flowgauge exec` are."""

    stdin: int | None = None
    stdout: int = subprocess.PIPE
    stderr: int = subprocess.PIPE


PIPES = Streams()


async def start(url: str, home: Path, *arguments: str, streams: Streams = PIPES, before: Sequence[str] = ()) -> Process:
    """Start `flowgauge exec --flow nightly` with more arguments, by the command `before`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGAUGE_")}
    env |= {"PYTHONPATH": ":".join(sys.path), "FLOWGAUGE_URL": url, "XDG_STATE_HOME": str(home)}
    command = [*before, sys.executable, "-c", MAIN, "exec", "--flow", "nightly", *arguments]
    stdin, stdout, stderr = streams
    return await asyncio.create_subprocess_exec(*command, env=env, stdin=stdin, stdout=stdout, stderr=stderr)


async def run(url: str, home: Path, *arguments: str, streams: Streams = PIPES) -> tuple[int | None, bytes, bytes]:
    """Run it to its end; return its exit code and what it printed."""
    process = await start(url, home, *arguments, streams=streams)
    printed, errors = await process.communicate()
    return process.returncode, printed, errors


def told(events: list[Event]) -> list[tuple[str, object]]:
    return [(event.event, event.payload.get("message")) for event in events]


async def test_a_command_runs_prints_and_ends_as_alone_and_its_run_is_told(gateway: Running, tmp_path: Path) -> None:
    script = r"printf 'caf\351\n'; printf 'no end of line'; printf 'careful\n' >&2"
    options = ("--run", "r-1", "--tag", "prod", "--tag", "eu", "--team", "data", "--scheduled-for", "1795917600")
    ended = await run(gateway.url, tmp_path, *options, "--", "sh", "-c", script)

    events = await gateway.events()
    assert ended == (0, b"caf\xe9\nno end of line", b"careful\n")
    assert told([events[0], events[-1]]) == [("flow-run.running", None), ("flow-run.completed", None)]
    assert {(event.flow, event.run) for event in events} == {("nightly", "r-1")}
    assert events[0].scheduled_for == datetime(2026, 11, 29, 2, tzinfo=UTC)
    assert [(thing["role"], thing["name"]) for thing in events[0].related] == [
        ("flow", "nightly"),
        ("tag", "prod"),
        ("tag", "eu"),
        ("team", "data"),
    ]
    logs = sorted(str(event.payload) for event in events if event.kind == "log")
    assert logs == [
        str({"level": "INFO", "logger": "stderr", "message": "careful"}),
        str({"level": "INFO", "logger": "stdout", "message": "caf�"}),
        str({"level": "INFO", "logger": "stdout", "message": "no end of line"}),
    ]
    payload = events[-1].payload
    assert isinstance(payload["duration_ms"], int)
    assert {**payload, "duration_ms": 0} == {"exit_code": 0, "duration_ms": 0, "output_lines": 3}


async def test_a_failure_keeps_its_exit_code_and_is_told_with_the_last_line_of_errors(
    gateway: Running, tmp_path: Path
) -> None:
    ended = await run(gateway.url, tmp_path, "sh", "-c", "echo rows; echo 'no such table' >&2; exit 3")

    events = await gateway.events()
    assert ended == (3, b"rows\n", b"no such table\n")
    assert (events[-1].state, events[-1].payload["exit_code"]) == ("failed", 3)
    assert events[-1].payload["message"] == "exit code 3: no such table"
    assert {event.payload["logger"]: event.payload["level"] for event in events if event.kind == "log"} == {
        "stdout": "INFO",
        "stderr": "ERROR",
    }


@pytest.mark.parametrize("case", [("nope", 127, "command not found"), ("/", 126, "Permission denied")], ids=str)
async def test_a_command_that_cannot_start_is_a_failed_run(
    gateway: Running, tmp_path: Path, case: tuple[str, int, str]
) -> None:
    name, code, why = case
    ended = await run(gateway.url, tmp_path, "--", name, "--flag")

    events = await gateway.events()
    assert ended == (code, b"", f"flowgauge exec: {name}: {why}\n".encode())
    assert told(events) == [("flow-run.running", None), ("flow-run.failed", f"{name}: {why}")]


async def test_a_command_whose_name_is_no_utf_8_is_a_failed_run(gateway: Running, tmp_path: Path) -> None:
    code, _, _ = await run(gateway.url, tmp_path, "--", os.fsdecode(b"/nowhere/caf\xe9"))

    events = await gateway.events()
    assert (code, told(events)) == (
        127,
        [("flow-run.running", None), ("flow-run.failed", "/nowhere/caf?: command not found")],
    )


async def test_an_option_that_is_none_of_ours_runs_nothing(gateway: Running, tmp_path: Path) -> None:
    code, printed, errors = await run(gateway.url, tmp_path, "--tagg", "prod", "--", "echo", "ran")

    assert (code, printed, await gateway.events()) == (2, b"", [])
    assert "no such option" in errors.decode().lower()
    assert "--tagg" in errors.decode()


TRAP = "trap 'kill $!; trap - SIGNAL; END' SIGNAL; echo ready; sleep 60 & wait"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_signal_reaches_the_command_and_what_ends_by_it_is_cancelled(
    gateway: Running, tmp_path: Path, number: signal.Signals
) -> None:
    trap = TRAP.replace("SIGNAL", number.name.removeprefix("SIG")).replace("END", "kill -KILL $$; exit 9")
    trap = trap.replace("-KILL", f"-{number.name.removeprefix('SIG')}")
    process = await start(gateway.url, tmp_path, "--", "sh", "-c", trap)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    await process.communicate()

    end = (await gateway.events())[-1]
    assert process.returncode == 128 + number
    assert (end.state, end.payload["signal"], end.payload["exit_code"]) == ("cancelled", number.name, 128 + number)


async def test_a_terminal_that_goes_away_ends_the_command_of_the_one_whose_session_it_is(
    gateway: Running, tmp_path: Path
) -> None:
    """So it is with `ssh -t host flowgauge exec …`: the kernel tells the session's leader, and nobody else."""
    ours, theirs = os.openpty()
    trap = TRAP.replace("SIGNAL", "HUP").replace("END", "exit 7")
    process = await start(
        gateway.url, tmp_path, "--", "sh", "-c", trap, streams=Streams(stdin=theirs), before=("setsid", "--ctty")
    )
    os.close(theirs)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    os.close(ours)
    await process.communicate()

    assert (process.returncode, (await gateway.events())[-1].state) == (7, "cancelled")


async def test_a_command_that_ends_well_after_a_signal_has_completed(gateway: Running, tmp_path: Path) -> None:
    process = await start(gateway.url, tmp_path, "sh", "-c", TRAP.replace("SIGNAL", "TERM").replace("END", "exit 0"))
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.terminate()
    await process.communicate()

    assert (process.returncode, (await gateway.events())[-1].state) == (0, "completed")


async def test_a_command_that_a_signal_of_others_killed_has_crashed(gateway: Running, tmp_path: Path) -> None:
    ended = await run(gateway.url, tmp_path, "sh", "-c", "kill -KILL $$")

    end = (await gateway.events())[-1]
    assert ended == (137, b"", b"")
    assert (end.state, end.payload["signal"], end.payload["message"]) == ("crashed", "SIGKILL", "killed by SIGKILL")


async def test_streams_that_are_one_keep_their_order(gateway: Running, tmp_path: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9; do echo o$n; echo e$n >&2; done"
    code, printed, _ = await run(gateway.url, tmp_path, "sh", "-c", script, streams=Streams(stderr=subprocess.STDOUT))

    lines = [f"{stream}{n}" for n in range(1, 10) for stream in "oe"]
    assert (code, printed.decode().split()) == (0, lines)
    logs = [event.payload["message"] for event in await gateway.events() if event.kind == "log"]
    assert logs == lines


async def test_a_reader_that_goes_away_is_gone_for_the_command_too(gateway: Running, tmp_path: Path) -> None:
    read, write = os.pipe()
    process = await start(gateway.url, tmp_path, "yes", streams=Streams(stdout=write))
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 2) == b"y\n"
    os.close(read)
    await process.communicate()
    while (end := (await gateway.events())[-1]).state in {None, "running"}:  # noqa: ASYNC110  # exec waits 3 s
        await asyncio.sleep(0.01)

    assert (process.returncode, end.state, end.payload.get("signal")) == (141, "crashed", "SIGPIPE")


async def test_output_without_end_is_passed_on_whole_and_told_within_bounds(gateway: Running, tmp_path: Path) -> None:
    code, printed, _ = await run(gateway.url, tmp_path, "seq", "1000000")

    events = await gateway.events()
    assert (code, printed) == (0, b"".join(b"%d\n" % n for n in range(1, 1_000_001)))
    logs = [event.payload["message"] for event in events if event.kind == "log"]
    assert logs == [str(n) for n in range(999_901, 1_000_001)]
    assert events[-1].payload["output_lines"] == 1_000_000


async def test_what_a_command_leaves_printing_does_not_hold_us_and_what_is_cut_is_said(
    gateway: Running, tmp_path: Path
) -> None:
    code, printed, errors = await run(
        gateway.url, tmp_path, "sh", "-c", "(while echo tick; do sleep 0.1; done) & seq 100000; exit 3"
    )

    assert (code, printed.replace(b"tick\n", b"")) == (3, b"".join(b"%d\n" % n for n in range(1, 100_001)))
    assert errors.decode() == (
        "flowgauge exec: 5 s after the command's end something it left behind still prints to stdout: "
        "the rest is cut off (--no-output leaves it our streams)\n"
    )
    assert (await gateway.events())[-1].payload["message"] == "exit code 3"


async def test_streams_that_are_to_be_left_alone_are_the_commands_own(gateway: Running, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        code, _, _ = await run(
            gateway.url, tmp_path, "--no-output", "readlink", "/proc/self/fd/1", streams=Streams(stdout=out.fileno())
        )

    assert (code, (tmp_path / "out").read_text()) == (0, f"{tmp_path / 'out'}\n")
    assert told(await gateway.events()) == [("flow-run.running", None), ("flow-run.completed", None)]


async def has_beaten(gateway: Running) -> bool:
    return "flow-run.heartbeat" in [event.event for event in await gateway.events()]


async def test_a_command_that_lasts_beats(gateway: Running, tmp_path: Path) -> None:
    process = await start(gateway.url, tmp_path, "--heartbeat", "100ms", "cat", streams=Streams(stdin=subprocess.PIPE))
    await until(lambda: has_beaten(gateway))
    await process.communicate(b"")

    events = await gateway.events()
    assert (process.returncode, events[0].event, events[-1].event) == (0, "flow-run.running", "flow-run.completed")


async def test_no_heartbeat_may_be_asked_for(gateway: Running, tmp_path: Path) -> None:
    assert await run(gateway.url, tmp_path, "--heartbeat", "0", "echo", "done") == (0, b"done\n", b"")


@pytest.mark.parametrize("text", ["5", "1795917600000", "20261129", "1999-12-31T23:59:59Z", "2026-11-29T02:00:00"])
async def test_a_scheduled_time_that_none_can_have_meant_is_left_out(
    gateway: Running, tmp_path: Path, text: str
) -> None:
    _, _, errors = await run(gateway.url, tmp_path, "--scheduled-for", text, "true")

    assert errors.decode() == (
        "flowgauge exec: --scheduled-for: expected an RFC 3339 time with a zone, or seconds since 1970, "
        f"of the years 2000 to 2199, got '{text}'; left out\n"
    )
    assert {event.scheduled_for for event in await gateway.events()} == {None}


async def test_what_only_flowgauge_reads_may_be_wrong_and_the_command_still_runs(
    gateway: Running, tmp_path: Path
) -> None:
    options = ("--scheduled-for", "tonight", "--heartbeat", "soon", "--spool", "/dev/null/spool")
    code, printed, errors = await run(gateway.url, tmp_path, *options, "echo", "done")

    assert (code, printed) == (0, b"done\n")
    assert [line.partition(": expected ")[0] for line in errors.decode().splitlines()] == [
        "flowgauge exec: --scheduled-for",
        "flowgauge exec: --heartbeat",
    ]
    assert (await gateway.events())[-1].event == "flow-run.completed"


@pytest.mark.parametrize("trouble", ["away", "silent"])
async def test_while_no_gateway_answers_nothing_is_said_nor_lost_and_the_next_job_sends_it(
    tmp_path: Path, trouble: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        port = silent.getsockname()[1]
        if trouble == "away":
            silent.close()
        url = f"http://127.0.0.1:{port}"
        for name in ("first", "second"):
            script = f"echo {name}; echo {name} >&2; exit 5"
            assert await run(url, tmp_path, "--run", name, "sh", "-c", script) == (
                5,
                f"{name}\n".encode(),
                f"{name}\n".encode(),
            )
        silent.close()

    async with running_gateway(tmp_path / "log", port=port) as gateway:
        assert await run(url, tmp_path, "--run", "third", "cat", streams=Streams(stdin=subprocess.DEVNULL)) == (
            0,
            b"",
            b"",
        )
        await run(url, tmp_path, "--run", "fourth", "true")
        events = await gateway.events()
    runs = list(dict.fromkeys(event.run for event in events))
    states = [(event.run, event.state) for event in events if event.state]
    assert runs[:2] == ["first", "second"]
    assert states[:4] == [(run, state) for run in ("first", "second") for state in ("running", "failed")]
    assert len({event.id for event in events}) == len(events)


async def test_a_wrong_token_is_said_after_the_command_and_costs_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "log", tokens={"one": "acme"}) as gateway:
        code, printed, errors = await run(gateway.url, tmp_path, "--token", "two", "sh", "-c", "echo done; exit 4")

    assert (code, printed) == (4, b"done\n")
    assert "flowgauge exec: flowgauge answers 401: is the token right (FLOWGAUGE_TOKEN)?" in errors.decode()
    assert len([*(tmp_path / "flowgauge" / "spool").rglob("*.ndjson")]) == 1


@pytest.mark.parametrize(
    ("url", "token", "names"),
    [
        ("127.0.0.1:4391", "one", "FLOWGAUGE_URL"),
        ("ftp://127.0.0.1", "one", "FLOWGAUGE_URL"),
        ("http://127.0.0.1:22222222", "one", "FLOWGAUGE_URL"),
        ("http://127.0.0.1:1", "secret\nb", "FLOWGAUGE_TOKEN"),
        ("http://127.0.0.1:1", "secretä", "FLOWGAUGE_TOKEN"),
    ],
)
async def test_an_address_or_a_token_that_cannot_be_used_is_said_and_the_command_runs(
    tmp_path: Path, url: str, token: str, names: str
) -> None:
    code, printed, errors = await run(url, tmp_path, "--token", token, "sh", "-c", "echo done; exit 4")

    assert (code, printed) == (4, b"done\n")
    assert names in errors.decode()
    assert "secret" not in errors.decode()
    assert len([*(tmp_path / "flowgauge" / "spool").rglob("*.ndjson")]) == 1


def test_the_light_install_is_enough() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys(('pydantic', 'structlog', 'yaml', 'starlette'))); {MAIN}"
    command = [
        sys.executable,
        "-c",
        code,
        "exec",
        "--flow",
        "x",
        "--url",
        "http://127.0.0.1:1",
        "--spool",
        "/dev/null/x",
    ]

    ended = subprocess.run([*command, "--", "echo", "done"], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, "done\n")


async def test_nobody_who_reads_our_errors_changes_no_exit_code(gateway: Running, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    options = ("--scheduled-for", "tonight", "--no-output")
    code, _, _ = await run(gateway.url, tmp_path, *options, "sh", "-c", "exit 3", streams=Streams(stderr=write))
    os.close(write)

    assert (code, (await gateway.events())[-1].state) == (3, "failed")
