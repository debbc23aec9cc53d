"""A real ClickHouse server in a container, where a Docker engine answers; elsewhere `clickhouse_front` stands in."""

import importlib
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from flowgauge.sinks.clickhouse.client import Server

IMAGE = "clickhouse/clickhouse-server:26.9"
PORT = 8123
USER, PASSWORD = "sink", "p@ss wörd"
NO_ENGINE = "NO DOCKER ENGINE ANSWERS HERE: the ClickHouse suite does not run against a real server"


@cache
def engine_answers() -> bool:
    """Tell whether containers can be run here."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


@contextmanager
def real_server() -> Generator[Server]:
    """Run a server until the block ends; yield where it is."""
    container: Any = importlib.import_module("testcontainers.core.container")
    waiting: Any = importlib.import_module("testcontainers.core.wait_strategies")
    made = (
        container.DockerContainer(IMAGE)
        .with_env("CLICKHOUSE_USER", USER)
        .with_env("CLICKHOUSE_PASSWORD", PASSWORD)
        .with_env("TZ", "Asia/Kolkata")  # far from UTC, as the front's
        .with_exposed_ports(PORT)
        .waiting_for(waiting.HttpWaitStrategy(PORT, "/ping").for_status_code(200))
    )
    with made as running:
        url = f"http://{running.get_container_host_ip()}:{running.get_exposed_port(PORT)}"
        yield Server(url, USER, PASSWORD)
