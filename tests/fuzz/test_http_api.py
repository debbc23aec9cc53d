"""A short run of schemathesis over a real server; `make fuzz` asks everything, for longer."""

from pathlib import Path

import pytest
from tests.fuzz.http_api import fuzz_some

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_what_is_asked_at_random_is_answered_as_described(tmp_path: Path) -> None:
    code, said = fuzz_some(tmp_path)

    assert code == 0, said[-5_000:]
    assert " 6 passed" in said
