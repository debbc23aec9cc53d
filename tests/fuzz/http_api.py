"""schemathesis on the HTTP API of a real `up` on loopback, by the description that it gives of itself.

No answer is a 5xx other than those described, and each has a status, a type and a body as described. The server is on
its own, with no channel and no program that it may start, so nothing that is asked of it reaches anybody.
"""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.integration.up_process import Up, environment, running_up

LEFT_OUT: Final[Mapping[str, str]] = {
    "/v1/tenant/erase": "it waits while ClickHouse rewrites its parts, up to minutes",
}
ROOT: Final = Path(__file__).parents[2]
CHECKS: Final = (
    "status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
)


SOME: Final = "^/v1/(events|rules|silences/preview|health|metrics/runs)$"  # one of each sort, for a short run


def fuzz_some(folder: Path) -> tuple[int, str]:
    """Ask SOME a few times, the same each time; return schemathesis' exit code and what it printed."""
    return _fuzz(folder, ["--phases", "fuzzing", "--max-examples", "4", "--generation-deterministic"], SOME)


def fuzz_all(folder: Path, *, seed: int, seconds: int) -> tuple[int, str]:
    """Ask everything for so long; return the same."""
    bounds = ["--phases", "examples,coverage,fuzzing", "--max-time", str(seconds), "--seed", str(seed)]
    return _fuzz(folder, bounds, "", patience_s=2 * seconds + 300)


def _fuzz(folder: Path, bounds: Sequence[str], only: str, *, patience_s: int = 300) -> tuple[int, str]:
    with running_up(folder / "data") as up:
        found = subprocess.run(
            [*_command(up, only), *bounds],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment(SCHEMATHESIS_HOOKS="tests.fuzz.schemathesis_hooks", PYTHONPATH=str(ROOT)),
            check=False,
            timeout=patience_s,
        )
        assert up.process.poll() is None, "the server ended"
        up.get("/v1/health")
    return found.returncode, found.stdout + found.stderr


def _command(up: Up, only: str) -> Sequence[str]:
    options = ["--checks", CHECKS, "--workers", "1", "--no-color", "--continue-on-failure", "--no-shrink"]
    options += ["--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "60"]
    options += ["--include-path-regex", only] if only else []
    for path in LEFT_OUT:
        options += ["--exclude-path-regex", re.escape(path)]
    return [sys.executable, "-m", "schemathesis.cli", "run", f"{up.url}/v1/openapi.json", *options]
