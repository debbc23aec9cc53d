"""`flowgauge demo --once`: from nothing to told and verified incidents, and its own end."""

import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tests.integration.up_process import COMMAND, environment, run

from flowgauge.console.demo_run import TRIES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_the_history_and_a_live_incident_each_told_and_verified() -> None:
    found = subprocess.run(
        [*COMMAND, "demo", "--once", "--port", "0"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=280,
        check=False,
    )

    lines = found.stdout.splitlines()
    incidents = [line for line in lines if line.startswith("incident")]
    assert (found.returncode, found.stderr) == (0, "")
    assert sum("(history" in line for line in incidents) == 4
    assert sum("(live" in line for line in incidents) == 1
    assert all(lines[lines.index(line) + 1].startswith("verified") for line in incidents)
    assert [line.split()[0] for line in lines[:4]] == ["demo", "demo", "replay", "console"]
    assert lines[-1].startswith("next ")


def test_the_demo_stays_until_ctrl_c_and_what_it_says_to_try_answers() -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        said = list(iter_until(process.stdout, "outage "))
        (console,) = (line for line in said if line.startswith("console "))
        tries = [shlex.split(line.removeprefix("try")) for line in said if line.startswith("try ")]
        answers = [run(*words[1:]) for words in tries]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert "Ctrl-C" in console
    assert [(found.returncode, len(found.stdout.splitlines()) > 2) for found in answers] == [(0, True)] * len(TRIES)
    assert (process.returncode, errors, "found " in rest) == (0, "", True)


def test_ctrl_c_ends_a_demo_that_would_end_by_itself() -> None:
    """Once, it waited for its incidents until its time was over."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--once", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert process.stdout is not None
        list(iter_until(process.stdout, "console "))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode in {0, 1}  # whether all was found by then


def iter_until(lines: IO[str], start: str) -> Iterator[str]:
    """Yield lines up to the first that begins with `start`."""
    for line in lines:
        yield line.rstrip("\n")
        if line.startswith(start):
            return


@pytest.mark.parametrize("name", ["prefect-outage", "prefect-late"])
def test_the_packaged_captures_are_those_of_the_tests(name: str) -> None:
    packaged = ROOT / "console" / "flowgauge" / "console" / "demo" / f"{name}.jsonl.gz"

    assert packaged.read_bytes() == (ROOT / "tests" / "data" / f"{name}-extract.jsonl.gz").read_bytes()
