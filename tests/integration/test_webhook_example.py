"""The worked examples of docs/webhooks.md, with their own files and commands, on free ports."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.integration.fenced_blocks import ROOT, blocks, commands, exports
from tests.integration.up_process import COMMAND, end, environment, running_up

DOCUMENT = ROOT / "docs" / "webhooks.md"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@contextlib.contextmanager
def listening(env: dict[str, str]) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run the documented receiver on a free port; yield it and its address."""
    process = subprocess.Popen(
        [*COMMAND, "webhooks", "listen", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment(**env)
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.endswith("(verifying)\n"), ready
        yield process, ready.split()[2].removeprefix("http://").rstrip("/")
    finally:
        end(process)


def test_the_worked_example_ends_with_a_verified_message(tmp_path: Path) -> None:
    (settings,) = blocks(DOCUMENT, "toml")
    rules = next(block for block in blocks(DOCUMENT, "yaml") if "try it" in block.text)
    _, shell = blocks(DOCUMENT, "sh")
    _, listen, up, publish = commands(shell)
    assert (listen, up) == ("flowgauge webhooks listen", "flowgauge up --rules rules")
    (tmp_path / "rules").mkdir()

    with listening(exports(shell)) as (receiver, address):
        texts = {"flowgauge.toml": settings.text, "rules/try.yaml": rules.text}
        for name, text in texts.items():
            assert "127.0.0.1:4281" in text, name
            (tmp_path / name).write_text(text.replace("127.0.0.1:4281", address), encoding="utf-8")
        with running_up(tmp_path / "data", "--rules", "rules", env=exports(shell)) as server:
            assert server.get("/v1/health")["problems"] == {}
            line, program = publish.split(" | ")
            said = line.removeprefix("echo '").removesuffix("'")
            env = environment(FLOWGAUGE_URL=server.url)
            subprocess.run([*COMMAND, *program.split()[1:]], input=said, text=True, env=env, check=True, timeout=60)

            assert receiver.stdout is not None
            printed = receiver.stdout.readline().split()

    assert (printed[1], printed[-1]) == ("incident.firing", "verified")


def test_the_example_of_keys_verifies_what_it_signed(tmp_path: Path) -> None:
    shell, _ = blocks(DOCUMENT, "sh")
    env = environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

    ran = subprocess.run(
        ["bash", "-euc", shell.text], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "verified\n", "")
