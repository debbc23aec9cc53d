"""`flowgauge demo --once`: from nothing to told and verified incidents, and its own end."""

import subprocess
from pathlib import Path

import pytest
from tests.integration.up_process import COMMAND, environment

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
    assert any(line.startswith("console   http://127.0.0.1:") for line in lines)


@pytest.mark.parametrize("name", ["prefect-outage", "prefect-late"])
def test_the_packaged_captures_are_those_of_the_tests(name: str) -> None:
    packaged = ROOT / "console" / "flowgauge" / "console" / "demo" / f"{name}.jsonl.gz"

    assert packaged.read_bytes() == (ROOT / "tests" / "data" / f"{name}-extract.jsonl.gz").read_bytes()
