"""What every test shares: the asyncio backend, Hypothesis profiles, and a Kafka broker for those that ask for one."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests.kafka_broker import running_broker

# Examples drawn per property: enough to bite at the desk, more in CI, where each run must also repeat exactly.
settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Return the bootstrap address of a broker that all Kafka tests of this pytest process share."""
    with running_broker() as bootstrap:
        yield bootstrap
