"""Loopback sockets and the children that listen on them."""

import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

END_S = 20


def listening() -> socket.socket:
    """Return a listening socket on a free port of loopback."""
    return socket.create_server(("127.0.0.1", 0), backlog=128)


def address_of(bound: socket.socket) -> str:
    """Return its URL."""
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def gateway_process(folder: Path, *kafka: str) -> Generator[str]:
    """Yield the URL of a gateway in a process of its own, which ends with the block.

    Its log is in `folder`, or in the Kafka of which `kafka` names bootstrap and prefix.
    """
    with gateway_child(folder, *kafka) as (url, _):
        yield url


@contextmanager
def gateway_child(folder: Path, *kafka: str) -> Generator[tuple[str, "subprocess.Popen[str]"]]:
    """Yield the URL of such a gateway, and its process."""
    command = [sys.executable, "-m", "benchmarks.server", str(folder), *kafka]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip(), child
            assert child.stdin is not None
            child.stdin.close()
            child.wait(END_S)
        finally:
            child.kill()
