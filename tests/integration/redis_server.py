"""A real Redis on loopback, the test's own to stop and to start again."""

import os
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.up_process import wait_for
from tests.kafka_broker import free_ports

STOP_S_MAX = 20


class Redis:
    """A server that keeps what it knows while it is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, _ = free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Return once it answers."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._folder)]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--appendonly", "yes", "--save", ""], stdout=log, stderr=subprocess.STDOUT
            )
        wait_for(self._answers, "Redis")

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S_MAX)
            self._process = None

    def _answers(self) -> bool:
        ended = self._process is None or self._process.poll() is not None
        assert not ended, (self._folder / "redis.log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


@contextmanager
def running_redis(folder: Path) -> Generator[Redis]:
    """Yield a Redis that has started; skip where none is installed, fail on a machine that must have it."""
    if shutil.which("redis-server") is None:
        remedy = "no Redis for tests: install redis-server (apt-get install redis-server)"
        if os.environ.get("CI") == "true":
            pytest.fail(remedy)
        pytest.skip(remedy)
    folder.mkdir()
    redis = Redis(folder)
    try:
        redis.start()
        yield redis
    finally:
        redis.stop()
