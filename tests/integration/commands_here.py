"""Commands in the process of the tests: what `up_process.run` does in one of its own, without its 0.7 s of imports.

For commands that ask a server or read files. One that sends events, over a connection that lives as long as it does,
opens a folder of ClickHouse, stays, or whose signals, streams or start are the matter has a process. The shell blocks
in test_docs.py and test_up.py have those of each kind.
"""

import contextlib
import os
import subprocess
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from click.testing import CliRunner

from flowgauge.console.main import main


def run_here(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `up_process.run`."""
    unset = {name: None for name in os.environ if name.startswith("FLOWGAUGE_")}
    # In a thread, which may have an event loop of its own where the test has one.
    with (
        contextlib.chdir(cwd or Path.cwd()),
        CliRunner().isolation(env={**unset, **(env or {})}) as (out, err, _),
        ThreadPoolExecutor(1) as thread,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # of what others import, as in a process of its own
        code = thread.submit(exit_code, arguments).result()
    return subprocess.CompletedProcess(arguments, code, out.getvalue().decode(), err.getvalue().decode())


def exit_code(arguments: tuple[str, ...]) -> int:
    """Return what the process would end with."""
    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
