"""The real OpenLineage client in its own environment, which .ci/peer openlineage prepares."""

import os
import subprocess
from pathlib import Path

from tests.integration.fenced_blocks import ROOT, blocks, exports
from tests.integration.peer_environment import peer_environment

VENV = ROOT / ".cache" / "openlineage-venv"
PAGE = ROOT / "docs" / "connect-openlineage.md"
URL_DEFAULT = "http://127.0.0.1:4280"


def need_openlineage() -> None:
    """Skip where there is no environment with OpenLineage; fail on a machine that must have one."""
    peer_environment("openlineage", "30 MB")


def example() -> str:
    """Return the program of the page."""
    (program,) = blocks(PAGE, "python")
    return program.text


def run_client(program: str, url: str, token: str, folder: Path) -> str:
    """Run a program with the client, set up as the page says; return what it prints."""
    documented = exports(blocks(PAGE, "sh")[0])
    assert documented["OPENLINEAGE__TRANSPORT__URL"] == URL_DEFAULT
    where = {"OPENLINEAGE__TRANSPORT__URL": url, "OPENLINEAGE__TRANSPORT__AUTH__API_KEY": token}
    environment = {name: value.strip("'") for name, value in documented.items()} | where
    done = subprocess.run(
        [VENV / "bin" / "python", "-W", "error", "-c", program],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
