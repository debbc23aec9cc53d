"""The broker module that a Prefect server loads, where the broker that it is to wrap is none."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("broker", "says"),
    [
        ("prefect_redis.nope", "FLOWGAUGE_PREFECT_BROKER=prefect_redis.nope cannot be loaded: No module named"),
        ("json", "FLOWGAUGE_PREFECT_BROKER=json is no broker of Prefect's: it has no Publisher"),
    ],
)
def test_a_broker_that_is_none_ends_the_process_whatever_catches_errors(broker: str, says: str) -> None:
    program = "try:\n    import flowgauge.producers.prefect.broker\nexcept Exception:\n    pass"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FLOWGAUGE_PREFECT_BROKER": broker},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(says)
