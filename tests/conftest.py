"""What every test shares: the order of files, the asyncio backend, Hypothesis profiles, and a Kafka broker if asked."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.kafka_broker import running_broker

# Examples drawn per property: enough to bite at the desk, more in CI, where each run must also repeat exactly.
settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files of each folder evenly over the run, so that some compute while others wait for processes."""
    folders: dict[Path, list[Path]] = {}
    for file in dict.fromkeys(item.path for item in items):
        folders.setdefault(file.parent, []).append(file)
    places = {file: (n / len(files), file) for files in folders.values() for n, file in enumerate(files)}
    items.sort(key=lambda item: places[item.path])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Return the bootstrap address of a broker that all Kafka tests of this pytest process share."""
    with running_broker() as bootstrap:
        yield bootstrap
