"""Environments of other projects, which .ci/peer prepares."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def peer_environment(name: str, size: str) -> Path:
    """Return the environment's folder. Skip where there is none; fail on a machine that must have one."""
    folder = ROOT / ".cache" / f"{name}-venv"
    if (folder / ".made-from").exists():
        return folder
    remedy = f"no environment with {name}: run .ci/peer {name} (a minute, {size} in .cache/)"
    if os.environ.get("CI") == "true":
        pytest.fail(remedy)
    pytest.skip(remedy)


def end_group(process: subprocess.Popen[bytes], stop_s_max: float) -> None:
    """Wait for a process that was told to end; kill its group where it takes longer."""
    try:
        process.wait(stop_s_max)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)
