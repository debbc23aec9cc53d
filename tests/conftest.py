"""What every test shares: the asyncio backend and Hypothesis profiles."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Examples drawn per property: enough to bite at the desk, more in CI, where each run must also repeat exactly.
settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
