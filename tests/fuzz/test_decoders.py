"""A short run of the fuzzers over what takes bytes of others; `make fuzz` goes on for longer."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from tests.fuzz.seeds import all_seeds, seeds_of
from tests.fuzz.targets import TARGETS

RUNS = 4_000  # a few seconds


@pytest.mark.parametrize(("target", "seed"), all_seeds())
def test_each_seed_is_read_or_refused_as_said(target: str, seed: bytes) -> None:
    TARGETS[target](seed)


@pytest.mark.timeout(120)
@pytest.mark.integration
def test_a_short_run_of_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        said = "atheris is not installed (it is made for Linux only): the decoders are not fuzzed here"
        assert os.environ.get("CI") != "true" or sys.platform != "linux", said
        warnings.warn(pytest.PytestWarning(said), stacklevel=1)
        pytest.skip(said)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for place, target in enumerate(TARGETS):
        for number, seed in enumerate(seeds_of(target)):
            (corpus / f"{target}-{number}").write_bytes(bytes([place]) + seed)

    command = [sys.executable, "-m", "tests.fuzz.decoders", "all", "-seed=1", f"-runs={RUNS}", "-max_len=4096"]
    command += [f"-artifact_prefix={tmp_path}/", str(corpus)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    assert found.returncode == 0, found.stdout[-3_000:] + found.stderr[-3_000:]
    assert "Done" in found.stderr
