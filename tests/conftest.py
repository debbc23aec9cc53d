"""What every test shares: compiled modules, order of files, reports, asyncio backend, Hypothesis profiles, a broker."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from tests.bytecode import keep_bytecode
from tests.kafka_broker import running_broker

keep_bytecode()
# A shell that runs the suite in the background has it ignore SIGINT, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples drawn per property: enough to bite in each run of the suite; `make soak` draws many times as many. In CI each
# run must also repeat exactly.
EXAMPLES = int(os.environ.get("FLOWGAUGE_EXAMPLES", "50"))
settings.register_profile("dev", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")

# They begin first, the longest before the others: one that began late would be all that still runs at the end.
LONGEST = (
    "test_prefect_server.py",
    "test_prefect_redis.py",
    "test_benchmarks.py",
    "test_torture.py",
    "test_up.py",
    "test_equality.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with LONGEST; spread the files of each folder evenly, so that some compute while others wait."""
    folders: dict[Path, list[Path]] = {}
    for file in dict.fromkeys(item.path for item in items):
        folders.setdefault(file.parent, []).append(file)
    places = {file: (n / len(files), file) for files in folders.values() for n, file in enumerate(files)}
    places |= {file: (LONGEST.index(file.name) - len(LONGEST), file) for file in places if file.name in LONGEST}
    items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Escape what UTF-8 has no bytes for, such as a file's name in a captured log: a worker dies of sending it."""
    return escaped((yield))


def escaped(part: object) -> object:
    """Return this part of a report with half surrogates as their escapes."""
    if isinstance(part, str):
        return part.encode(errors="backslashreplace").decode()
    if isinstance(part, dict):
        return {escaped(key): escaped(value) for key, value in cast("dict[object, object]", part).items()}
    if isinstance(part, list):
        return [escaped(item) for item in cast("list[object]", part)]
    if isinstance(part, tuple):
        return tuple(escaped(item) for item in cast("tuple[object, ...]", part))
    return part


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Return the bootstrap address of a broker that all Kafka tests of this pytest process share."""
    with running_broker() as bootstrap:
        yield bootstrap
